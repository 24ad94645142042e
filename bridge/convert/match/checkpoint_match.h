// Matches the tensors of a Megatron checkpoint with a bound table, exactly once each: every logical tensor
// is found under one of its spellings with the right shape and dtype, and nothing is left over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/match/accounting.h"
#include "bridge/convert/match/key_naming.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/options.h"

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
  std::vector<std::string> absent;  // parts whose tensors are not looked for
  bool keep_mtp = true;             // as the binding was made
  bool text_only = false;           // leave parts of a multimodal model out
  int64_t glu_interleave = 0;       // of routed experts; 0: none
};

// moe_mlp_glu_interleave_size of the arguments in the common state; 0: there is none.
int64_t recorded_glu_interleave(const MegatronFolder& folder);

struct CheckpointMatch {
  int64_t mtp_left_out = 0;       // tensors, by --mtp drop
  int64_t parts_left_out = 0;     // tensors, by --parts text
  int64_t vocab_rows = 0;         // that the checkpoint holds; 0: it has no vocabulary tensor
  int64_t config_vocab_rows = 0;  // that config.json counts
  int64_t other_prefix = 0;  // tensors that --name-prefix passes over for those of the same name
};

// Calls fn for every logical tensor that fits. Problems go to accounting. kUnsupported: HybridModel keys, and a
// checkpoint_version whose QKV order is not today's. kBadInput as check_mtp() and detect_prefix() say.
CheckpointMatch match_checkpoint(const MegatronFolder& folder, const mappings::Binding& binding,
                                 const CheckpointMatchOptions& options, Accounting& accounting,
                                 const std::function<void(const CheckpointTensor&)>& fn);

// Parts that config.json promises and the checkpoint has no tensor of, in order of the table's rows.
std::vector<std::string> absent_parts(const MegatronFolder& folder,
                                      const mappings::Binding& binding,
                                      const CheckpointMatchOptions& options);

}  // namespace bridge
