#include "models/hf_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <map>
#include <utility>
#include <vector>

#include "bridge/io/error.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/json_strict.h"
#include "models/hf_weights_config.h"
#include "models/hf_weights_names.h"
#include "models/tensor_bytes.h"

namespace models {
namespace {

using bridge::Dtype;
using bridge::HfTensor;

constexpr std::string_view kScaleSuffix = "_scale_inv";
constexpr size_t kMostOpenFiles = 64;
constexpr int64_t kLargestConfig = 64 << 20;

Settings read_config(bridge::FileSystem& fs, const bridge::Path& folder) {
  const std::string text = bridge::read_whole_file(fs, folder / "config.json", kLargestConfig);
  return bridge::with_context("config.json",
                              [&] { return Settings("config.json", bridge::parse_json(text)); });
}

// A bare model's tensors have no "model." in front.
std::string prefix_of(const bridge::HfFolder& folder) {
  return folder.find("embed_tokens.weight") != nullptr ? "" : "model.";
}

struct Block {
  int64_t rows = 0;  // 0: the configuration knows no quantization
  int64_t columns = 0;
};

Block block_of(const Settings& config) {
  const std::optional<Settings> quantization = config.section("quantization_config");
  if (!quantization) return {};
  const std::vector<int64_t> size = quantization->integers("weight_block_size");
  if (size.size() != 2 || size[0] < 1 || size[1] < 1) {
    quantization->not_supported("weight_block_size", "scales by block of two sizes are read here");
  }
  return {size[0], size[1]};
}

class HfWeights : public Weights {
 public:
  HfWeights(bridge::FileSystem& fs, const bridge::Path& path, bridge::MemoryBudget& budget)
      : fs_(fs),
        folder_(bridge::open_hf_folder(fs, path, budget)),
        settings_(read_config(fs, folder_.path)),
        config_(hf_model_config(settings_)),
        names_(hf_family(settings_), config_, prefix_of(folder_)),
        block_(block_of(settings_)) {
    check_shapes(*this);
    check_all_used();
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return tensor(id).shape; }
  std::string source(const TensorId& id) override { return bridge::printable(names_.name(id)); }

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    const HfTensor& found = tensor(id);
    return bridge::with_context(
        [&] { return bridge::printable(found.name); },
        [&] {
          at::Tensor stored = stored_rows(found, begin, end);
          return found.dtype == Dtype::kF8E4M3 ? dequantized(found, stored, begin, end) : stored;
        });
  }

 private:
  const HfTensor& tensor(const TensorId& id) const {
    const std::string name = names_.name(id);
    const HfTensor* found = folder_.find(name);
    if (found == nullptr) {
      bridge::bad_input(fmt::format("{}: {} is missing: the configuration asks for {}",
                                    folder_.path.native(), bridge::printable(name), to_string(id)));
    }
    return *found;
  }

  const HfTensor& scale_of(const HfTensor& tensor) const {
    const HfTensor* scale = folder_.find(tensor.name + std::string(kScaleSuffix));
    if (scale == nullptr) bridge::bad_input("quantized, but its scales are missing");
    if (block_.rows == 0) {
      bridge::bad_input("quantized, but config.json has no quantization_config");
    }
    const auto blocks = [](int64_t size, int64_t block) { return (size - 1) / block + 1; };
    if (tensor.shape.size() != 2 ||
        scale->shape != bridge::Shape{blocks(tensor.shape[0], block_.rows),
                                      blocks(tensor.shape[1], block_.columns)}) {
      bridge::bad_input(fmt::format("shape {} in blocks of {} x {} with scales of shape {}",
                                    bridge::shape_text(tensor.shape), block_.rows, block_.columns,
                                    bridge::shape_text(scale->shape)));
    }
    return *scale;
  }

  // Every tensor of the folder is one the model has, the scales of one, or one that is known to be of no use.
  void check_all_used() const {
    std::vector<bool> used(folder_.tensors.size());
    const auto mark = [&](const HfTensor& found) {
      used[static_cast<size_t>(&found - folder_.tensors.data())] = true;
    };
    for_each_tensor(config_, [&](const TensorId& id, const bridge::Shape&) {
      const HfTensor& found = tensor(id);
      mark(found);
      if (found.dtype != Dtype::kF8E4M3) return;
      mark(bridge::with_context([&] { return bridge::printable(found.name); },
                                [&]() -> const HfTensor& { return scale_of(found); }));
    });
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i] || is_unused(folder_.tensors[i].name)) continue;
      bridge::bad_input(fmt::format("{}: {}: the model of config.json has no such tensor",
                                    folder_.path.native(),
                                    bridge::printable(folder_.tensors[i].name)));
    }
  }

  // The scales of an unused tensor are as unused.
  bool is_unused(std::string_view name) const {
    if (name.ends_with(kScaleSuffix)) name.remove_suffix(kScaleSuffix.size());
    return names_.is_unused(name);
  }

  const bridge::File& file_of(int32_t shard) {
    const auto it = files_.find(shard);
    if (it != files_.end()) return *it->second;
    if (files_.size() >= kMostOpenFiles) files_.clear();
    const bridge::Path path = folder_.path / folder_.shards[static_cast<size_t>(shard)].name;
    return *files_.emplace(shard, fs_.open_read(path)).first->second;
  }

  at::Tensor stored_rows(const HfTensor& found, int64_t begin, int64_t end) {
    bridge::Shape shape = found.shape;
    shape.at(0) = end - begin;
    at::Tensor out = at::empty(shape, at::TensorOptions().dtype(torch_type(found.dtype)));
    const std::span<std::byte> bytes = bytes_of(out);
    const int64_t row = (found.end - found.begin) / found.shape.at(0);
    const int64_t payload = folder_.shards[static_cast<size_t>(found.shard)].payload_offset;
    file_of(found.shard).read_at(payload + found.begin + begin * row, bytes);
    return out;
  }

  at::Tensor dequantized(const HfTensor& found, const at::Tensor& codes, int64_t begin,
                         int64_t end) {
    const HfTensor& scale = scale_of(found);
    const at::Tensor scales = stored_rows(scale, 0, scale.shape[0]).to(at::kFloat);
    // The scale of every element: rows begin to end of blocks, then all columns.
    const auto block_numbers = [](int64_t from, int64_t to, int64_t block) {
      return at::arange(from, to, at::kLong).floor_divide(block);
    };
    const at::Tensor by_row = scales.index_select(0, block_numbers(begin, end, block_.rows));
    const at::Tensor by_element =
        by_row.index_select(1, block_numbers(0, found.shape[1], block_.columns));
    return (codes.to(at::kFloat) * by_element).to(at::kBFloat16);
  }

  bridge::FileSystem& fs_;
  bridge::HfFolder folder_;
  Settings settings_;
  ModelConfig config_;
  HfNames names_;
  Block block_;
  std::map<int32_t, std::unique_ptr<bridge::File>> files_;
};

}  // namespace

std::unique_ptr<Weights> open_hf_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                         bridge::MemoryBudget& budget) {
  return std::make_unique<HfWeights>(fs, path, budget);
}

}  // namespace models
