// A row of a table in one layer: a logical tensor with known shapes, renamed for one expert after
// another. The values that the experts of a layer share are evaluated once, because a large model
// has tens of thousands of expert tensors. Internal to mappings.
#pragma once

#include <cstdint>
#include <vector>

#include "mappings/binding/logical_tensor.h"
#include "mappings/binding/namer.h"
#include "mappings/table/table.h"

namespace mappings {

class RowInLayer {
 public:
  // namer must have entered the layer, and scope must outlive this object. Errors: kBadInput for
  // shapes that do not fit the op.
  RowInLayer(const Row& row, const Namer& namer, const Scope& scope, bool local_spec);

  LogicalTensor& tensor() { return tensor_; }
  void name_expert(int64_t expert);

 private:
  int64_t number_of(const Name& name, int64_t expert) const;

  const Scope& scope_;
  LogicalTensor tensor_;
  std::vector<Name> megatron_;
  std::vector<Name> hf_;
};

}  // namespace mappings
