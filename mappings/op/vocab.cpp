// vocab: M = W with rows added (zeros) or cut to the Megatron side's number of them, as Megatron pads vocabularies. That
// number is the plan's, so that nothing which needs to know the rows has a meaning here.
#include "mappings/op/ops.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  if (!operands.parts[0].empty()) return std::nullopt;
  return "a vocabulary tensor needs at least one axis";
}

bridge::Shape megatron_shape(const Operands& operands) {
  bridge::Shape shape = operands.parts[0];
  shape[0] = operands.numbers.vocab_rows;
  return shape;
}

}  // namespace

namespace ops {

constinit const Op kVocab = {.name = "vocab",
                             .takes_split = false,
                             .takes_chunks = false,
                             .takes_part = false,
                             .takes_quantized = false,
                             .is_vocabulary = true,
                             .misfit = misfit,
                             .megatron_shape = megatron_shape};

}  // namespace ops
}  // namespace mappings
