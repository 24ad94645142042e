// What the iteration that is read says of its own model: the arguments in its common state and its run_config.yaml, as
// comparable fields (mappings/megatron/statement.h).
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
  std::string of;  // "the arguments in the common state"; "": nothing

  bool empty() const { return fields.empty(); }
  std::optional<int64_t> integer(std::string_view name) const;
};

// Errors: kBadInput for a run_config.yaml that is none, and where arguments and run_config.yaml contradict each other in
// what decides bytes, naming both.
Statement read_statement(FileSystem& fs, const MegatronFolder& checkpoint, MemoryBudget& budget);

}  // namespace bridge
