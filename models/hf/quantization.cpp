#include "models/hf/quantization.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"

namespace models {
namespace {

constexpr std::string_view kMxfp4 = "mxfp4";
constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kPacked = ".weight_packed";
constexpr std::string_view kScales[] = {".weight_scale_inv", ".weight_scale"};
constexpr std::string_view kScaleSuffixes[] = {"_scale_inv", "_scale"};  // appended to X.weight
constexpr std::string_view kScale = ".scale";                            // replaces .weight
constexpr std::string_view kBlocks = "_blocks";
constexpr std::string_view kExponents = "_scales";  // replaces _blocks
constexpr std::string_view kBeside[] = {".weight_shape", ".input_scale", ".activation_scale",
                                        ".k_scale", ".v_scale"};

HfBlock two_sizes(const Settings& section, std::string_view key) {
  const std::vector<int64_t> size = section.integers(key);
  if (size.size() != 2 || size[0] < 1 || size[1] < 1) {
    section.not_supported(key, "scales by block of two sizes are read here");
  }
  return {size[0], size[1]};
}

// "weight" and "static" are the order of a calibration, of which nothing is stored.
bool has_own_order(const Settings& weights) {
  if (!weights.has("actorder")) return true;
  const std::string order = weights.text_or("actorder", "");
  return order == "weight" || order == "static";
}

HfBlock block_of_compressed(const Settings& weights) {
  if (!weights.flag_or("symmetric", true)) {
    weights.not_supported("symmetric", "symmetric weights are read here");
  }
  if (!has_own_order(weights)) {
    weights.not_supported("actorder", "weights in their own order are read here");
  }
  const std::string type = weights.text_or("type", "int");
  const std::string strategy = weights.text_or("strategy", "tensor");
  const int64_t bits = weights.integer_or("num_bits", 8);
  if (type == "int" && bits == 4 && weights.has("group_size")) {
    const int64_t columns = weights.integer("group_size");
    if (columns < 1) weights.refuse("group_size", "not a number of columns");
    return {1, columns};
  }
  if (type == "float" && bits == 8 && strategy == "channel") return {1, HfBlock::kAll};
  if (type == "float" && bits == 8 && strategy == "tensor") return {};
  if (type == "float" && bits == 8 && strategy == "block") {
    return two_sizes(weights, "block_structure");
  }
  weights.not_supported("num_bits", "INT4 by group and FP8 by row, block or tensor are read here");
}

// The layer that a stored weight is of: "model.layers.0.mlp.up_proj".
std::string_view layer_of(std::string_view name) {
  return name.substr(0, std::min(name.rfind('.'), name.size()));
}

// The block of FP8 as transformers and ModelOpt write it.
HfBlock block_of_fp8(const Settings& quantization) {
  const bool has_one_scale = quantization.text_or("quant_method", "") == "fp8" ||
                             quantization.text_or("quant_algo", "") == "FP8";
  if (has_one_scale && !quantization.has("weight_block_size")) return {};
  return two_sizes(quantization, "weight_block_size");
}

}  // namespace

HfBlock HfBlock::in(const bridge::Shape& matrix) const {
  return {rows == kAll ? matrix.at(0) : rows, columns == kAll ? matrix.at(1) : columns};
}

HfQuantization::HfQuantization(const Settings& config) {
  const std::optional<Settings> quantization = config.section("quantization_config");
  if (!quantization) return;
  const std::string method = quantization->text_or("quant_method", "");
  if (method == kMxfp4) return;
  if (method != "compressed-tensors") {
    kinds_.push_back({block_of_fp8(*quantization)});
    return;
  }
  groups_.emplace(*quantization);
  for (size_t group = 0; group < groups_->weights().size(); ++group) {
    const std::optional<Settings>& weights = groups_->weights()[group];
    if (!weights) continue;  // activations alone
    kinds_.push_back(
        {block_of_compressed(*weights), weights->text_or("type", "int") == "int", group});
  }
}

HfBlock HfQuantization::block_of(const bridge::HfTensor& stored) const {
  const bool is_int4 = is_hf_int4(stored);
  const auto is_alike = [&](const Kind& kind) { return !groups_ || kind.is_int4 == is_int4; };
  const auto first = std::find_if(kinds_.begin(), kinds_.end(), is_alike);
  if (first == kinds_.end()) {
    bridge::bad_input("quantized, but config.json has no quantization_config of such weights");
  }
  if (std::none_of(first + 1, kinds_.end(), is_alike)) return first->block;
  const CompressedGroups::Found found = groups_->find(layer_of(stored.name));
  const auto own = std::find_if(first, kinds_.end(), [&](const Kind& kind) {
    return is_alike(kind) && kind.group == found.group;
  });
  if (own == kinds_.end()) {
    bridge::bad_input(
        fmt::format("quantized, but quantization_config does not say how: {}", found.because));
  }
  return own->block;
}

void HfQuantization::check_linear(const bridge::HfTensor& stored) const {
  if (!groups_) return;
  const CompressedGroups::Found found = groups_->find(layer_of(stored.name));
  const auto said = std::find_if(kinds_.begin(), kinds_.end(),
                                 [&](const Kind& kind) { return kind.group == found.group; });
  const bool is_int4 = is_hf_int4(stored);
  const bool is_quantized = is_int4 || stored.dtype == bridge::Dtype::kF8E4M3;
  const bool should_be = said != kinds_.end();
  if (should_be == is_quantized && (!should_be || said->is_int4 == is_int4)) return;
  bridge::bad_input(fmt::format("{}, but quantization_config says {}: {}",
                                bridge::safetensors_name(stored.dtype),
                                !should_be      ? "not quantized"
                                : said->is_int4 ? "INT4"
                                                : "FP8",
                                found.because));
}

bool hf_has_mxfp4(const Settings& config) {
  const std::optional<Settings> quantization = config.section("quantization_config");
  return quantization && quantization->text_or("quant_method", "") == kMxfp4;
}

bool is_hf_int4(const bridge::HfTensor& tensor) {
  return tensor.dtype == bridge::Dtype::kI32 && tensor.name.ends_with(kPacked);
}

bool is_hf_mxfp4(const bridge::HfTensor& tensor) {
  return tensor.dtype == bridge::Dtype::kU8 && tensor.name.ends_with(kBlocks);
}

bool is_hf_fp4(const bridge::HfTensor& tensor) {
  return tensor.dtype == bridge::Dtype::kI8 || is_hf_mxfp4(tensor);
}

bool is_hf_quantized(const bridge::HfTensor& tensor) {
  return tensor.dtype == bridge::Dtype::kF8E4M3 || is_hf_fp4(tensor) || is_hf_int4(tensor);
}

int64_t hf_elements_of_number(const bridge::HfTensor& tensor) {
  if (is_hf_int4(tensor)) return 8;
  return is_hf_fp4(tensor) ? 2 : 1;
}

bridge::Shape hf_element_shape(const bridge::HfTensor& tensor) {
  bridge::Shape shape = tensor.shape;
  if (shape.empty()) return shape;
  if (is_hf_mxfp4(tensor) && shape.size() > 1) {
    const int64_t bytes = shape.back();
    shape.pop_back();
    shape.back() = bridge::checked_mul(shape.back(), bytes, "number of columns");
  }
  shape.back() =
      bridge::checked_mul(shape.back(), hf_elements_of_number(tensor), "number of columns");
  return shape;
}

const bridge::HfTensor* find_hf_weight(const bridge::HfFolder& folder, const std::string& name) {
  const bridge::HfTensor* found = folder.find(name);
  if (found != nullptr || !name.ends_with(kWeight)) return found;
  return folder.find(name.substr(0, name.size() - kWeight.size()).append(kPacked));
}

std::string hf_weight_name(std::string_view name) {
  const auto without = [&](std::string_view suffix) {
    return std::string(name.substr(0, name.size() - suffix.size())).append(kWeight);
  };
  if (name.ends_with(kPacked)) return without(kPacked);
  for (const std::string_view suffix : kScales) {
    if (name.ends_with(suffix)) return without(suffix);
  }
  for (const std::string_view suffix : kBeside) {
    if (name.ends_with(suffix)) return without(suffix);
  }
  return std::string(name);
}

const bridge::HfTensor* find_hf_scales(const bridge::HfFolder& folder, const std::string& weight) {
  if (weight.ends_with(kBlocks)) {
    return folder.find(weight.substr(0, weight.size() - kBlocks.size()).append(kExponents));
  }
  for (const std::string_view suffix : kScaleSuffixes) {
    const bridge::HfTensor* scale = folder.find(weight + std::string(suffix));
    if (scale != nullptr) return scale;
  }
  if (!weight.ends_with(kWeight)) return nullptr;
  return folder.find(weight.substr(0, weight.size() - kWeight.size()).append(kScale));
}

std::vector<const bridge::HfTensor*> hf_tensors_beside(const bridge::HfFolder& folder,
                                                       const std::string& weight) {
  std::vector<const bridge::HfTensor*> found;
  if (!weight.ends_with(kWeight)) return found;
  const std::string module = weight.substr(0, weight.size() - kWeight.size());
  for (const std::string_view suffix : kBeside) {
    const bridge::HfTensor* tensor = folder.find(module + std::string(suffix));
    if (tensor != nullptr) found.push_back(tensor);
  }
  return found;
}

}  // namespace models
