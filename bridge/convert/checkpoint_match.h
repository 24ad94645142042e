// Matches the tensors of a Megatron checkpoint with a bound table, exactly once each: every logical tensor
// is found under one of its spellings with the right shape and dtype, and nothing is left over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bridge/convert/accounting.h"
#include "bridge/convert/key_naming.h"
#include "bridge/convert/options.h"
#include "bridge/convert/source_match.h"

namespace bridge {

struct CheckpointTensor {
  const mappings::LogicalTensor& logical;  // shapes of a vocabulary tensor follow hf_vocab_rows
  FoundTensor found;
  std::shared_ptr<const OpLayout> layout;
};

struct CheckpointMatchOptions {
  size_t dialect = 0;
  bool local_spec = false;
  int64_t hf_vocab_rows = 0;  // 0: as the configuration says
  LayerKeys layer_keys = LayerKeys::kAuto;
  std::optional<std::string> name_prefix;
  bool keep_mtp = true;        // as the binding was made
  int64_t glu_interleave = 0;  // of routed experts; 0: none
};

// moe_mlp_glu_interleave_size of the arguments in the common state; 0: there is none.
int64_t recorded_glu_interleave(const MegatronFolder& folder);

// Calls fn for every logical tensor that fits. Problems go to accounting. kUnsupported: HybridModel keys, and a
// checkpoint_version whose QKV order is not today's. kBadInput as check_mtp() says. Returns the number of tensors that
// --mtp drop leaves out.
int64_t match_checkpoint(const MegatronFolder& folder, const mappings::Binding& binding,
                         const CheckpointMatchOptions& options, Accounting& accounting,
                         const std::function<void(const CheckpointTensor&)>& fn);

}  // namespace bridge
