// Mapping tables (--mapping FILE is input): a table that loads is applied to a small configuration.
#include <nlohmann/json.hpp>

#include "mappings/table.h"
#include "tests/fuzz/fuzz.h"

namespace {

const mappings::Json& config() {
  static const auto kConfig = mappings::Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "vocab_size": 128, "num_experts": 4, "moe_intermediate_size": 32,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false})");
  return kConfig;
}

// Names are made one at a time, so a table may declare any number of layers; a thousand show
// enough.
struct Enough {};

}  // namespace

void fuzz_one(std::string_view input) {
  fuzz::accepts([&] {
    const mappings::Table table = mappings::parse_table(input, "table.jsonc");
    const mappings::Binding binding(table, config());
    int64_t left = 1000;
    const auto count = [&] {
      if (--left == 0) throw Enough{};
    };
    try {
      for (size_t dialect = 0; dialect < binding.dialect_count(); ++dialect) {
        binding.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor&) { count(); });
        binding.for_each_drop(dialect, [&](const mappings::DroppedTensor&) { count(); });
      }
    } catch (const Enough&) {
    }
    binding.megatron_config("bf16");
  });
}
