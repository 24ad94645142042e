// Turns provider fields into Megatron-LM arguments, in four groups:
//   1. fields that are plain data and keep their names (all except kRenamed and kNotArguments)
//   2. fields that are arguments under another name
//   3. flags computed from fields (swiglu, group_query_attention, untie_...)
//   4. arguments that describe the checkpoint (format, no optimizer state, parallel sizes 1)
//   5. arguments that the table sets itself (add_position_embedding, true by the parser's default)
// Only plain data can be passed: readers load common.pt with weights_only.
#include "mappings/megatron/megatron_args.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

constexpr std::array<std::string_view, 4> kRequired = {"num_layers", "hidden_size",
                                                       "num_attention_heads", "vocab_size"};

// Fields that the arguments also have under a second name. The parser of newer versions, made from
// TransformerConfig, knows the first name; that of older versions knows the second.
constexpr std::pair<std::string_view, std::string_view> kTwoNames[] = {
    // field, argument
    {"seq_length", "max_position_embeddings"},
    {"layernorm_epsilon", "norm_epsilon"},
    {"layernorm_zero_centered_gamma", "apply_layernorm_1p"},
};

constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {
    // field, argument
    {"rope_scaling", "use_rope_scaling"},
    {"seq_len_interpolation_factor", "rotary_seq_len_interpolation_factor"},
    {"num_moe_experts", "num_experts"},
    {"yarn_rotary_scaling_factor", "rotary_scaling_factor"},
    {"yarn_mscale", "mscale"},
    {"yarn_mscale_all_dim", "mscale_all_dim"},
};

constexpr std::pair<std::string_view, std::string_view> kNotArguments[] = {
    // field, why it is not an argument
    {"_target_", "the class that Megatron-Bridge makes; Megatron-LM has one"},
    {"transformer_layer_spec",
     "Megatron-LM chooses it by transformer_impl and the other arguments"},
    {"activation_func", "a function; swiglu, squared_relu or quick_geglu says it"},
    {"gated_linear_unit", "swiglu or quick_geglu says it"},
    {"bias_activation_fusion", "bias_swiglu_fusion and bias_gelu_fusion say it"},
    {"persist_layer_norm", "no_persist_layer_norm says the opposite"},
    {"share_embeddings_and_output_weights",
     "untie_embeddings_and_output_weights says the opposite"},
    {"params_dtype", "a torch.dtype; bf16 and fp16 say it"},
    {"autocast_dtype", "a torch.dtype; Megatron-LM derives it from bf16 and fp16"},
    {"actual_vocab_size", "Megatron-LM takes padded_vocab_size for it"},
    {"scatter_embedding_sequence_parallel", "GPTModel's own; Megatron-LM leaves its default"},
    {"vision_config", "Megatron-LM has no such vision tower"},
    {"image_token_id", "of the vision tower"},
    {"video_token_id", "of the vision tower"},
    {"vision_token_id", "of the vision tower"},
    {"vision_start_token_id", "of the vision tower"},
    {"vision_end_token_id", "of the vision tower"},
    {"bos_token_id", "the tokenizer's"},
    {"eos_token_id", "the tokenizer's"},
};

// An activation function that arguments can name.
struct Activation {
  std::string_view function;
  bool gated;
  std::string_view argument;
};
constexpr Activation kActivations[] = {
    {"torch.nn.functional.silu", true, "swiglu"},
    {"megatron.core.activations.squared_relu", false, "squared_relu"},
    {"megatron.core.fusions.fused_bias_geglu.quick_gelu", true, "quick_geglu"},
};
// The activation if none of kActivations applies.
constexpr std::string_view kGelu = "torch.nn.functional.gelu";

bool is_plain(const Json& json) {
  if (json.is_object()) return false;
  if (!json.is_array()) return true;
  for (const Json& item : json) {
    if (!is_plain(item)) return false;
  }
  return true;
}

class Fields {
 public:
  explicit Fields(const Json& provider) : provider_(provider) {
    if (!provider.is_object()) bridge::internal_error("provider fields are no object");
    for (const std::string_view name : kRequired) {
      if (get(name).is_null()) {
        bridge::bad_input(fmt::format("megatron_config of the table lacks {}", name));
      }
    }
  }

  // Returns null if the field is absent.
  const Json& get(std::string_view name) const {
    static const Json nothing;
    const Json::const_iterator it = provider_.find(name);
    return it == provider_.end() ? nothing : *it;
  }

  bool flag(std::string_view name) const {
    const Json& json = get(name);
    return json.is_boolean() && json.get<bool>();
  }

  bool calls(std::string_view name, std::string_view target) const {
    const Json& json = get(name);
    return json.is_object() && json.value("_target_", Json()) == target;
  }

 private:
  const Json& provider_;
};

bool is_argument(std::string_view field) {
  const auto names_it = [&](const auto& pair) { return pair.first == field; };
  return std::none_of(std::begin(kRenamed), std::end(kRenamed), names_it) &&
         std::none_of(std::begin(kNotArguments), std::end(kNotArguments), names_it);
}

bool has_activation(const Fields& fields, const Activation& activation) {
  return fields.flag("gated_linear_unit") == activation.gated &&
         fields.calls("activation_func", activation.function);
}

// True if the flags can express the activation. Flags that are all off mean GELU without a gate.
bool flags_tell_activation(const Fields& fields) {
  if (fields.get("activation_func").is_null()) return !fields.flag("gated_linear_unit");
  return std::any_of(std::begin(kActivations), std::end(kActivations),
                     [&](const Activation& known) { return has_activation(fields, known); }) ||
         has_activation(fields, {kGelu, false, {}});
}

void copy_fields(const Json& provider, const Fields& fields, Json& args) {
  for (const auto& [name, value] : provider.items()) {
    if (is_argument(name) && is_plain(value)) args[name] = value;
  }
  const auto copy_as = [&](const auto& pair) {
    const Json& value = fields.get(pair.first);
    if (!value.is_null()) args[std::string(pair.second)] = value;
  };
  std::for_each(std::begin(kTwoNames), std::end(kTwoNames), copy_as);
  std::for_each(std::begin(kRenamed), std::end(kRenamed), copy_as);
}

// --rotary-base is an integer argument, but HF writes 500000.0.
Json rotary_base_of(const Json& value) {
  if (!value.is_number_float()) return value;
  const double base = value.get<double>();
  if (base != std::floor(base) || std::fabs(base) > 1e15) return value;
  return static_cast<int64_t>(base);
}

void add_flags(const Fields& fields, Json& args) {
  // Absent flags say nothing; flags that are all off would contradict run_config.yaml.
  if (flags_tell_activation(fields)) {
    for (const Activation& activation : kActivations) {
      args[std::string(activation.argument)] = has_activation(fields, activation);
    }
  }
  const Json& fusion = fields.get("bias_activation_fusion");
  if (!fusion.is_null()) args["bias_swiglu_fusion"] = args["bias_gelu_fusion"] = fusion;
  const Json& persist = fields.get("persist_layer_norm");
  if (persist.is_boolean()) args["no_persist_layer_norm"] = !persist.get<bool>();
  args["untie_embeddings_and_output_weights"] = !fields.flag("share_embeddings_and_output_weights");
  const Json& groups = fields.get("num_query_groups");
  args["group_query_attention"] = !groups.is_null() && groups != fields.get("num_attention_heads");
  if (!fields.get("rotary_base").is_null()) {
    args["rotary_base"] = rotary_base_of(fields.get("rotary_base"));
  }
  args["add_position_embedding"] = true;
  args["use_rotary_position_embeddings"] = fields.get("position_embedding_type") == "rope";
  args["apply_query_key_layer_scaling"] = false;
  if (!args.contains("apply_layernorm_1p")) args["apply_layernorm_1p"] = false;
  if (!args.contains("rotary_interleaved")) args["rotary_interleaved"] = false;
  if (!args.contains("num_experts")) args["num_experts"] = nullptr;
}

void add_checkpoint(const Fields& fields, const ArgsOptions& options, Json& args) {
  args["padded_vocab_size"] =
      options.padded_vocab_size > 0 ? Json(options.padded_vocab_size) : fields.get("vocab_size");
  // --use-tokenizer-model-from-checkpoint-args, which is on by default, would ask for the model of
  // a type that has none.
  if (!options.tokenizer_model.empty()) {
    args["tokenizer_type"] = "HuggingFaceTokenizer";
    args["tokenizer_model"] = options.tokenizer_model;
  }
  args["transformer_impl"] = options.local_spec ? "local" : "transformer_engine";
  args["ckpt_format"] = "torch_dist";
  args["use_dist_ckpt"] = true;
  args["no_save_optim"] = true;
  args["no_save_rng"] = true;
  args["iteration"] = 0;
  for (const std::string_view name :
       {"tensor_model_parallel_size", "pipeline_model_parallel_size", "context_parallel_size",
        "expert_model_parallel_size", "expert_tensor_parallel_size"}) {
    args[std::string(name)] = 1;
  }
  args["virtual_pipeline_model_parallel_size"] = nullptr;
}

}  // namespace

std::string why_no_argument(std::string_view field) {
  for (const auto& [name, argument] : kRenamed) {
    if (name == field) return fmt::format("the argument is called {}", argument);
  }
  for (const auto& [name, why] : kNotArguments) {
    if (name == field) return std::string(why);
  }
  return {};
}

std::vector<std::string> fields_lost_to_args(const Json& provider) {
  const Fields fields(provider);
  std::vector<std::string> lost;
  for (const auto& [name, value] : provider.items()) {
    if (is_argument(name) && !is_plain(value)) lost.push_back(name);
  }
  if (!fields.get("activation_func").is_null() && !flags_tell_activation(fields)) {
    lost.emplace_back("activation_func");
  }
  return lost;
}

Json megatron_args(const Json& provider, const ArgsOptions& options) {
  const Fields fields(provider);
  Json args = Json::object();
  copy_fields(provider, fields, args);
  // Every version of Megatron-Core knows this name; 0.16 does not know "gdn".
  if (fields.get("experimental_attention_variant") == "gdn") {
    args["experimental_attention_variant"] = "gated_delta_net";
  }
  add_flags(fields, args);
  add_checkpoint(fields, options, args);
  args.update(options.more);
  return args;
}

}  // namespace mappings
