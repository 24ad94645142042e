// Fuzzes mapping tables (--mapping FILE is input). A table that loads is applied to small
// configurations, which have the keys that every built-in table needs, and its self-contained text
// must load too.
#include <nlohmann/json.hpp>

#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "mappings/table/table_text.h"
#include "tests/fuzz/fuzz.h"

namespace {

// Plain, quantized, and quantized with an MTP depth.
const std::vector<mappings::Json>& configs() {
  static const auto kConfigs = [] {
    std::vector<mappings::Json> all(3, mappings::Json::parse(R"({
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
      "intermediate_size": 96, "vocab_size": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
      "tie_word_embeddings": false, "num_experts": 4, "num_local_experts": 4,
      "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_routed_experts": 4,
      "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1,
      "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
      "v_head_dim": 12})"));
    all[1]["quantization_config"] = all[2]["quantization_config"] = mappings::Json::parse(
        R"({"quant_method": "fp8", "weight_block_size": [128, 128], "scale_fmt": "ue8m0"})");
    all[2]["num_nextn_predict_layers"] = 1;
    return all;
  }();
  return kConfigs;
}

// Names are made one at a time, so a table may declare any number of layers; a thousand names are
// enough.
struct Enough {};

void apply_table(const mappings::Table& table, const mappings::Json& json, bool drop_mtp) {
  const mappings::Binding binding(table, json, {.drop_mtp = drop_mtp});
  int64_t left = 1000;
  const auto count = [&] {
    if (--left == 0) throw Enough{};
  };
  const auto unknown = [](std::string_view) { return false; };
  try {
    for (size_t dialect = 0; dialect < binding.dialect_count(); ++dialect) {
      for (int64_t depth = 0; depth < 2; ++depth) {
        binding.mtp_hf_prefixes(dialect, depth);
        binding.mtp_megatron_prefixes(depth);
        binding.is_mtp_layer(dialect, depth, unknown);
      }
      binding.for_each_drop(dialect, [&](const mappings::DroppedTensor&) { count(); });
      binding.for_each_tensor(dialect, dialect == 1, [&](const mappings::LogicalTensor& tensor) {
        count();
        for (const mappings::BlockScheme& scheme : binding.block_schemes()) {
          scheme.scale_name(tensor.hf[0].name);
          if (scheme.fits(tensor.hf[0].shape)) scheme.scale_shape(tensor.hf[0].shape);
        }
      });
    }
    binding.for_each_extra_state(/*local_spec=*/false,
                                 [&](const mappings::ExtraStateModule&) { count(); });
  } catch (const Enough&) {
  }
  binding.warnings();
  binding.megatron_config("bf16");
}

// Sidecars keep tables in this form, so it must load again.
void check_self_contained_text(std::string_view input) {
  const std::string text = mappings::self_contained_text(input, "table.jsonc");
  fuzz::require(fuzz::accepts([&] { mappings::parse_table(text, "full.jsonc", {}); }));
}

}  // namespace

void fuzz_one(std::string_view input) {
  fuzz::accepts([&] {
    const mappings::Table table = mappings::parse_table(input, "table.jsonc");
    check_self_contained_text(input);
    for (const mappings::Json& config : configs()) {
      fuzz::accepts([&] { apply_table(table, config, false); });
    }
    apply_table(table, configs()[2], true);
  });
}
