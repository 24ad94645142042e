// Matches the tensors of a Hugging Face folder with a bound table, exactly once each: every part of every
// logical tensor is there with the right shape and dtype, and what is left over is dropped by a named rule.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/convert/accounting.h"
#include "bridge/convert/ops.h"
#include "bridge/io/hf_folder.h"
#include "mappings/table.h"

namespace bridge {

// A logical tensor with its parts found.
struct MatchedTensor {
  const mappings::LogicalTensor& logical;
  std::vector<int32_t> parts;  // indices into HfFolder::tensors
  Dtype dtype;                 // of every part
};

struct DroppedSource {
  int32_t tensor;
  int32_t equals;  // must hold the same bytes; -1: the bytes go to the sidecar
  std::string reason;
};

struct SourceMatch {
  size_t dialect = 0;
  std::vector<DroppedSource> dropped;
};

// Calls fn for every logical tensor whose parts fit. Problems go to accounting; nothing is thrown for them.
SourceMatch match_source(const HfFolder& folder, const mappings::Binding& binding, bool local_spec,
                         Accounting& accounting,
                         const std::function<void(const MatchedTensor&)>& fn);

// kUnsupported for --glu-interleave N > 0 on a table without expert layers.
void refuse_interleaving(const mappings::Binding& binding, int64_t glu_interleave);

// Layouts by their form: the layers of a model share a handful.
class LayoutCache {
 public:
  // vocab_rows matters to kVocab only.
  std::shared_ptr<const OpLayout> get(const mappings::LogicalTensor& tensor, int64_t vocab_rows);

 private:
  std::unordered_map<std::string, std::shared_ptr<const OpLayout>> layouts_;
};

}  // namespace bridge
