// Where an export takes a part of a multimodal model from that the checkpoint was made without (--parts text, or a trainer
// of text models): whole from the sidecar, which kept its bytes, else whole from --reference.
//
// A conversion that did write the part leaves no doubt that it was lost since: then nothing fills it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/match/source_match.h"

namespace bridge {

// One HF tensor of the part as a folder stores it.
struct PartTensor {
  std::string name;
  const mappings::Row* row;
  Shape shape;  // of the weights; what is stored may be packed
  TransferInput stored;
};

struct PartOrigin {
  bool of_reference = false;  // else of the sidecar: `stored` are tensors of that folder
  std::vector<PartTensor> tensors;
};

// Errors: kBadInput where neither has it, or has it in other shapes.
PartOrigin find_part_origin(const mappings::Binding& binding, const Origin& origin, size_t dialect,
                            const std::string& part);

}  // namespace bridge
