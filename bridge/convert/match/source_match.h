// Matches every tensor of a Hugging Face folder with a bound table exactly once.
//
// Every part of every logical tensor must be there with the right shape and dtype, and with its
// scales if it is quantized. A named rule must drop every other tensor.
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

// A logical tensor and its parts in the folder.
struct MatchedTensor {
  const mappings::LogicalTensor& logical;
  std::vector<TransferInput> parts;  // they and their scales are indices of HfFolder::tensors
  Dtype dtype;                       // of every part's values; BF16 if they are quantized
};

struct DroppedSource {
  int32_t tensor;
  int32_t equals;  // the tensor that must hold the same bytes; -1: the bytes go to the sidecar
  std::string reason;
  bool of_mtp = false;  // belongs to a multi-token prediction layer
};

// A part of a multimodal model that --parts text leaves out. SourceMatch::dropped has its tensors.
struct PartLeftOut {
  std::string part;
  int64_t tensors = 0;  // scales included
  int64_t missing = 0;  // tensors that the configuration promises and the folder lacks
};

struct SourceMatchOptions {
  bool local_spec = false;
  bool keep_mtp = true;    // must equal the binding's option
  bool text_only = false;  // must equal the binding's option
  // Parts of one Megatron tensor may have different dtypes, because --dtype makes them alike.
  bool unlike_dtypes = false;
};

struct SourceMatch {
  size_t dialect = 0;
  std::vector<DroppedSource> dropped;
  std::vector<int32_t> scales;            // of quantized tensors; their bytes go to the sidecar
  std::vector<int32_t> beside;            // the rest of what lies beside these; likewise
  std::vector<int32_t> mtp;               // left out by --mtp drop
  std::vector<std::string> mtp_prefixes;  // of these: "model.layers.61."
  std::vector<PartLeftOut> parts;         // in the order of the table's rows
};

// Calls fn for every logical tensor whose parts fit, and reports the others to accounting. Errors:
// kBadInput as check_mtp() says; kUnsupported for a quantization that no table has.
SourceMatch match_source(const HfFolder& folder, const mappings::Binding& binding,
                         const SourceMatchOptions& options, Accounting& accounting,
                         const std::function<void(const MatchedTensor&)>& fn);

// Does the same for the rows of one part only, whatever else the folder holds.
void match_part(const HfFolder& folder, const mappings::Binding& binding, size_t dialect,
                std::string_view part, Accounting& accounting,
                const std::function<void(const MatchedTensor&)>& fn);

// Returns how a HF tensor of this name and dtype is quantized; nullptr: the table does not say.
const mappings::BlockScheme* find_scheme(const mappings::Binding& binding, const HfTensor& tensor);

// Returns the tensor of a folder that holds a weight: under the weight's name, or under the one
// that its elements have if it is quantized; nullptr: there is none.
const HfTensor* find_stored(const HfFolder& folder, const mappings::Binding& binding,
                            const std::string& weight_name);

// Returns the dialect of a folder's names and, where several have the same names, of its shapes.
size_t dialect_of(const HfFolder& folder, const mappings::Binding& binding);

// Calls fn(tensor) for the scales of a quantized weight, and for what else lies beside it.
void for_each_beside(const HfFolder& folder, const mappings::BlockScheme& scheme,
                     const std::string& weight_name,
                     const std::function<void(const HfTensor&)>& fn);

// True if tensors of a row may be quantized with scales beside them. Rows that must keep a dtype
// may not, nor rows whose op does not take scales.
bool may_be_quantized(const mappings::Row& row);

}  // namespace bridge
