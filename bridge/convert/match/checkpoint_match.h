// Matches every tensor of a Megatron checkpoint with a bound table exactly once.
//
// Every logical tensor must be there under one of its spellings, with the right shape and dtype,
// and nothing may be left over.
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
  const mappings::LogicalTensor& logical;  // a vocabulary tensor has hf_vocab_rows rows
  FoundTensor found;
  std::shared_ptr<const OpLayout> layout;
};

struct CheckpointMatchOptions {
  size_t dialect = 0;
  bool local_spec = false;
  int64_t hf_vocab_rows = 0;  // 0: as many as the configuration says
  LayerKeys layer_keys = LayerKeys::kAuto;
  std::optional<std::string> name_prefix;
  std::vector<std::string> absent;  // do not look for tensors of these parts
  bool keep_mtp = true;             // must equal the binding's option
  bool text_only = false;           // leave out the other parts of a multimodal model
  bool no_parts = false;       // the configuration knows no parts: leave out the keys of any part
  int64_t glu_interleave = 0;  // block size of routed experts' rows; 0: not interleaved
};

// Refuses the hyper-connections of Megatron-LM main (kUnsupported). Main and dev give their modules
// the same names, but only dev computes what DeepSeek-V4 does. Main has no learned head and names
// its configuration otherwise.
// Truth: megatron/core/transformer/hyper_connection.py of both.
void refuse_other_hyper_connections(const MegatronFolder& folder);

// Returns moe_mlp_glu_interleave_size of the arguments in the common state; 0: there is none.
int64_t recorded_glu_interleave(const MegatronFolder& folder);

struct CheckpointMatch {
  int64_t mtp_left_out = 0;       // tensors left out by --mtp drop
  int64_t parts_left_out = 0;     // tensors left out by --parts text or no_parts
  int64_t vocab_rows = 0;         // rows in the checkpoint; 0: it has no vocabulary tensor
  int64_t config_vocab_rows = 0;  // rows that config.json counts
  // Tensors that --name-prefix passes over in favour of those of the same name.
  int64_t other_prefix = 0;
};

// Calls fn for every logical tensor that fits, and reports the others to accounting. Errors:
// kUnsupported for foreign keys (foreign_keys.h), hyper-connections of Megatron-LM main and a
// checkpoint_version whose QKV order is not today's; kBadInput as check_mtp() and detect_prefix()
// say. The folder is one of open_with_gpt_keys() (hybrid_keys.h).
CheckpointMatch match_checkpoint(const MegatronFolder& folder, const mappings::Binding& binding,
                                 const CheckpointMatchOptions& options, Accounting& accounting,
                                 const std::function<void(const CheckpointTensor&)>& fn);

// Returns the parts that config.json promises but the checkpoint has no tensor of, in the order of
// the table's rows.
std::vector<std::string> absent_parts(const MegatronFolder& folder,
                                      const mappings::Binding& binding,
                                      const CheckpointMatchOptions& options);

}  // namespace bridge
