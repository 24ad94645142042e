// Reads what an iteration says of its own model. The arguments in its common state and its
// run_config.yaml become comparable fields (mappings/megatron/statement.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/expr/expr.h"

namespace bridge {

struct Statement {
  mappings::Json fields = mappings::Json::object();  // empty: it says nothing
  // Who says it: "the arguments in the common state", "run_config.yaml" or both; "": nobody.
  std::string of;

  bool empty() const { return fields.empty(); }
  std::optional<int64_t> integer(std::string_view name) const;
};

// Errors: kBadInput for an invalid run_config.yaml, and for arguments and a run_config.yaml that
// contradict each other in a field that decides bytes; the message names both.
Statement read_statement(FileSystem& fs, const MegatronFolder& checkpoint, MemoryBudget& budget);

}  // namespace bridge
