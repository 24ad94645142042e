// Fuzzes configurations of the forward pass: config.json, which begins with a brace, and
// run_config.yaml. A model that is accepted can be described.
#include <nlohmann/json.hpp>

#include "bridge/io/base/json_strict.h"
#include "models/hf/config.h"
#include "models/megatron/config.h"
#include "tests/fuzz/fuzz.h"

void fuzz_one(std::string_view input) {
  if (input.empty()) return;
  const bool is_json = input[0] == '{';
  fuzz::accepts([&] {
    const models::ModelConfig config =
        is_json ? models::hf_model_config(models::Settings("config", bridge::parse_json(input)))
                : models::megatron_model_config(models::megatron_settings(input));
    fuzz::require(!models::describe(config).empty());
  });
}
