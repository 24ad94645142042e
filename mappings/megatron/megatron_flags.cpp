// One list describes the arguments: name, flag, the provider's name if it differs, the parser's
// default, and when the argument counts.
#include "mappings/megatron/megatron_flags.h"

#include <fmt/format.h>

#include <string_view>

#include "mappings/megatron/yaml_text.h"

namespace mappings {
namespace {

// When an argument has an effect; the comments name what decides.
enum class Where {
  kAlways,
  kRopeScaling,  // use_rope_scaling
  kLatent,       // multi_latent_attention
  kYarn,         // YaRN, in both kinds of attention
  kGptYarn,      // YaRN outside of latent attention
  kMoe,          // num_experts
  kRouterBias,   // moe_router_enable_expert_bias
  kLinear,       // experimental_attention_variant
  kMtp,          // mtp_num_layers
};

struct Argument {
  std::string_view name;
  std::string_view flag;      // empty: no flag sets it
  std::string_view provider;  // empty: the same name
  std::string_view ignored;   // the default as JSON, which needs no flag; empty: no default
  Where where = Where::kAlways;
};

constexpr Argument kArguments[] = {
    // The parser of 2026 calls the flag --norm-epsilon.
    {"norm_epsilon", "--norm-epsilon", "layernorm_epsilon", "1e-05"},
    {"qk_layernorm", "--qk-layernorm", "", "false"},
    {"use_rope_scaling", "--use-rope-scaling", "rope_scaling", "false"},
    {"rope_scaling_factor", "--rope-scaling-factor", "", "8.0", Where::kRopeScaling},
    {"rotary_seq_len_interpolation_factor", "--rotary-seq-len-interpolation-factor",
     "seq_len_interpolation_factor", ""},
    {"window_size", "--window-size", "", ""},
    {"window_attn_skip_freq", "--window-attn-skip-freq", "", ""},
    {"mrope_section", "--mrope-section", "", ""},
    {"attention_output_gate", "--attention-output-gate", "", "false"},
    {"activation_func_clamp_value", "--activation-func-clamp-value", "", ""},
    {"quick_geglu", "--quick-geglu", "", "false"},
    {"glu_linear_offset", "--glu-linear-offset", "", "0.0"},
    {"softmax_type", "--softmax-type", "", "\"vanilla\""},

    {"multi_latent_attention", "--multi-latent-attention", "", "false"},
    {"q_lora_rank", "--q-lora-rank", "", "", Where::kLatent},
    {"kv_lora_rank", "--kv-lora-rank", "", "32", Where::kLatent},
    {"qk_head_dim", "--qk-head-dim", "", "128", Where::kLatent},
    {"qk_pos_emb_head_dim", "--qk-pos-emb-head-dim", "", "64", Where::kLatent},
    {"v_head_dim", "--v-head-dim", "", "128", Where::kLatent},
    {"rope_type", "--rope-type", "", "", Where::kLatent},

    {"rotary_scaling_factor", "--rotary-scaling-factor", "", "1.0", Where::kYarn},
    {"mscale", "--mscale", "", "1.0", Where::kYarn},
    {"mscale_all_dim", "--mscale-all-dim", "", "0.0", Where::kYarn},
    {"original_max_position_embeddings", "", "", "4096", Where::kYarn},
    {"beta_fast", "", "", "32", Where::kYarn},
    {"beta_slow", "", "", "1", Where::kYarn},
    {"yarn_original_max_position_embeddings", "--yarn-original-max-position-embeddings", "", "",
     Where::kGptYarn},
    {"yarn_beta_fast", "--yarn-beta-fast", "", "", Where::kGptYarn},
    {"yarn_beta_slow", "--yarn-beta-slow", "", "", Where::kGptYarn},
    {"yarn_correction_range_round_to_int", "--yarn-correction-range-round-to-int", "", "true",
     Where::kGptYarn},

    {"experimental_attention_variant", "--experimental-attention-variant", "", ""},
    {"linear_attention_freq", "--linear-attention-freq", "", "", Where::kLinear},
    {"linear_conv_kernel_dim", "--linear-conv-kernel-dim", "", "4", Where::kLinear},
    {"linear_key_head_dim", "--linear-key-head-dim", "", "128", Where::kLinear},
    {"linear_value_head_dim", "--linear-value-head-dim", "", "128", Where::kLinear},
    {"linear_num_key_heads", "--linear-num-key-heads", "", "16", Where::kLinear},
    {"linear_num_value_heads", "--linear-num-value-heads", "", "32", Where::kLinear},

    {"moe_router_dtype", "--moe-router-dtype", "", "", Where::kMoe},
    {"moe_router_num_groups", "--moe-router-num-groups", "", "", Where::kMoe},
    {"moe_router_group_topk", "--moe-router-group-topk", "", "", Where::kMoe},
    {"moe_router_load_balancing_type", "--moe-router-load-balancing-type", "", "\"aux_loss\"",
     Where::kMoe},
    {"moe_aux_loss_coeff", "--moe-aux-loss-coeff", "", "0.0", Where::kMoe},
    {"moe_router_bias_update_rate", "--moe-router-bias-update-rate", "", "0.001",
     Where::kRouterBias},
    {"moe_shared_expert_gate", "--moe-shared-expert-gate", "", "false", Where::kMoe},
    {"moe_mlp_glu_interleave_size", "--moe-mlp-glu-interleave-size", "", "", Where::kMoe},
    {"moe_latent_size", "--moe-latent-size", "", "", Where::kMoe},
    {"moe_n_hash_layers", "", "", "0", Where::kMoe},
    {"mtp_loss_scaling_factor", "--mtp-loss-scaling-factor", "", "0.1", Where::kMtp},

    {"csa_compress_ratios", "", "", ""},
    {"csa_compress_rotary_base", "", "", ""},
    {"csa_window_size", "", "", ""},
    {"dsa_indexer_n_heads", "--dsa-indexer-n-heads", "", ""},
    {"dsa_indexer_head_dim", "--dsa-indexer-head-dim", "", ""},
    {"dsa_indexer_topk", "--dsa-indexer-topk", "", ""},
    {"dsa_indexer_topk_freq", "--dsa-indexer-topk-freq", "", "1"},
    {"dsa_indexer_skip_topk_offset", "--dsa-indexer-skip-topk-offset", "", "0"},
    {"dsa_indexer_rope_interleaved", "--dsa-indexer-rope-interleaved", "", "false"},
    {"dsa_indexer_rotate_activation", "--dsa-indexer-rotate-activation", "", "true"},
    {"dsa_indexer_k_norm_epsilon", "--dsa-indexer-k-norm-epsilon", "", ""},
    {"dsa_indexer_loss_coeff", "--dsa-indexer-loss-coeff", "", ""},
    {"dsa_indexer_use_sparse_loss", "--dsa-indexer-use-sparse-loss", "", "false"},
    {"o_groups", "", "", ""},
    {"o_lora_rank", "", "", ""},
    {"enable_hyper_connections", "", "", "false"},
    {"num_residual_streams", "", "", ""},
    {"mhc_sinkhorn_iterations", "", "", ""},

    {"transformer_impl", "--transformer-impl", "", "\"transformer_engine\""},
    {"bf16", "--bf16", "", "false"},
    {"fp16", "--fp16", "", "false"},
};

class Arguments {
 public:
  explicit Arguments(const Json& args) : args_(args) {}

  const Json& get(std::string_view name) const {
    static const Json nothing;
    const Json::const_iterator it = args_.find(name);
    return it == args_.end() ? nothing : *it;
  }

  bool has(std::string_view name) const { return !get(name).is_null(); }

  bool counts(Where where) const {
    switch (where) {
      case Where::kAlways:
        return true;
      case Where::kRopeScaling:
        return flag("use_rope_scaling");
      case Where::kLatent:
        return flag("multi_latent_attention");
      case Where::kYarn:
        return flag("multi_latent_attention") ? get("rope_type") == "yarn" : is_gpt_yarn();
      case Where::kGptYarn:
        return is_gpt_yarn();
      case Where::kMoe:
        return number("num_experts");
      case Where::kRouterBias:
        return number("num_experts") && flag("moe_router_enable_expert_bias");
      case Where::kLinear:
        return get("experimental_attention_variant").is_string();
      case Where::kMtp:
        return number("mtp_num_layers");
    }
    return true;
  }

 private:
  bool flag(std::string_view name) const { return get(name) == true; }
  bool number(std::string_view name) const { return get(name).is_number() && get(name) != 0; }
  bool is_gpt_yarn() const {
    return !flag("multi_latent_attention") && get("position_embedding_type") == "yarn";
  }

  const Json& args_;
};

// Formats a value for the command line; lists in the form that their flags read.
std::string word(std::string_view flag, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return yaml_scalar(value);
  const bool python_list = flag == "--linear-attention-freq" || flag == "--window-attn-skip-freq";
  const std::string_view separator = flag == "--mrope-section" ? " " : ",";
  std::string text;
  for (const Json& item : value) {
    if (!text.empty()) text += separator;
    text += yaml_scalar(item);
  }
  return python_list ? "[" + text + "]" : text;
}

std::string python(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_string()) return "'" + value.get<std::string>() + "'";
  if (!value.is_array()) return yaml_scalar(value);
  std::string text;
  for (const Json& item : value) text += (text.empty() ? "" : ", ") + python(item);
  return "[" + text + "]";
}

std::string flag_text(const Argument& argument, const Json& value) {
  if (!value.is_boolean()) {
    return fmt::format("{} {}", argument.flag, word(argument.flag, value));
  }
  if (value.get<bool>()) return std::string(argument.flag);
  return fmt::format("--no-{}", argument.flag.substr(2));
}

}  // namespace

MegatronFlags megatron_flags(const Json& args) {
  MegatronFlags result;
  const Arguments arguments(args);
  for (const Argument& argument : kArguments) {
    const std::string_view field = argument.provider.empty() ? argument.name : argument.provider;
    // The parser of 2026, made from TransformerConfig, calls some arguments as the provider does.
    const Json& value = arguments.get(arguments.has(argument.name) ? argument.name : field);
    if (value.is_null() || !arguments.counts(argument.where)) continue;
    if (!argument.ignored.empty() && value == Json::parse(argument.ignored)) continue;
    if (argument.flag.empty()) {
      result.no_flag.emplace_back(argument.name, python(value));
    } else {
      result.flags.push_back(flag_text(argument, value));
    }
    // Outside of latent attention, Bridge's provider has another name for these fields.
    const bool yarn_field = argument.where == Where::kYarn && !arguments.counts(Where::kLatent) &&
                            !argument.flag.empty();
    // The spec decides the one, and the provider's activation_func says the other.
    if (argument.name == "transformer_impl" || argument.name == "quick_geglu") continue;
    result.provider.emplace_back(yarn_field ? fmt::format("yarn_{}", field) : std::string(field),
                                 python(value));
  }
  return result;
}

}  // namespace mappings
