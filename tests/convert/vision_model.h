// A model of two parts, for conversions with and without the second: a text model whose
// configuration lies under text_config, with one block-quantized tensor in a layer, and a vision
// tower with two stacked layers, a patch and a table of frequencies that no row reads.
//
// Names follow Qwen3-VL's: model.language_model.* and model.visual.* in transformers,
// language_model.* and vision_model.* in Megatron-Bridge.
#pragma once

#include "tests/convert/own_table.h"

namespace bridge {

inline constexpr const char* kVisionTable = R"({
  "architectures": ["TinyVision", "TinyText"],
  "config_root": "text_config",
  "values": {"vision": "config.vision_config ?? null"},
  "dims": {"layers": "num_layers", "blocks": "vision == null ? 0 : vision.depth", "vocab": "7"},
  "dialects": [{"P": "model.language_model."}, {"P": "model."}],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers"},
    "vision": {"megatron": "vision_model.layers.{l}", "hf": "model.visual.blocks.{l}", "count": "blocks",
               "part": "vision", "per_layer_keys": "false"}
  },
  "tied": "config.tie ?? false",
  "per_layer_keys": "true",
  "name_prefix": "vision == null ? '' : 'language_model.'",
  "text_form": {
    "config": {"architectures": ["TinyText"], "model_type": "tiny_text"},
    "keep": ["tie", "quantization_config", "absent"],
    "dialect": {"P": "model."}
  },
  "quantization": [{"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale_inv", "block": ["2", "2"],
    "scale_dtypes": ["F32"]}],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "{P}embed.weight [vocab, 4]"],
    ["{L}.linear_qkv.weight", "qkv", ["{H}.q.weight [8, 4]", "{H}.k.weight [4, 4]", "{H}.v.weight [4, 4]"],
      {"family": ["decoder", "vision"], "groups": "2"}],
    ["{L}.linear_fc.weight", "copy", "{H}.fc.weight [6, 4]", {"family": "decoder"}],
    ["{L}.norm.weight", "copy", "{H}.norm.weight [4]", {"family": ["decoder", "vision"]}],
    ["vision_model.patch.weight", "copy", "model.visual.patch.weight [4, 4]", {"part": "vision", "when": "blocks > 0"}],
    ["output_layer.weight", "vocab", "lm_head.weight [vocab, 4]", {"when": "!tied"}]
  ],
  "drop": [
    ["lm_head.weight", "tied", {"when": "tied", "equals": "{P}embed.weight", "regenerate": true}],
    ["{P}inv_freq", "computed"],
    ["model.visual.inv_freq", "computed", {"part": "vision"}]
  ],
  "extra_state": [["{L}.linear_qkv", {"family": ["decoder", "vision"]}], 
    ["vision_model.patch", {"part": "vision", "when": "blocks > 0"}]],
  "megatron_config": {
    "_target_": "text_only || vision == null ? 'some.TextProvider' : 'some.VisionProvider'",
    "num_layers": "layers", "hidden_size": "4", "num_attention_heads": "2", "vocab_size": "7"
  }
})";

inline const std::string kFirstQkv = "decoder.layers.0.linear_qkv.weight";
inline const std::string kVisionNorm = "vision_model.layers.norm.weight";

class VisionTest : public OwnTableTest {
 protected:
  VisionTest() : OwnTableTest(kVisionTable) { write(all_tensors()); }

  static nlohmann::ordered_json config() {
    return {{"architectures", {"TinyVision"}},
            {"tie", false},
            {"vision_config", {{"depth", 2}}},
            {"quantization_config",
             {{"quant_method", "fp8"},
              {"skip", {"model.visual.patch", "model.language_model.layers.0.norm", "lm_head"}}}},
            {"text_config", {{"model_type", "unsaid"}, {"num_layers", 2}}}};
  }

  // p: the prefix of the names of the text model.
  static std::vector<NamedTensor> text_tensors(const std::string& p = "model.language_model.") {
    auto bytes = random_bytes(5);
    std::vector<NamedTensor> tensors;
    const auto add = [&](const std::string& name, Dtype dtype, const Shape& shape) {
      tensors.push_back({name, dtype, shape, bytes(static_cast<size_t>(byte_size(dtype, shape)))});
    };
    add(p + "embed.weight", Dtype::kBF16, {7, 4});
    for (const char* layer : {"layers.0.", "layers.1."}) {
      add(p + layer + "q.weight", Dtype::kBF16, {8, 4});
      add(p + layer + "k.weight", Dtype::kBF16, {4, 4});
      add(p + layer + "v.weight", Dtype::kBF16, {4, 4});
      add(p + layer + "fc.weight", Dtype::kF8E4M3, {6, 4});
      std::string scales;
      for (const float scale : {0.5F, 0.25F, 3.0F, 0.125F, 1.5F, 7.0F}) {
        scales += std::string(reinterpret_cast<const char*>(&scale), 4);
      }
      tensors.push_back({p + layer + "fc.weight_scale_inv", Dtype::kF32, {3, 2}, scales});
      add(p + layer + "norm.weight", Dtype::kF32, {4});
    }
    add(p + "inv_freq", Dtype::kF32, {3});
    add("lm_head.weight", Dtype::kBF16, {7, 4});
    return tensors;
  }

  static std::vector<NamedTensor> vision_tensors(unsigned seed) {
    auto bytes = random_bytes(seed);
    std::vector<NamedTensor> tensors;
    const auto add = [&](const std::string& name, Dtype dtype, const Shape& shape) {
      tensors.push_back({"model.visual." + name, dtype, shape,
                         bytes(static_cast<size_t>(byte_size(dtype, shape)))});
    };
    for (const char* block : {"blocks.0.", "blocks.1."}) {
      add(std::string(block) + "q.weight", Dtype::kBF16, {8, 4});
      add(std::string(block) + "k.weight", Dtype::kBF16, {4, 4});
      add(std::string(block) + "v.weight", Dtype::kBF16, {4, 4});
      add(std::string(block) + "norm.weight", Dtype::kF32, {4});
    }
    add("patch.weight", Dtype::kBF16, {4, 4});
    add("inv_freq", Dtype::kF32, {5});
    return tensors;
  }
  // The number of vision tensors that rows read.
  static constexpr int64_t kVisionTensors = 9;

  static std::vector<NamedTensor> all_tensors(unsigned vision_seed = 6) {
    std::vector<NamedTensor> tensors = text_tensors();
    const std::vector<NamedTensor> vision = vision_tensors(vision_seed);
    tensors.insert(tensors.begin() + 3, vision.begin(), vision.end());
    return tensors;
  }

  void write(const std::vector<NamedTensor>& tensors, const std::string& folder = "source") {
    std::filesystem::remove_all(dir_ / folder);
    write_hf_folder(dir_ / folder, config(), tensors, 3);
  }

  Report convert(const std::string& target, bool text_only = false,
                 std::optional<std::string> prefix = {}, const std::string& source = "source") {
    ConvertOptions options = convert_options(target, 1, 64 << 20);
    options.source = dir_ / source;
    options.text_only = text_only;
    options.name_prefix = std::move(prefix);
    return convert_hf(fs_, options);
  }

  ExportOptions export_options(const std::string& source, const std::string& target) const {
    auto options = run_options<ExportOptions>(dir_ / source, dir_ / target);
    options.mapping = dir_ / "table.jsonc";
    return options;
  }

  Report export_text(const std::string& source, const std::string& target) {
    ExportOptions options = export_options(source, target);
    options.text_only = true;
    return export_to_hf(fs_, options);
  }

  Report verify(const std::string& source, const std::string& converted) {
    VerifyOptions options;
    options.mapping = dir_ / "table.jsonc";
    options.a = dir_ / source;
    options.b = dir_ / converted;
    options.quiet = true;
    options.threads = 1;
    options.progress = ProgressMode::kNever;
    return verify_hash(fs_, options);
  }

  std::vector<std::string> keys(const std::string& root) const {
    std::vector<std::string> keys;
    for (const DcpTensor& tensor : open_checkpoint(dir_ / root).metadata.tensors) {
      keys.push_back(tensor.key);
    }
    return keys;
  }

  nlohmann::ordered_json read_json(const std::string& file) const {
    return nlohmann::ordered_json::parse(file_content(dir_ / file));
  }
};

}  // namespace bridge
