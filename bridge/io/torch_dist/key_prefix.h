// What NeMo puts before every key of a checkpoint that is otherwise megatron-core's: "model." (NeMo 1, in model_weights/)
// or "module." (NeMo 2, in weights/), after the attribute that holds the model there.
// Truth: Megatron-LM's checkpointing.py (NEMO_WEIGHT_DIR_NAMES).
#pragma once

#include <string>

#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

// Takes the prefix that all tensors' keys have off them and returns it; empty: they have none.
std::string strip_key_prefix(DcpMetadata& metadata);

}  // namespace bridge
