// Provider fields -> Megatron-LM arguments, in four groups:
//   1. fields with the same name and meaning
//   2. fields with another name
//   3. flags computed from fields (swiglu, group_query_attention, untie_...)
//   4. what describes the checkpoint (format, no optimizer state, parallel sizes 1)
// Arguments whose value is no plain datum (params_dtype, a torch.dtype) are left out: readers of
// common.pt load it with weights_only, and bf16/fp16 say the same.
#include "mappings/megatron/megatron_args.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

constexpr std::array<std::string_view, 4> kRequired = {"num_layers", "hidden_size",
                                                       "num_attention_heads", "vocab_size"};

constexpr std::string_view kSame[] = {"num_layers",
                                      "hidden_size",
                                      "ffn_hidden_size",
                                      "num_attention_heads",
                                      "num_query_groups",
                                      "kv_channels",
                                      "seq_length",
                                      "position_embedding_type",
                                      "window_size",
                                      "rotary_percent",
                                      "rotary_interleaved",
                                      "rope_scaling_factor",
                                      "mrope_section",
                                      "normalization",
                                      "add_bias_linear",
                                      "add_qkv_bias",
                                      "qk_layernorm",
                                      "attention_dropout",
                                      "hidden_dropout",
                                      "init_method_std",
                                      "vocab_size",
                                      "make_vocab_size_divisible_by",
                                      "mtp_num_layers",
                                      "mtp_loss_scaling_factor",
                                      "multi_latent_attention",
                                      "q_lora_rank",
                                      "kv_lora_rank",
                                      "qk_head_dim",
                                      "qk_pos_emb_head_dim",
                                      "v_head_dim",
                                      "rotary_scaling_factor",
                                      "mscale",
                                      "mscale_all_dim",
                                      "beta_fast",
                                      "beta_slow",
                                      "original_max_position_embeddings",
                                      "rope_type",
                                      "attention_output_gate",
                                      "experimental_attention_variant",
                                      "linear_attention_freq",
                                      "linear_conv_kernel_dim",
                                      "linear_key_head_dim",
                                      "linear_value_head_dim",
                                      "linear_num_key_heads",
                                      "linear_num_value_heads",
                                      "csa_compress_ratios",
                                      "csa_compress_rotary_base",
                                      "csa_window_size",
                                      "csa_dense_mode",
                                      "dsa_indexer_n_heads",
                                      "dsa_indexer_head_dim",
                                      "dsa_indexer_topk",
                                      "o_groups",
                                      "o_lora_rank",
                                      "activation_func_clamp_value",
                                      "enable_hyper_connections",
                                      "num_residual_streams",
                                      "mhc_sinkhorn_iterations",
                                      "bf16",
                                      "fp16",
                                      "yarn_original_max_position_embeddings",
                                      "yarn_beta_fast",
                                      "yarn_beta_slow",
                                      "yarn_correction_range_round_to_int"};

constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {
    // provider, argument
    {"seq_length", "max_position_embeddings"},
    {"layernorm_epsilon", "norm_epsilon"},
    {"layernorm_zero_centered_gamma", "apply_layernorm_1p"},
    {"rope_scaling", "use_rope_scaling"},
    {"seq_len_interpolation_factor", "rotary_seq_len_interpolation_factor"},
    {"num_moe_experts", "num_experts"},
    {"yarn_rotary_scaling_factor", "rotary_scaling_factor"},
    {"yarn_mscale", "mscale"},
    {"yarn_mscale_all_dim", "mscale_all_dim"},
};

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

  // null where there is none.
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

void copy_fields(const Json& provider, const Fields& fields, Json& args) {
  for (const std::string_view name : kSame) {
    if (provider.contains(name) && is_plain(fields.get(name))) {
      args[std::string(name)] = fields.get(name);
    }
  }
  for (const auto& [from, to] : kRenamed) {
    const Json& value = fields.get(from);
    if (!value.is_null()) args[std::string(to)] = value;
  }
  // The MoE arguments are generated from the configuration class under its own names.
  for (const auto& [name, value] : provider.items()) {
    if (name.starts_with("moe_") && is_plain(value)) args[name] = value;
  }
}

// --rotary-base is an integer argument; HF writes 500000.0.
Json rotary_base_of(const Json& value) {
  if (!value.is_number_float()) return value;
  const double base = value.get<double>();
  if (base != std::floor(base) || std::fabs(base) > 1e15) return value;
  return static_cast<int64_t>(base);
}

void add_flags(const Fields& fields, Json& args) {
  const bool gated = fields.flag("gated_linear_unit");
  args["swiglu"] = gated && fields.calls("activation_func", "torch.nn.functional.silu");
  args["squared_relu"] = false;
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
  // A type without a model would be asked for with --use-tokenizer-model-from-checkpoint-args, which is on by default.
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

Json megatron_args(const Json& provider, const ArgsOptions& options) {
  const Fields fields(provider);
  Json args = Json::object();
  copy_fields(provider, fields, args);
  // The name that every version of Megatron-Core knows; 0.16 does not know "gdn".
  if (fields.get("experimental_attention_variant") == "gdn") {
    args["experimental_attention_variant"] = "gated_delta_net";
  }
  add_flags(fields, args);
  add_checkpoint(fields, options, args);
  return args;
}

}  // namespace mappings
