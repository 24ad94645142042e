#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/hf/safetensors.h"
#include "models/forward/prompt.h"
#include "models/train/batch.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLargestFile = 16 << 20;     // of JSON
constexpr double kLargestInteger = 1LL << 53;  // up to here doubles hold every one
constexpr int64_t kSafetensorsLength = 8;      // of the number that begins a safetensors file

at::Tensor& tensor_named(BatchTensors& batch, std::string_view name) {
  const std::pair<std::string_view, at::Tensor*> known[] = {
      {"input_ids", &batch.input_ids},
      {"labels", &batch.labels},
      {"loss_mask", &batch.loss_mask},
      {"cu_seqlens", &batch.cu_seqlens},
      {"cu_seqlens_padded", &batch.cu_seqlens_padded},
      {"position_ids", &batch.position_ids},
      {"padding_mask", &batch.padding_mask}};
  for (const auto& [key, tensor] : known) {
    if (key == name) return *tensor;
  }
  bridge::bad_input(fmt::format("{}: no tensor of a batch", bridge::printable(name)),
                    "docs/verification.md lists them");
}

at::ScalarType batch_type(bridge::Dtype dtype) {
  if (dtype == bridge::Dtype::kBool) return at::kBool;
  return dtype == bridge::Dtype::kU8 ? at::kByte : torch_type(dtype);
}

void check_size(std::string_view name, int64_t numbers) {
  if (numbers > 3 * kMostTokens) {
    bridge::bad_input(fmt::format("{}: {} numbers, more than {} tokens need",
                                  bridge::printable(name), numbers, kMostTokens));
  }
}

BatchTensors from_safetensors(bridge::FileSystem& fs, const bridge::Path& path,
                              bridge::MemoryBudget& budget) {
  const std::unique_ptr<bridge::File> file = fs.open_read(path);
  const bridge::SafetensorsHeader header = bridge::read_safetensors_header(*file, budget);
  BatchTensors batch;
  bridge::with_context(bridge::printable(path.native()), [&] {
    for (const bridge::SafetensorsEntry& entry : header.entries) {
      at::Tensor& target = tensor_named(batch, entry.name);
      check_size(entry.name, bridge::element_count(entry.shape));
      target = at::empty(entry.shape, at::TensorOptions().dtype(batch_type(entry.dtype)));
      file->read_at(header.payload_offset + entry.begin, bytes_of(target));
    }
  });
  return batch;
}

// Numbers in nested lists of equal length. The kind of the first number is that of all: true and
// false are integers here.
class JsonTensor {
 public:
  explicit JsonTensor(const Json& json) {
    for (const Json* level = &json; level->is_array(); level = &level->front()) {
      shape_.push_back(std::ssize(*level));
      if (level->empty()) bridge::bad_input("an empty list");
      if (shape_.size() > 3) bridge::bad_input("more than three levels of lists");
    }
    add(json, 0);
  }

  at::Tensor tensor() const {
    const at::Tensor flat = at::tensor(at::ArrayRef<double>(numbers_));
    return (is_real_ ? flat.to(at::kFloat) : flat.to(at::kLong)).view(shape_);
  }

 private:
  void add(const Json& json, size_t depth) {
    if (depth < shape_.size()) {
      if (!json.is_array() || std::ssize(json) != shape_[depth]) {
        bridge::bad_input("lists of different lengths");
      }
      for (const Json& item : json) add(item, depth + 1);
      return;
    }
    if (json.is_boolean()) {
      numbers_.push_back(json.get<bool>() ? 1 : 0);
    } else if (json.is_number()) {
      is_real_ = is_real_ || json.is_number_float();
      numbers_.push_back(json.get<double>());
      if (std::abs(numbers_.back()) > kLargestInteger) bridge::bad_input("a number beyond 2^53");
    } else {
      bridge::bad_input("a list of numbers is expected");
    }
  }

  std::vector<int64_t> shape_;
  std::vector<double> numbers_;
  bool is_real_ = false;
};

BatchTensors from_json(bridge::FileSystem& fs, const bridge::Path& path) {
  const std::string text = bridge::read_whole_file(fs, path, kLargestFile);
  return bridge::with_context(bridge::printable(path.native()), [&] {
    const Json json = bridge::parse_json(text);
    BatchTensors batch;
    for (const auto& [name, value] : json.items()) {
      at::Tensor& target = tensor_named(batch, name);
      target = bridge::with_context(bridge::printable(name), [&, &list = value] {
        if (!list.is_array()) bridge::bad_input("a list of numbers is expected");
        return JsonTensor(list).tensor();
      });
      check_size(name, target.numel());
    }
    return batch;
  });
}

// The first bytes of a file, as many as there are.
std::string beginning_of(bridge::FileSystem& fs, const bridge::Path& path, int64_t count) {
  const std::unique_ptr<bridge::File> file = fs.open_read(path);
  std::string text(static_cast<size_t>(std::min(count, file->size())), '\0');
  file->read_at(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

// A safetensors file begins with a number below 2^27, whose last byte is 0, and then JSON; text has
// no byte 0.
bool is_safetensors(std::string_view beginning) {
  return std::ssize(beginning) > kSafetensorsLength && beginning[kSafetensorsLength - 1] == '\0' &&
         beginning[kSafetensorsLength] == '{';
}

bool is_json(std::string_view beginning) {
  const size_t first = beginning.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && beginning[first] == '{';
}

}  // namespace

bool holds_batch(bridge::FileSystem& fs, const bridge::Path& path) {
  const std::string beginning = beginning_of(fs, path, kSafetensorsLength + 1);
  return is_safetensors(beginning) || is_json(beginning);
}

BatchTensors read_batch(bridge::FileSystem& fs, const bridge::Path& path,
                        bridge::MemoryBudget& budget) {
  const bool binary = is_safetensors(beginning_of(fs, path, kSafetensorsLength + 1));
  return binary ? from_safetensors(fs, path, budget) : from_json(fs, path);
}

}  // namespace models
