// minus_one: M = W - 1 in every element, in the places of copy, for a norm's weight that Megatron stores around zero
// (layernorm_zero_centered_gamma); back, W = M + 1.
// Truth: transformers' Qwen3NextRMSNormGated (ordinary weight), megatron/core/transformer/torch_norm.py.
#include "mappings/op/ops.h"

namespace mappings {
namespace {

void take_one(std::span<float> values) {
  for (float& value : values) value -= 1.0F;
}

void add_one(std::span<float> values) {
  for (float& value : values) value += 1.0F;
}

}  // namespace

namespace ops {

constinit const Op kMinusOne = {
    .name = "minus_one", .takes_quantized = false, .values = {.apply = take_one, .undo = add_one}};

}  // namespace ops
}  // namespace mappings
