// Matches the tensors of a Hugging Face folder with a bound table, exactly once each: every part of every
// logical tensor is there with the right shape and dtype, a quantized one with its scales, and what is left over is
// dropped by a named rule.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/algebra/op_layout.h"
#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/match/accounting.h"
#include "bridge/io/hf/hf_folder.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"

namespace bridge {

// A logical tensor with its parts found.
struct MatchedTensor {
  const mappings::LogicalTensor& logical;
  std::vector<TransferInput> parts;  // by index of HfFolder::tensors, scales too
  Dtype dtype;                       // of every part's values: BF16 where they are quantized
};

struct DroppedSource {
  int32_t tensor;
  int32_t equals;  // must hold the same bytes; -1: the bytes go to the sidecar
  std::string reason;
  bool of_mtp = false;  // of a multi-token prediction layer
};

// A part of a multimodal model that --parts text leaves out: its tensors are among the dropped ones.
struct PartLeftOut {
  std::string part;
  int64_t tensors = 0;  // scales too
  int64_t missing = 0;  // that the configuration promises and the folder lacks
};

struct SourceMatchOptions {
  bool local_spec = false;
  bool keep_mtp = true;    // as the binding was made
  bool text_only = false;  // as the binding was made
};

struct SourceMatch {
  size_t dialect = 0;
  std::vector<DroppedSource> dropped;
  std::vector<int32_t> scales;            // of quantized tensors; their bytes go to the sidecar
  std::vector<int32_t> mtp;               // left out by --mtp drop
  std::vector<std::string> mtp_prefixes;  // of those: "model.layers.61."
  std::vector<PartLeftOut> parts;         // in order of the table's rows
};

// Calls fn for every logical tensor whose parts fit. Problems go to accounting. kBadInput where the configuration promises
// MTP depths that are not there, or the reverse; it names --mtp drop. kUnsupported: quantized as no table has it.
SourceMatch match_source(const HfFolder& folder, const mappings::Binding& binding,
                         const SourceMatchOptions& options, Accounting& accounting,
                         const std::function<void(const MatchedTensor&)>& fn);

// The same for the rows of one part only, whatever else the folder holds.
void match_part(const HfFolder& folder, const mappings::Binding& binding, size_t dialect,
                std::string_view part, Accounting& accounting,
                const std::function<void(const MatchedTensor&)>& fn);

// How HF tensors of this dtype are quantized; nullptr: the table does not say.
const mappings::BlockScheme* find_scheme(const mappings::Binding& binding, Dtype dtype);

// Whether tensors of a row may be quantized with scales beside them. What must stay as it is may not, nor what scales
// would not fit.
bool may_be_quantized(const mappings::Row& row);

}  // namespace bridge
