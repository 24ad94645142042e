// Layouts of the tensors of a model, each form made once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "bridge/convert/algebra/op_layout.h"
#include "mappings/binding/binding.h"

namespace bridge {

// kUnsupported for --glu-interleave N > 0 on a table without routed experts.
void refuse_interleaving(const mappings::Binding& binding, int64_t glu_interleave);

// Layouts by their form: the layers of a model share a handful.
class LayoutCache {
 public:
  // glu_interleave: gate and up rows of routed experts alternate in blocks of so many; 0: they do not.
  explicit LayoutCache(int64_t glu_interleave) : glu_interleave_(glu_interleave) {}
  // vocab_rows matters to vocabularies only.
  std::shared_ptr<const OpLayout> get(const mappings::LogicalTensor& tensor, int64_t vocab_rows);

 private:
  int64_t groups_of(const mappings::LogicalTensor& tensor) const;

  int64_t glu_interleave_;
  std::unordered_map<std::string, std::shared_ptr<const OpLayout>> layouts_;
};

}  // namespace bridge
