// Whether the tensors of a folder are quantized as its configuration says (quantization_targets.h).
//
// Who loads such a model makes its modules as the configuration says and fills them with what the
// files hold: a plain weight of a module that should be quantized keeps random scales, and codes of
// one that should not be are taken for values. So a file that differs is damaged, or has another
// file's config.json.
//
// What the rule says is certain of the linear layers of a text model under the names of its files.
// Elsewhere the bytes count: routers are linear modules in one library and not in another, no
// library makes multi-token prediction's modules of config.json, and the modules of a model of
// images and text have other names than its tensors.
#pragma once

#include <string>

#include "bridge/io/hf/hf_folder.h"
#include "mappings/binding/binding.h"

namespace bridge {

// Returns what the configuration says otherwise of how a weight is stored: "BF16, but
// quantization_config quantizes it: config_groups.group_0 has the target 'Linear'". Empty: nothing.
std::string contradiction(const mappings::Binding& binding, const mappings::Row& row,
                          const mappings::HfTensorSpec& weight, const HfTensor& stored);

}  // namespace bridge
