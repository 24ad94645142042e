#include "models/train/gradient_file.h"

#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/file/json_file.h"
#include "bridge/io/file/stream_file.h"
#include "bridge/io/hf/safetensors.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

// A tensor of the file, which is made when it is written.
struct Entry {
  std::string name;
  bridge::Shape shape;
  std::function<at::Tensor()> values;
};

std::vector<Entry> entries_of(const StepLosses& losses, LeafWeights& weights) {
  std::vector<Entry> entries;
  const auto add_loss = [&](std::string name, const LossValue& loss) {
    entries.push_back(
        {std::move(name), {2}, [loss] {
           return at::tensor({static_cast<float>(loss.sum), static_cast<float>(loss.count)});
         }});
  };
  add_loss("loss.main", losses.main);
  for (size_t depth = 0; depth < losses.mtp.size(); ++depth) {
    add_loss(fmt::format("loss.mtp.{}", depth), losses.mtp[depth]);
  }
  const std::vector<StoredTensor> stored = weights.stored();
  for (size_t i = 0; i < stored.size(); ++i) {
    if (!weights.without_gradient(i).empty()) continue;
    entries.push_back(
        {"grad." + stored[i].key, stored[i].shape, [&weights, i] { return weights.gradient(i); }});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

std::string header_of(const std::vector<Entry>& entries) {
  std::vector<bridge::SafetensorsEntry> headers;
  int64_t end = 0;
  for (const Entry& entry : entries) {
    const int64_t begin = end;
    end += bridge::element_count(entry.shape) * static_cast<int64_t>(sizeof(float));
    headers.push_back({entry.name, bridge::Dtype::kF32, entry.shape, begin, end});
  }
  return bridge::make_safetensors_header(headers, {});
}

void write(bridge::File& file, const std::vector<Entry>& entries) {
  const std::string header = header_of(entries);
  file.write_at(0, std::as_bytes(std::span(header.data(), header.size())));
  int64_t offset = std::ssize(header);
  for (const Entry& entry : entries) {
    at::Tensor values = entry.values();
    const std::span<const std::byte> bytes = bytes_of(values);
    file.write_at(offset, bytes);
    offset += std::ssize(bytes);
  }
  file.sync();
}

}  // namespace

void check_gradient_file(bridge::FileSystem& fs, const bridge::Path& path) {
  if (bridge::is_stream(path)) {
    bridge::usage_error(
        fmt::format("{}: gradients are not written to a stream", bridge::printable(path.native())),
        "name a file");
  }
  bridge::check_json_file_can_be_written(fs, path);
}

void write_gradients(bridge::FileSystem& fs, const bridge::Path& path, const StepLosses& losses,
                     LeafWeights& weights) {
  const std::vector<Entry> entries = entries_of(losses, weights);
  bridge::Path partial = path;
  partial += ".partial";
  const std::unique_ptr<bridge::File> file = fs.create(partial);
  try {
    write(*file, entries);
    fs.rename(partial, path);
  } catch (const bridge::Error&) {
    fs.remove_file(partial);
    throw;
  }
}

}  // namespace models
