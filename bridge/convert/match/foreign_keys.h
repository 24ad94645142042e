// Refuses keys of torch_dist checkpoints that no table can have, because their tensors must become
// something else first. Each error names the key and the remedy.
#pragma once

#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {

// Refuses LoRA adapters that are not merged, and the norm that megatron-core 0.19 and later train
// in linear_q_proj. Errors: kUnsupported.
void refuse_foreign_keys(const MegatronFolder& folder);

}  // namespace bridge
