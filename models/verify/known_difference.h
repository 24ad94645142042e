// Differences of configuration that a conversion cannot avoid and that convert-hf warns about. They
// are listed and do not make a verification fail by themselves; the tolerance of the forward pass
// decides.
//
//   latent_eps    transformers' DeepseekV3RMSNorm of latent attention has its own epsilon (1e-6),
//                 whatever rms_norm_eps says; Megatron-Core has one epsilon for all norms
//   chunk, sharpening, sharpened_from
//                 Llama-4 cuts long sequences into chunks and sharpens queries far in them;
//                 Megatron-Core does neither
//   least_step    transformers lets no time step of Mamba-2 be below time_step_min; Megatron-Core
//                 has no such limit. Both passes go without, so that they show what else differs
#pragma once

#include <vector>

#include "models/compare/tensor_comparison.h"
#include "models/model/model_config.h"

namespace models {

// Moves these differences out of `found` and returns them. hf and megatron: the configurations of
// the two sides.
std::vector<FieldDifference> take_known_differences(const ModelConfig& hf,
                                                    const ModelConfig& megatron,
                                                    std::vector<FieldDifference>& found);

// True for that of the last line.
bool is_least_step(const FieldDifference& difference);

}  // namespace models
