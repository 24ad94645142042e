// Derives a config.json from the checkpoint alone, for exports with neither sidecar nor reference.
//
//   1. fields  the iteration's own statement. The tensors give sizes that it lacks (stated_sizes.h)
//   2. text    the table's hf_config evaluates them (mappings/binding/hf_config_values.h). The
//              result describes the text model of a multimodal model, and is never quantized
//   3. table   --mapping or --arch names it. Otherwise this tries the built-in ones. One fits if
//              its config.json can be made, means what the checkpoint says in every field, and
//              accounts for every tensor. Exactly one must fit, because many architectures differ
//              in nothing that Megatron knows
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bridge/convert/match/statement.h"
#include "bridge/convert/match/table_choice.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"

namespace bridge {

struct DerivedConfig {
  std::string text;
  TableChoice table;
  std::string architecture;               // "LlamaForCausalLM"
  std::vector<std::string> from_tensors;  // fields that the tensors gave: "vocab_size 157"
};

// Throws if the derived config.json is not that of this checkpoint.
using CheckDerived = std::function<void(const DerivedConfig&)>;

// True if the statement has the number of heads, which no tensor tells.
bool can_derive_config(const Statement& statement);

// Errors: kUsage that lists the architectures that fit unless exactly one does; kBadInput that
// names a missing field and --reference; kUnsupported for hyper-connections of Megatron-LM main.
DerivedConfig derive_config(const Statement& statement, const MegatronFolder& checkpoint,
                            const TableChoice& asked, const CheckDerived& check);

// Returns the dialect of the exported names: the table's first, or that of its text form.
size_t derived_dialect(const mappings::Binding& binding);

}  // namespace bridge
