#include "models/hf/view.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ldexp.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/hf/hf_folder.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/names.h"
#include "models/hf/quantization.h"
#include "models/hf/training.h"
#include "models/hf/vision.h"
#include "models/weights/quantized_rows.h"
#include "models/weights/striped_read.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

using bridge::Dtype;
using bridge::HfTensor;

constexpr std::string_view kScaleSuffixes[] = {"_scale_inv", "_scale"};  // appended to X.weight
constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kScale = ".scale";  // replaces .weight
constexpr std::string_view kBlocks = "_blocks";
constexpr std::string_view kExponents = "_scales";  // replaces _blocks
constexpr size_t kMostOpenFiles = 64;
constexpr int64_t kLargestConfig = 4 << 20;

// Adds the location of the checkpoint to the errors that fn throws.
template <typename Fn>
auto in(const bridge::Path& folder, const Fn& fn) {
  return bridge::with_context([&] { return bridge::printable(folder.native()); }, fn);
}

Settings read_config(bridge::FileSystem& fs, const bridge::Path& folder) {
  const bridge::Path path = folder / "config.json";
  const std::string text = bridge::read_whole_file(fs, path, kLargestConfig);
  const nlohmann::ordered_json values = bridge::with_context(bridge::printable(path.native()), [&] {
    return bridge::parse_json(text, {.non_finite = true});
  });
  return in(folder, [&] { return Settings("config.json", values); });
}

// The tensors of a bare model and of DeepSeek-V4's releases have no "model." in front; the text
// part of a vision-language model is a module of its own.
std::string prefix_of(const bridge::HfFolder& folder) {
  for (const std::string_view prefix : {"", "model.language_model.", "language_model."}) {
    for (const std::string_view embedding : {"embed_tokens.weight", "embed.weight"}) {
      if (folder.find(fmt::format("{}{}", prefix, embedding)) != nullptr)
        return std::string(prefix);
    }
  }
  return "model.";
}

// Whether the experts' matrices are stored [in, out], where they lie in one tensor each of gate and
// up and of down. The shapes say it of at least one of the two: the former is square where the
// hidden size is twice the experts' width, the latter where both are equal.
bool has_transposed_experts(const bridge::HfFolder& folder, const ModelConfig& config,
                            const std::string& prefix) {
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const auto* const mlp = std::get_if<MixtureOfExperts>(&config.layers[layer].mlp);
    if (mlp == nullptr) continue;
    const auto has_shape = [&](std::string_view name, int64_t rows, int64_t columns) {
      const HfTensor* const tensor =
          folder.find(fmt::format("{}layers.{}.mlp.experts.{}", prefix, layer, name));
      const bridge::Shape turned = {mlp->router.experts, columns, rows};
      return tensor != nullptr && rows != columns && tensor->shape == turned;
    };
    if (has_shape("gate_up_proj", 2 * mlp->width, config.hidden)) return true;
    if (has_shape("down_proj", config.hidden, mlp->width)) return true;
  }
  return false;
}

HfNames names_of(const Settings& settings, const ModelConfig& config,
                 const bridge::HfFolder& folder) {
  const HfArchitecture& architecture = hf_architecture(settings);
  const std::string prefix = prefix_of(folder);
  return {architecture, config, prefix,
          architecture.turns_experts && has_transposed_experts(folder, config, prefix)};
}

bool has_output_layer(const bridge::HfFolder& folder) {
  return std::any_of(folder.tensors.begin(), folder.tensors.end(), [](const HfTensor& tensor) {
    return tensor.name.ends_with("lm_head.weight") || tensor.name == "head.weight";
  });
}

ModelConfig model_config_of(const Settings& config, const bridge::HfFolder& folder, bool drop_mtp) {
  ModelConfig model = hf_model_config(config, drop_mtp);
  // A text model that was cut out of a multimodal one may have kept its configuration.
  const bool has_tower =
      std::any_of(folder.tensors.begin(), folder.tensors.end(),
                  [](const HfTensor& tensor) { return is_hf_vision_name(tensor.name); });
  if (!has_tower) model.vision.reset();
  // A bare model has no output layer. Its embedding stands in for one, as in its conversion.
  model.tied = model.tied || (model.labels == 0 && !has_output_layer(folder));
  const HfArchitecture& architecture = hf_architecture(config);
  if (drop_mtp || architecture.settle_mtp == nullptr) return model;
  const HfNames names(architecture, model, prefix_of(folder));
  const bool has_depths =
      std::any_of(folder.tensors.begin(), folder.tensors.end(),
                  [&](const HfTensor& tensor) { return names.is_mtp(tensor.name); });
  architecture.settle_mtp(model, has_depths);
  return model;
}

constexpr HfBlock kFp4Block = {1, 32};

bool is_mxfp4(const HfTensor& tensor) {
  return tensor.dtype == Dtype::kU8 && tensor.name.ends_with(kBlocks);
}

bool is_fp4(const HfTensor& tensor) {
  return tensor.dtype == Dtype::kI8 || is_mxfp4(tensor);
}

bool is_quantized(const HfTensor& tensor) {
  return tensor.dtype == Dtype::kF8E4M3 || is_fp4(tensor) || is_hf_int4(tensor);
}

// The elements that a stored number holds.
int64_t elements_of_number(const HfTensor& tensor) {
  if (is_hf_int4(tensor)) return 8;
  return is_fp4(tensor) ? 2 : 1;
}

// The shape of the elements that the tensor stands for.
bridge::Shape shape_of_elements(const HfTensor& tensor) {
  bridge::Shape shape = tensor.shape;
  if (shape.empty()) return shape;
  if (is_mxfp4(tensor) && shape.size() > 1) {
    const int64_t bytes = shape.back();
    shape.pop_back();
    shape.back() = bridge::checked_mul(shape.back(), bytes, "number of columns");
  }
  shape.back() = bridge::checked_mul(shape.back(), elements_of_number(tensor), "number of columns");
  return shape;
}

cuda::CodeFormat format_of(const HfTensor& tensor) {
  if (is_hf_int4(tensor)) return cuda::CodeFormat::kInt4;
  return is_fp4(tensor) ? cuda::CodeFormat::kE2m1 : cuda::CodeFormat::kE4m3;
}

at::Tensor columns_of(const at::Tensor& stored, const HfColumns& columns) {
  if (columns.count == 0) return stored;
  const int64_t to_the_last = std::min(columns.count, columns.total - columns.first);
  const at::Tensor first = stored.narrow(1, columns.first, to_the_last);
  return to_the_last == columns.count
             ? first.contiguous()
             : at::cat({first, stored.narrow(1, 0, columns.count - to_the_last)}, 1);
}

class HfWeights : public Weights {
 public:
  HfWeights(bridge::FileSystem& fs, const bridge::Path& path, bridge::MemoryBudget& budget,
            bool drop_mtp)
      : fs_(fs),
        folder_(bridge::open_hf_folder(fs, path, budget)),
        settings_(read_config(fs, folder_.path)),
        drop_mtp_(drop_mtp || hf_passes_over_mtp(settings_)),
        config_(in(folder_.path, [&] { return model_config_of(settings_, folder_, drop_mtp_); })),
        names_(names_of(settings_, config_, folder_)),
        quantization_(in(folder_.path, [&] { return HfQuantization(settings_); })),
        has_mxfp4_(hf_has_mxfp4(settings_)) {
    in(folder_.path, [&] {
      check_shapes(*this);
      check_all_used();
    });
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return locate(id).shape; }
  std::vector<StoredTensor> stored() override {
    std::vector<StoredTensor> tensors;
    for (const HfTensor& tensor : folder_.tensors) {
      tensors.push_back({tensor.name, shape_of_elements(tensor), reason_not_read(tensor.name)});
    }
    mark_scales(tensors);
    return tensors;
  }
  std::vector<StoredPart> parts(const TensorId& id) override {
    const Location location = locate(id);
    return {{index_of(*location.tensor), location.first_row, location.rows, location.shape,
             location.columns.first, location.columns.total, location.transposed}};
  }
  TrainingSettings training() override {
    return in(folder_.path, [&] { return hf_training(settings_); });
  }
  std::string source(const TensorId& id) override {
    return bridge::printable(locate(id).tensor->name);
  }

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return rows(locate(id), begin, end);
  }
  at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) override {
    return rows(locate(id), begin, end, at::kFloat);
  }
  std::optional<QuantizedRows> quantized_rows(const TensorId& id, int64_t begin,
                                              int64_t end) override {
    const Location location = locate(id);
    const HfTensor& found = *location.tensor;
    const bool has_kernel = is_quantized(found) && !is_mxfp4(found);
    if (!has_kernel || location.columns.count > 0 || location.transposed) return std::nullopt;
    return bridge::with_context(
        [&] { return bridge::printable(found.name); },
        [&] { return with_scales(location, stored_rows(location, begin, end), begin, end); });
  }

  std::vector<Copy> copies() override {
    std::vector<Copy> found;
    for (const HfTensor& tensor : folder_.tensors) {
      if (is_quantized(tensor)) continue;  // it has codes of its own, so it is no copy
      if (const auto of = names_.copy_of(tensor.name)) found.push_back({tensor.name, *of});
    }
    return found;
  }
  bridge::Shape copy_shape(const Copy& copy) override { return locate_copy(copy).shape; }
  at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) override {
    return rows(locate_copy(copy), begin, end);
  }

 private:
  struct Location {
    const HfTensor* tensor;
    int64_t first_row;    // in the stored tensor, whose first axis may be the experts' axis
    bridge::Shape shape;  // of the canonical tensor
    RowPattern rows;
    HfColumns columns = {};
    bool transposed = false;  // then first_row counts rows of the stored [in, out]
  };

  // quantized_as: the dtype of a dequantized tensor.
  at::Tensor rows(const Location& location, int64_t begin, int64_t end,
                  at::ScalarType quantized_as = at::kBFloat16) {
    const HfTensor& found = *location.tensor;
    return bridge::with_context(
        [&] { return bridge::printable(found.name); },
        [&] {
          at::Tensor out = location.transposed ? transposed_rows(location, begin, end)
                                               : stored_rows(location, begin, end);
          if (is_quantized(found)) {
            const at::Tensor values = is_mxfp4(found)
                                          ? mxfp4_values(location, out, begin, end)
                                          : dequantized(with_scales(location, out, begin, end));
            out = values.to(quantized_as);
          }
          return columns_of(out, location.columns);
        });
  }

  Location locate_copy(const Copy& copy) const {
    const HfTensor& tensor = *folder_.find(copy.name);
    return bridge::with_context([&] { return bridge::printable(tensor.name); },
                                [&] { return located(tensor, {copy.name}, copy.of); });
  }

  Location locate(const TensorId& id) const {
    const std::vector<HfPlace> places = names_.places(id);
    for (const HfPlace& place : places) {
      const HfTensor* tensor = find_hf_weight(folder_, place.name);
      if (tensor == nullptr) continue;
      return bridge::with_context([&] { return bridge::printable(tensor->name); },
                                  [&] { return located(*tensor, place, id); });
    }
    bridge::bad_input(fmt::format("{} is missing: the configuration asks for {}",
                                  bridge::printable(places[0].name), to_string(id)));
  }

  int64_t experts_of(const TensorId& id) const {
    const std::vector<LayerConfig>& layers =
        id.section == Section::kMtp ? config_.mtp : config_.layers;
    return std::get<MixtureOfExperts>(layers.at(static_cast<size_t>(id.index)).mlp).router.experts;
  }

  Location located(const HfTensor& tensor, const HfPlace& place, const TensorId& id) const {
    Location location{&tensor,         0, shape_of_elements(tensor), place.rows, place.columns,
                      place.transposed};
    bridge::Shape& shape = location.shape;
    if (place.expert_axis) {
      if (shape.empty() || shape[0] != experts_of(id)) {
        bridge::bad_input(fmt::format("shape {}, but its first axis should be {} experts",
                                      bridge::shape_text(tensor.shape), experts_of(id)));
      }
      shape.erase(shape.begin());
    }
    if (shape.empty()) return location;  // a number, which is never a canonical tensor
    if (place.expert_axis) location.first_row = id.expert * shape[0];
    if (place.transposed) {
      if (shape.size() != 2) {
        bridge::bad_input(
            fmt::format("shape {}, but a matrix is expected", bridge::shape_text(tensor.shape)));
      }
      std::swap(shape[0], shape[1]);
    }
    const int64_t stored = shape[0];
    if (place.rows.count == 0) {
      location.rows = {stored, 0, std::max<int64_t>(stored, 1), stored, stored};
    } else if (stored != place.rows.total) {
      bridge::bad_input(fmt::format("shape {}, but {} rows are expected",
                                    bridge::shape_text(tensor.shape), place.rows.total));
    }
    shape[0] = location.rows.count;
    if (place.columns.count == 0) return location;
    if (shape.size() != 2 || shape[1] != place.columns.total) {
      bridge::bad_input(fmt::format("shape {}, but {} columns are expected",
                                    bridge::shape_text(tensor.shape), place.columns.total));
    }
    shape[1] = place.columns.count;
    return location;
  }

  size_t index_of(const HfTensor& tensor) const {
    return static_cast<size_t>(&tensor - folder_.tensors.data());
  }

  // Empty for a tensor of the model.
  std::string reason_not_read(const std::string& name) const {
    if (names_.copy_of(name)) return "a copy that the model does not read";
    if (names_.is_unused(name)) return "not read by the model";
    return drop_mtp_ && names_.is_mtp(name) ? "not run: --mtp drop" : "";
  }

  void mark_scales(std::vector<StoredTensor>& tensors) const {
    for (const HfTensor& tensor : folder_.tensors) {
      if (!is_quantized(tensor)) continue;
      const HfTensor* scale = find_scale(hf_weight_name(tensor.name));
      if (scale != nullptr) tensors[index_of(*scale)].unread = "scales of a quantized tensor";
      for (const HfTensor* beside : hf_tensors_beside(folder_, hf_weight_name(tensor.name))) {
        tensors[index_of(*beside)].unread = "beside a quantized tensor, for other readers";
      }
    }
  }

  // Returns nullptr if there are no scales.
  const HfTensor* find_scale(const std::string& name) const {
    if (name.ends_with(kBlocks)) {
      return folder_.find(name.substr(0, name.size() - kBlocks.size()).append(kExponents));
    }
    for (const std::string_view suffix : kScaleSuffixes) {
      const HfTensor* scale = folder_.find(name + std::string(suffix));
      if (scale != nullptr) return scale;
    }
    if (!name.ends_with(kWeight)) return nullptr;
    return folder_.find(name.substr(0, name.size() - kWeight.size()).append(kScale));
  }

  const HfTensor& scale_of(const HfTensor& tensor) const {
    const HfTensor* scale = find_scale(hf_weight_name(tensor.name));
    if (scale == nullptr) bridge::bad_input("quantized, but its scales are missing");
    if (is_mxfp4(tensor)) return check_exponents(tensor, *scale);
    if (!quantization_.any() && !is_fp4(tensor)) {
      bridge::bad_input("quantized, but config.json has no quantization_config");
    }
    if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1) {
      bridge::bad_input(
          fmt::format("quantized, but its shape is {}", bridge::shape_text(tensor.shape)));
    }
    const HfBlock block = block_in(tensor);
    const bridge::Shape grid = grid_of(tensor);
    const bool is_number =
        bridge::element_count(grid) == 1 && bridge::element_count(scale->shape) == 1;
    if (scale->shape != grid && !is_number) {
      bridge::bad_input(fmt::format("shape {} in blocks of {} x {} with scales of shape {}",
                                    bridge::shape_text(tensor.shape), block.rows, block.columns,
                                    bridge::shape_text(scale->shape)));
    }
    return *scale;
  }

  HfBlock block_in(const HfTensor& matrix) const {
    const HfBlock block = is_fp4(matrix) ? kFp4Block : quantization_.block_of(matrix);
    return block.in(shape_of_elements(matrix));
  }

  // The blocks of a matrix, down and across.
  bridge::Shape grid_of(const HfTensor& matrix) const {
    const bridge::Shape shape = shape_of_elements(matrix);
    const HfBlock block = block_in(matrix);
    return {(shape[0] - 1) / block.rows + 1, (shape[1] - 1) / block.columns + 1};
  }

  const HfTensor& check_exponents(const HfTensor& tensor, const HfTensor& scale) const {
    if (!has_mxfp4_) bridge::bad_input("quantized, but config.json does not say mxfp4");
    bridge::Shape blocks = tensor.shape;
    blocks.pop_back();
    if (tensor.shape.size() != 4 || 2 * tensor.shape.back() != kFp4Block.columns ||
        scale.shape != blocks || scale.dtype != Dtype::kU8) {
      bridge::bad_input(
          fmt::format("shape {} with scales {} of shape {}", bridge::shape_text(tensor.shape),
                      bridge::safetensors_name(scale.dtype), bridge::shape_text(scale.shape)));
    }
    return scale;
  }

  // Checks that every tensor of the folder is one of the model's, the scales of one, or known to be
  // unused.
  void check_all_used() const {
    std::vector<bool> used(folder_.tensors.size());
    const auto mark = [&](const HfTensor& found) { used[index_of(found)] = true; };
    for_each_tensor(config_, [&](const TensorId& id, const bridge::Shape&) {
      const HfTensor& found = *locate(id).tensor;
      mark(found);
      if (is_surely_linear(id, found)) {
        bridge::with_context([&] { return bridge::printable(found.name); },
                             [&] { quantization_.check_linear(found); });
      }
      if (!is_quantized(found)) return;
      mark(bridge::with_context([&] { return bridge::printable(found.name); },
                                [&]() -> const HfTensor& { return scale_of(found); }));
      for (const HfTensor* beside : hf_tensors_beside(folder_, hf_weight_name(found.name))) {
        mark(*beside);
      }
    });
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i] || is_unused(folder_.tensors[i].name)) continue;
      bridge::bad_input(fmt::format("{}: the model of config.json has no such tensor",
                                    bridge::printable(folder_.tensors[i].name)));
    }
  }

  // Whether the name of a weight is that of a linear layer wherever the model is loaded: routers are
  // linear layers in some versions of transformers, no version has layers of multi-token prediction,
  // and those of a model of images and text are called otherwise than its tensors.
  bool is_surely_linear(const TensorId& id, const HfTensor& found) const {
    const bool is_of_text = id.section == Section::kModel || id.section == Section::kLayer;
    return is_of_text && !settings_.has("text_config") && id.role != Role::kEmbedding &&
           id.role != Role::kRouter && found.shape.size() == 2 &&
           hf_weight_name(found.name).ends_with(kWeight);
  }

  // The scales of an unused tensor are unused too, and so is what else lies beside it.
  bool is_unused(const std::string& stored) const {
    const std::string name = hf_weight_name(stored);
    return names_.is_unused(name) || (drop_mtp_ && names_.is_mtp(name));
  }

  const bridge::File& file_of(int32_t shard) {
    const auto it = files_.find(shard);
    if (it != files_.end()) return *it->second;
    if (files_.size() >= kMostOpenFiles) files_.clear();
    const bridge::Path path = folder_.path / folder_.shards[static_cast<size_t>(shard)].name;
    return *files_.emplace(shard, fs_.open_read(path)).first->second;
  }

  // Returns rows as the file stores them.
  at::Tensor stored_rows(const Location& location, int64_t begin, int64_t end) {
    const HfTensor& found = *location.tensor;
    bridge::Shape shape = location.shape;
    shape.at(0) = end - begin;
    if (location.columns.count > 0) shape.back() = location.columns.total;
    shape.back() /= elements_of_number(found);
    at::Tensor out = at::empty(shape, at::TensorOptions().dtype(torch_type(found.dtype)));
    const std::span<std::byte> bytes = bytes_of(out);
    const int64_t row_bytes = static_cast<int64_t>(bytes.size()) / (end - begin);
    const int64_t payload =
        folder_.shards[static_cast<size_t>(found.shard)].payload_offset + found.begin;
    const bridge::File& file = file_of(found.shard);
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      read_in_stripes(count, row_bytes, [&](int64_t first, int64_t last) {
        file.read_at(payload + (location.first_row + stored + first) * row_bytes,
                     bytes.subspan(static_cast<size_t>((row - begin + first) * row_bytes),
                                   static_cast<size_t>((last - first) * row_bytes)));
      });
    });
    return out;
  }

  // A matrix that is stored [in, out], read whole. It is kept until the next one is read, as
  // several canonical tensors may lie in it, and each may be read in blocks.
  const at::Tensor& transposed_matrix(const Location& location) {
    if (transposed_.tensor != location.tensor || transposed_.first_row != location.first_row) {
      const int64_t in = location.shape.at(1);
      transposed_ = {};
      transposed_.matrix = stored_rows(
          {location.tensor, location.first_row, {in, location.rows.total}, {in, 0, in, in, in}}, 0,
          in);
      transposed_.tensor = location.tensor;
      transposed_.first_row = location.first_row;
    }
    return transposed_.matrix;
  }

  at::Tensor transposed_rows(const Location& location, int64_t begin, int64_t end) {
    const int64_t in = location.shape.at(1);
    const at::Tensor matrix = transposed_matrix(location).t();
    at::Tensor out = at::empty({end - begin, in}, matrix.options());
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      out.narrow(0, row - begin, count).copy_(matrix.narrow(0, stored, count));
    });
    return out;
  }

  // codes: rows [begin, end), in fp32.
  at::Tensor mxfp4_values(const Location& location, const at::Tensor& codes, int64_t begin,
                          int64_t end) {
    const HfTensor& scale = scale_of(*location.tensor);
    const Location of_scales{&scale, location.first_row, {0, scale.shape.back()}, location.rows};
    const at::Tensor exponents = stored_rows(of_scales, begin, end).to(at::kInt) - 127;
    return at::ldexp(e2m1_values(codes).unflatten(1, {-1, kFp4Block.columns}),
                     exponents.unsqueeze(-1))
        .flatten(1);
  }

  // codes: rows [begin, end) of a quantized tensor of another kind.
  QuantizedRows with_scales(const Location& location, const at::Tensor& codes, int64_t begin,
                            int64_t end) {
    const HfTensor& found = *location.tensor;
    const HfTensor& scale = scale_of(found);
    const HfBlock block = block_in(found);
    const bridge::Shape grid = grid_of(found);
    at::Tensor scale_row = at::empty({end - begin}, at::kInt);
    int32_t* block_row = scale_row.mutable_data_ptr<int32_t>();
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        block_row[row - begin + i] = static_cast<int32_t>((stored + i) / block.rows);
      }
    });
    const auto [least, most] = std::minmax_element(block_row, block_row + (end - begin));
    const int32_t first = *least;
    const at::Tensor scales =
        stored_rows({&scale, 0, grid, {0, 0, grid[0], 0, 0}}, first, int64_t{*most} + 1);
    return {format_of(found), codes.view(at::kByte), scales, scale_row - first, block.columns};
  }

  bridge::FileSystem& fs_;
  bridge::HfFolder folder_;
  Settings settings_;
  bool drop_mtp_;
  ModelConfig config_;
  HfNames names_;
  HfQuantization quantization_;
  bool has_mxfp4_;
  std::map<int32_t, std::unique_ptr<bridge::File>> files_;
  struct Transposed {
    const HfTensor* tensor = nullptr;
    int64_t first_row = 0;
    at::Tensor matrix;
  } transposed_;
};

}  // namespace

std::unique_ptr<Weights> open_hf_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                         bridge::MemoryBudget& budget, bool drop_mtp) {
  return std::make_unique<HfWeights>(fs, path, budget, drop_mtp);
}

}  // namespace models
