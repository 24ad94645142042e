// NeMo writes checkpoints whose keys differ from megatron-core's only by a prefix: "model." (NeMo
// 1, in model_weights/) or "module." (NeMo 2, in weights/), the name of the attribute that holds
// the model. Truth: Megatron-LM's checkpointing.py (NEMO_WEIGHT_DIR_NAMES).
#pragma once

#include <string>

#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

// Removes the prefix that the keys of all tensors share and returns it; empty if they have none.
std::string strip_key_prefix(DcpMetadata& metadata);

}  // namespace bridge
