// The list "ignore" of a quantization_config of compressed-tensors, which names the modules that
// are not quantized though config_groups has them as targets
// (mappings/binding/quantization_targets.h).
//
// An export writes what its origin has as it was, and so under a list that is right already. It may
// write plain matrices besides that the list has not met: layers that training added, and all of a
// text model whose names differ from those of the model of images and text.
#pragma once

#include <string>

#include "bridge/convert/plan/export_plan.h"

namespace bridge {

// Returns config.json with the modules of ExportPlan::new_matrices in that list where they would
// count as quantized; the same text if there are none, or no such quantization_config. Errors:
// kBadInput for a quantized tensor of a text form that the list or no target would leave alone.
std::string ignoring_plain_matrices(std::string config_text, const ExportPlan& plan);

}  // namespace bridge
