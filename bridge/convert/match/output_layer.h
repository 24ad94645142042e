// Models without an output layer: what a bare class (Qwen3Model) saves, and embedding models. They are converted as tied
// models are, so that nothing in Megatron stays random: its output layer is then the embedding.
//
//   1. a tied model has none of its own: nothing to decide
//   2. a bare class (architectures ends in "Model") whose folder has none, lacks it by definition
//   3. so does a folder whose names are a bare model's (none begins with "model.") and mention no lm_head
//   4. any other that lacks it looks like a truncated upload: the caller refuses it, and --head none accepts it
// What was decided is in the sidecar; an export and a verification follow it.
#pragma once

#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/binding/binding.h"

namespace bridge {

// Cases 2 and 3. The binding is of an untied model.
bool lacks_output_layer(const HfFolder& folder, const mappings::Binding& binding);
// The same for the model that an export goes back to.
bool lacks_output_layer(const Origin& origin, const MegatronFolder& checkpoint,
                        const mappings::Binding& binding);

// What --head none asks for: true, or a usage error where the folder has an output layer.
bool is_asked_for_without(const HfFolder& folder, const mappings::Binding& binding);

// What to do when the output layer is missing in case 4; empty: it is not missing.
std::string hint_for_missing_output_layer(const HfFolder& folder, const mappings::Binding& binding,
                                          size_t dialect);

}  // namespace bridge
