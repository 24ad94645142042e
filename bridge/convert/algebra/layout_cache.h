// The layouts of a model's tensors; tensors of one form (op, shapes, numbers) share one layout.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "bridge/convert/algebra/op_layout.h"
#include "mappings/binding/binding.h"

namespace bridge {

// Reports kUnsupported for --glu-interleave N > 0 on a table without routed experts.
void refuse_interleaving(const mappings::Binding& binding, int64_t glu_interleave);

// Layouts by form: the layers of a model share a handful.
class LayoutCache {
 public:
  // glu_interleave: the gate and up rows of routed experts alternate in blocks of this many rows;
  // 0: they do not alternate.
  explicit LayoutCache(int64_t glu_interleave) : glu_interleave_(glu_interleave) {}
  // Only vocabulary tensors use vocab_rows.
  std::shared_ptr<const OpLayout> get(const mappings::LogicalTensor& tensor, int64_t vocab_rows);

 private:
  int64_t groups_of(const mappings::LogicalTensor& tensor) const;

  int64_t glu_interleave_;
  std::unordered_map<std::string, std::shared_ptr<const OpLayout>> layouts_;
};

}  // namespace bridge
