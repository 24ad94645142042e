#include "models/verify/state_file.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/hf/safetensors.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

constexpr const char* kLaunch = "launch";

using Named = std::pair<std::string, at::Tensor>;

bridge::Dtype stored_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return bridge::Dtype::kF32;
    case at::kBFloat16:
      return bridge::Dtype::kBF16;
    default:
      bridge::internal_error(fmt::format("a state of type {}", at::toString(tensor.scalar_type())));
  }
}

void add(std::vector<Named>& tensors, const std::string& side, const LayerState& state) {
  const auto add_one = [&](const std::string& name, const at::Tensor& tensor) {
    tensors.emplace_back(side + name, tensor.to(at::kCPU).contiguous());
  };
  add_one("hidden", state.hidden);
  for (const auto& [token, index] : state.indices) {
    add_one(fmt::format("index.{}.q", token), index.q);
    add_one(fmt::format("index.{}.keys", token), index.keys);
    add_one(fmt::format("index.{}.weights", token), index.weights);
  }
}

// What a file holds, one tensor after the other.
class Reader {
 public:
  Reader(const bridge::File& file, const bridge::SafetensorsHeader& header)
      : file_(file), header_(header) {}

  LayerStates states() const {
    LayerStates states;
    for (const bridge::SafetensorsEntry& entry : header_.entries) {
      const std::string_view name = entry.name;
      if (!name.starts_with("a.") && !name.starts_with("b.")) refuse(name);
      LayerState& side = name.starts_with("a.") ? states.a : states.b;
      place(side, name, name.substr(2)) = read(entry);
    }
    return states;
  }

 private:
  [[noreturn]] static void refuse(std::string_view name) {
    bridge::bad_input(fmt::format("{}: not a tensor of a state", bridge::printable(name)));
  }

  static at::Tensor& place(LayerState& side, std::string_view whole, std::string_view name) {
    constexpr std::string_view kIndex = "index.";
    if (name == "hidden") return side.hidden;
    if (!name.starts_with(kIndex)) refuse(whole);
    name.remove_prefix(kIndex.size());
    int64_t token = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), token);
    if (error != std::errc()) refuse(whole);
    name.remove_prefix(static_cast<size_t>(end - name.data()));
    IndexedTokens& index = side.indices[token];
    if (name == ".q") return index.q;
    if (name == ".keys") return index.keys;
    if (name == ".weights") return index.weights;
    refuse(whole);
  }

  at::Tensor read(const bridge::SafetensorsEntry& entry) const {
    at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(torch_type(entry.dtype)));
    file_.read_at(header_.payload_offset + entry.begin, bytes_of(out));
    return out;
  }

  const bridge::File& file_;
  const bridge::SafetensorsHeader& header_;
};

}  // namespace

void write_states(bridge::FileSystem& fs, const bridge::Path& path, const std::string& launch,
                  const LayerStates& states) {
  std::vector<Named> tensors;
  add(tensors, "a.", states.a);
  add(tensors, "b.", states.b);
  std::vector<bridge::SafetensorsEntry> entries;
  int64_t end = 0;
  for (const auto& [name, tensor] : tensors) {
    const int64_t begin = end;
    end += static_cast<int64_t>(tensor.nbytes());
    entries.push_back({name, stored_type(tensor), tensor.sizes().vec(), begin, end});
  }
  const std::string header = bridge::make_safetensors_header(entries, {{kLaunch, launch}});
  bridge::Path beside = path;
  beside += ".new";
  bridge::remove_tree(fs, beside);  // of an earlier launch
  const std::unique_ptr<bridge::File> file = fs.create(beside);
  file->write_at(0, std::as_bytes(std::span(header)));
  int64_t offset = std::ssize(header);
  for (auto& [name, tensor] : tensors) {
    const std::span<const std::byte> bytes = bytes_of(tensor);
    file->write_at(offset, bytes);
    offset += std::ssize(bytes);
  }
  file->sync();
  fs.rename(beside, path);
}

std::optional<LayerStates> read_states(bridge::FileSystem& fs, const bridge::Path& path,
                                       const std::string& launch, bridge::MemoryBudget& budget) {
  if (!fs.lstat(path)) return std::nullopt;
  const std::unique_ptr<bridge::File> file = fs.open_read(path);
  const bridge::SafetensorsHeader header = bridge::read_safetensors_header(*file, budget);
  if (header.metadata != std::vector<std::pair<std::string, std::string>>{{kLaunch, launch}}) {
    return std::nullopt;
  }
  return bridge::with_context(bridge::printable(path.native()), [&] {
    LayerStates states = Reader(*file, header).states();
    if (!states.a.hidden.defined() || !states.b.hidden.defined()) {
      bridge::bad_input("not the states of two sides");
    }
    return std::optional(std::move(states));
  });
}

}  // namespace models
