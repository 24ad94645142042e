// Recognises models without an output layer: those that a bare class (Qwen3Model) saves, and
// embedding models. They are converted as tied models are, so that Megatron's output layer is the
// embedding and nothing stays random.
//
//   1. A tied model has no output layer of its own; there is nothing to decide.
//   2. A bare class (architectures ends in "Model") whose folder has no output layer lacks one by
//      definition.
//   3. So does a folder whose names are a bare model's (none begins with "model.") and mention no
//      lm_head.
//   4. Any other folder without one looks like a truncated upload. The caller refuses it, unless
//      --head none accepts it.
//
// The sidecar records the decision; an export and a verification follow it.
#pragma once

#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/binding/binding.h"

namespace bridge {

// True in cases 2 and 3. The binding must be of an untied model.
bool lacks_output_layer(const HfFolder& folder, const mappings::Binding& binding);
// The same for the model that an export goes back to.
bool lacks_output_layer(const Origin& origin, const MegatronFolder& checkpoint,
                        const mappings::Binding& binding);

// Answers --head none: true, or kUsage if the folder has an output layer.
bool is_asked_for_without(const HfFolder& folder, const mappings::Binding& binding);

// Returns what to do if the output layer is missing as in case 4; empty: it is not missing.
std::string hint_for_missing_output_layer(const HfFolder& folder, const mappings::Binding& binding,
                                          size_t dialect);

}  // namespace bridge
