// Differences of configuration that a conversion cannot help and that convert-hf warns of: they are listed, and do not fail a
// verification by themselves. The forward pass is then judged by its tolerance.
//
//   latent_eps    transformers' DeepseekV3RMSNorm of latent attention has an epsilon of its own (1e-6), whatever
//                 rms_norm_eps says; Megatron-Core has one epsilon for all norms
#pragma once

#include <vector>

#include "models/compare/tensor_comparison.h"
#include "models/model/model_config.h"

namespace models {

// Takes those out of `found` and returns them. hf and megatron: the configurations of the two sides.
std::vector<FieldDifference> take_known_differences(const ModelConfig& hf,
                                                    const ModelConfig& megatron,
                                                    std::vector<FieldDifference>& found);

}  // namespace models
