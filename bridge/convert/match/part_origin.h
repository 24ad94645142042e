// Finds the origin of a part of a multimodal model that the checkpoint lacks because it was made
// without it (--parts text, or a trainer of text models). An export takes the part whole from the
// sidecar, which kept its bytes, else whole from --reference.
//
// If the conversion wrote the part, it was lost since: that is an error, and nothing fills it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/match/source_match.h"

namespace bridge {

// One HF tensor of the part, as a folder stores it.
struct PartTensor {
  std::string name;
  const mappings::Row* row;
  Shape shape;  // of the weights; the stored elements may be packed
  TransferInput stored;
};

struct PartOrigin {
  bool of_reference = false;  // `stored` are tensors of the reference; false: of the sidecar
  std::vector<PartTensor> tensors;
};

// Errors: kBadInput where neither folder has the part, or one has it in other shapes, or the
// conversion wrote it.
PartOrigin find_part_origin(const mappings::Binding& binding, const Origin& origin, size_t dialect,
                            const std::string& part);

}  // namespace bridge
