// Parses what a table says of quantized weights. Internal to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// An entry of "quantization".
Quantization quantization_of(const Json& json, const Place& place);
// The object "quantization_groups".
QuantizationGroups quantization_groups_of(const Json& json);

}  // namespace mappings
