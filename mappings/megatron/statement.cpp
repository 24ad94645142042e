#include "mappings/megatron/statement.h"

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "mappings/megatron/argument_names.h"
#include "mappings/megatron/hybrid_layout.h"

namespace mappings {
namespace {

constexpr int64_t kMostLayers = 100'000;

// Reads fields; nullopt means that nothing is known.
class Fields {
 public:
  Fields(const Json& json, Absent absent) : json_(json), absent_(absent) {}

  // Replaces null by the meaning that Megatron gives it.
  std::optional<Json> value(std::string_view name, const Json& null_means) const {
    const Json::const_iterator it = json_.find(name);
    if (it == json_.end()) {
      return absent_ == Absent::kDefault ? std::optional(null_means) : std::nullopt;
    }
    return it->is_null() ? null_means : *it;
  }

  std::optional<bool> flag(std::string_view name, bool null_means) const {
    const std::optional<Json> json = value(name, null_means);
    return json && json->is_boolean() ? std::optional(json->get<bool>()) : std::nullopt;
  }

  std::optional<int64_t> integer(std::string_view name) const {
    const std::optional<Json> json = value(name, Json());
    return json && json->is_number_integer() ? std::optional(json->get<int64_t>()) : std::nullopt;
  }

  std::optional<std::string> text(std::string_view name, std::string_view null_means) const {
    const std::optional<Json> json = value(name, null_means);
    return json && json->is_string() ? std::optional(json->get<std::string>()) : std::nullopt;
  }

 private:
  const Json& json_;
  Absent absent_;
};

class Statement {
 public:
  Statement(const Json& json, Absent absent) : fields_(json, absent) {}

  Json make() {
    copy("num_layers", nullptr);
    copy("hidden_size", nullptr);
    copy("num_attention_heads", nullptr);
    layers_ = fields_.integer("num_layers");
    latent_ = fields_.flag("multi_latent_attention", false);
    put("multi_latent_attention", latent_);
    variant_ = fields_.text("experimental_attention_variant", "");
    if (variant_ == "gdn") variant_ = "gated_delta_net";
    put("experimental_attention_variant", variant_);
    latent_.value_or(false) ? latent_attention() : grouped_attention();
    copy("qk_layernorm", false);
    copy("rotary_base", 10000);
    copy("rotary_percent", 1.0);
    copy("rotary_interleaved", false);
    if (variant_ == "gated_delta_net") delta_attention();
    if (variant_ == "dsa") sparse_attention();
    if (variant_ == "dsv4_hybrid") compressed_attention();
    mamba();
    experts();
    dense();
    norms_and_ends();
    return std::move(out_);
  }

 private:
  template <typename Value>
  void put(std::string_view name, const std::optional<Value>& value) {
    if (value) out_[std::string(name)] = *value;
  }
  void copy(std::string_view name, const Json& null_means) {
    put(name, fields_.value(name, null_means));
  }

  // Returns one entry for each layer: a list unchanged, a number N as `of(layer, N)`.
  template <typename Of>
  std::optional<Json> pattern(std::string_view name, const Json& null_means, const Of& of) const {
    const std::optional<Json> json = fields_.value(name, null_means);
    if (!json || json->is_array()) return json;
    if (!json->is_number_integer() || !layers_ || *layers_ > kMostLayers) return std::nullopt;
    const auto every = json->get<int64_t>();
    if (every < 1) return std::nullopt;
    Json list = Json::array();
    for (int64_t layer = 0; layer < *layers_; ++layer) list.push_back(of(layer, every) ? 1 : 0);
    return list;
  }

  void grouped_attention() {
    const std::optional<int64_t> heads = fields_.integer("num_attention_heads");
    const std::optional<int64_t> hidden = fields_.integer("hidden_size");
    if (heads && *heads > 0) {
      copy("num_query_groups", *heads);
      const std::optional<Json> size =
          fields_.value("kv_channels", hidden ? Json(*hidden / *heads) : Json());
      if (size && !size->is_null()) put("kv_channels", size);
    }
    copy("attention_output_gate", false);
    copy("qk_l2_norm", false);
    // Fields of single models: Gemma's.
    for (const std::string_view name :
         {"softmax_scale", "query_pre_attn_scalar", "interleaved_attn_pattern",
          "attn_logit_softcapping", "final_logit_softcapping"}) {
      const std::optional<Json> value = fields_.value(name, Json());
      if (value && !value->is_null()) put(name, value);
    }
    grouped_positions();
    window();
  }

  void grouped_positions() {
    std::optional<std::string> kind = fields_.text("position_embedding_type", "learned_absolute");
    // A model of images and text says its sections, which no table compares: they tell it from a
    // text model of the same shapes.
    if (kind == "mrope") {
      const std::optional<Json> sections = fields_.value("mrope_section", Json());
      if (sections && !sections->is_null()) put("mrope_section", sections);
    }
    // In text, all sections of mrope have the same position.
    if (kind == "mrope" || fields_.flag("use_rotary_position_embeddings", false).value_or(false)) {
      kind = "rope";
    }
    put("position_embedding_type", kind);
    if (kind == "yarn") {
      for (const auto& [argument, name] : kGroupedYarnNames) {
        const std::optional<Json> value = fields_.value(name, Json());
        if (value && !value->is_null()) put(name, value);
      }
      const auto round = fields_.value("yarn_correction_range_round_to_int", Json());
      if (round && !round->is_null()) put("yarn_correction_range_round_to_int", round);
    } else {
      const std::optional<bool> scaled = fields_.flag("rope_scaling", false);
      put("rope_scaling", scaled);
      // Gemma 3 divides frequencies by it, whatever rope_scaling says.
      const bool divides =
          fields_.value("interleaved_attn_pattern", Json()).value_or(Json()) != Json();
      if (scaled.value_or(false) || divides) copy("rope_scaling_factor", 8.0);
      copy("seq_len_interpolation_factor", nullptr);
    }
    copy("no_rope_freq", nullptr);
  }

  // Writes [tokens before, tokens after], where a negative number means no window, and which layers
  // have one.
  void window() {
    std::optional<Json> size = fields_.value("window_size", Json());
    const bool none = size && size->is_array() && !size->empty() && size->at(0).is_number() &&
                      size->at(0).get<double>() < 0;
    put("window_size", none ? std::optional(Json()) : size);
    if (none || !size || size->is_null()) return;
    const std::optional<Json> skipped = fields_.value("window_attn_skip_freq", Json());
    put("window_attn_skip_freq",
        skipped && skipped->is_null()
            ? skipped
            : pattern("window_attn_skip_freq", Json(),
                      [](int64_t layer, int64_t every) { return (layer + 1) % every != 0; }));
  }

  void latent_attention() {
    for (const std::string_view name :
         {"q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim"}) {
      copy(name, nullptr);
    }
    const std::optional<Json> factor = fields_.value("rotary_scaling_factor", 40.0);
    std::optional<std::string> kind = fields_.text("rope_type", "yarn");
    // With a factor of 1, YaRN changes neither frequencies nor magnitudes.
    const bool scales = !factor || !factor->is_number() || factor->get<double>() > 1;
    if (kind == "yarn" && !scales) kind = "rope";
    put("rope_type", kind);
    const std::optional<Json> all_dim = fields_.value("mscale_all_dim", 0.0);
    if (kind == "yarn") {
      put("rotary_scaling_factor", factor);
      copy("original_max_position_embeddings", 4096);
      copy("beta_fast", 32.0);
      copy("beta_slow", 1.0);
      copy("mscale", 1.0);
      put("mscale_all_dim", all_dim);
    } else if (factor && scales && all_dim && *all_dim != 0) {
      // The softmax is scaled even without YaRN.
      put("rotary_scaling_factor", factor);
      put("mscale_all_dim", all_dim);
    }
  }

  void delta_attention() {
    put("linear_attention_freq",
        pattern("linear_attention_freq", Json(),
                [](int64_t layer, int64_t every) { return (layer + 1) % every != 0; }));
    for (const std::string_view name :
         {"linear_conv_kernel_dim", "linear_key_head_dim", "linear_value_head_dim",
          "linear_num_key_heads", "linear_num_value_heads"}) {
      copy(name, nullptr);
    }
  }

  // Of a HybridModel with Mamba-2, as state_as_gpt() leaves it.
  void mamba() {
    const std::string pattern = fields_.text("hybrid_layer_pattern", "").value_or("");
    if (pattern.find('M') == std::string::npos) return;
    put("hybrid_layer_pattern", std::optional(pattern));
    const std::string of_depth = fields_.text("mtp_hybrid_override_pattern", "").value_or("");
    if (!of_depth.empty()) put("mtp_hybrid_override_pattern", std::optional(of_depth));
    copy("mamba_num_heads", nullptr);
    copy("mamba_head_dim", 64);
    copy("mamba_num_groups", 8);
    copy("mamba_state_dim", 128);
  }

  void sparse_attention() {
    for (const std::string_view name :
         {"dsa_indexer_n_heads", "dsa_indexer_head_dim", "dsa_indexer_topk"}) {
      copy(name, nullptr);
    }
    copy("dsa_indexer_rope_interleaved", false);
    copy("dsa_indexer_scoring_relu", true);
    copy("dsa_indexer_topk_freq", 1);
    // Without sharing the offset is read by nothing; 0 and 1 both mean the first layer.
    if (fields_.value("dsa_indexer_topk_freq", 1) == 1) return;
    const std::optional<Json> offset = fields_.value("dsa_indexer_skip_topk_offset", 0);
    if (offset) put("dsa_indexer_skip_topk_offset", *offset == 0 ? std::optional<Json>(1) : offset);
  }

  void compressed_attention() {
    for (const std::string_view name :
         {"o_groups", "o_lora_rank", "csa_compress_rotary_base", "csa_window_size",
          "dsa_indexer_n_heads", "dsa_indexer_head_dim", "dsa_indexer_topk"}) {
      copy(name, nullptr);
    }
    std::optional<Json> ratios = fields_.value("csa_compress_ratios", Json());
    if (ratios && ratios->is_array() && layers_ && *layers_ >= 0 &&
        std::ssize(*ratios) > *layers_) {
      // The ratios of MTP depths follow those of the layers. They are no ground for a difference,
      // because the checkpoint may have or lack those depths.
      Json of_mtp = Json::array();
      for (auto it = ratios->begin() + *layers_; it != ratios->end(); ++it) of_mtp.push_back(*it);
      out_["mtp_csa_compress_ratios"] = std::move(of_mtp);
      ratios->erase(ratios->begin() + *layers_, ratios->end());
    }
    put("csa_compress_ratios", ratios);
    copy("moe_n_hash_layers", 0);
    const std::optional<bool> streams = fields_.flag("enable_hyper_connections", false);
    put("enable_hyper_connections", streams);
    if (!streams.value_or(false)) return;
    copy("num_residual_streams", 4);
    copy("mhc_sinkhorn_iterations", 20);
  }

  void experts() {
    const std::optional<Json> count = fields_.value("num_moe_experts", Json());
    put("num_moe_experts", count);
    if (!count || count->is_null()) return;
    layer_pattern_ = pattern("moe_layer_freq", 1,
                             [](int64_t layer, int64_t every) { return layer % every == 0; });
    put("moe_layer_freq", layer_pattern_);
    const std::optional<Json> width = fields_.value("moe_ffn_hidden_size", Json());
    if (width) put("moe_ffn_hidden_size", width->is_null() ? dense_width() : width);
    const std::optional<Json> shared = fields_.value("moe_shared_expert_intermediate_size", 0);
    put("moe_shared_expert_intermediate_size", shared);
    if (shared && *shared != 0) copy("moe_shared_expert_gate", false);
    copy("moe_latent_size", nullptr);
    copy("moe_apply_probs_on_input", false);
    router();
  }

  void router() {
    copy("moe_router_topk", 2);
    const std::optional<std::string> score = fields_.text("moe_router_score_function", "softmax");
    put("moe_router_score_function", score);
    if (score == "softmax") copy("moe_router_pre_softmax", false);
    copy("moe_router_enable_expert_bias", false);
    const std::optional<Json> factor = fields_.value("moe_router_topk_scaling_factor", 1.0);
    // The router tests `if scaling_factor:`.
    if (factor) {
      put("moe_router_topk_scaling_factor", std::optional(*factor == 0 ? Json(1.0) : *factor));
    }
    const std::optional<Json> groups = fields_.value("moe_router_num_groups", 1);
    const std::optional<Json> chosen = fields_.value("moe_router_group_topk", 0);
    if (groups && chosen && groups->is_number() && chosen->is_number()) {
      const bool limited = *chosen > 0 && *chosen < *groups;  // otherwise every group is chosen
      put("moe_router_num_groups", std::optional(limited ? *groups : Json()));
      put("moe_router_group_topk", std::optional(limited ? *chosen : Json()));
    }
    const std::optional<Json> loss = fields_.value("moe_aux_loss_coeff", 0.0);
    const bool has_loss =
        fields_.text("moe_router_load_balancing_type", "aux_loss").value_or("").find("aux_loss") !=
        std::string::npos;
    if (has_loss && loss && loss->is_number() && *loss > 0) put("moe_aux_loss_coeff", loss);
  }

  std::optional<Json> dense_width() const {
    const std::optional<Json> own = fields_.value("ffn_hidden_size", Json());
    if (!own || !own->is_null()) return own;
    const std::optional<int64_t> hidden = fields_.integer("hidden_size");
    const std::optional<bool> gated = fields_.flag("gated_linear_unit", false);
    if (!hidden || *hidden < 0 || *hidden > INT32_MAX || !gated) return std::nullopt;
    // As in validate_args: two thirds of 4 * hidden_size, in multiples of 64.
    return *gated ? *hidden * 4 * 2 / 3 / 64 * 64 : *hidden * 4;
  }

  void dense() {
    bool any = !out_.contains("num_moe_experts") || out_["num_moe_experts"].is_null();
    if (!any && layer_pattern_) {
      for (const Json& moe : *layer_pattern_) any = any || moe == 0;
    }
    put(any ? "ffn_hidden_size" : "unused_ffn_hidden_size", dense_width());
    copy("gated_linear_unit", false);
    put("activation_func", activation());
    copy("activation_func_clamp_value", nullptr);
    copy("glu_linear_offset", 0.0);
    const std::optional<bool> biased = fields_.flag("add_bias_linear", true);
    put("add_bias_linear", biased);
    // The switch for all linear layers also gives q, k and v their biases.
    if (biased == true) {
      put("add_qkv_bias", biased);
    } else {
      copy("add_qkv_bias", false);
    }
  }

  // Shortens "torch.nn.functional.silu", by itself or in the form that run_config.yaml gives a
  // function, to "silu".
  std::optional<Json> activation() const {
    std::optional<Json> value = fields_.value("activation_func", "gelu");
    if (value && value->is_object()) value = value->value("_target_", Json());
    if (!value || !value->is_string()) return std::nullopt;
    const std::string& name = value->get_ref<const std::string&>();
    return Json(name.substr(name.rfind('.') + 1));
  }

  void norms_and_ends() {
    copy("normalization", "LayerNorm");
    copy("layernorm_epsilon", 1e-5);
    copy("layernorm_zero_centered_gamma", false);
    copy("apply_residual_connection_post_layernorm", false);
    copy("share_embeddings_and_output_weights", true);
    copy("softmax_type", "vanilla");
    copy("mtp_num_layers", 0);
    copy("attention_dropout", 0.1);
    copy("hidden_dropout", 0.1);
    for (const std::string_view name : {"seq_length", "vocab_size", "make_vocab_size_divisible_by",
                                        "tensor_model_parallel_size"}) {
      const std::optional<Json> value = fields_.value(name, Json());
      if (value && value->is_number()) put(name, value);
    }
  }

  Fields fields_;
  std::optional<int64_t> layers_;
  std::optional<bool> latent_;
  std::optional<std::string> variant_;
  std::optional<Json> layer_pattern_;
  Json out_ = Json::object();
};

}  // namespace

Json statement_of_arguments(const Json& args) {
  Json fields = fields_of_arguments(args);
  state_as_gpt(fields);
  return Statement(fields, Absent::kUnknown).make();
}

Json statement_of_provider(const Json& provider, Absent absent) {
  Json fields = provider;
  state_as_gpt(fields);
  return Statement(fields, absent).make();
}

}  // namespace mappings
