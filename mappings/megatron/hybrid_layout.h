// Translates between Megatron-Core's GPTModel and a HybridModel that computes the same. There, each
// attention ('*') and each MLP ('-', or 'E' for a mixture of experts) is a layer of its own:
//
//   GPTModel      num_layers 2, moe_layer_freq [0, 1]
//   HybridModel   num_layers 4, hybrid_layer_pattern "*-*E"
//
// A HybridModel with Mamba-2 ('M') is no GPTModel in other words: fields keep its pattern.
// Truth: megatron/core/models/hybrid/{hybrid_model,hybrid_layer_allocation}.py and
// dist_checkpointing/gpt_checkpoint_interop.py (0.19.2); Megatron-Bridge
// models/hybrid/hybrid_provider.py.
#pragma once

#include "mappings/expr/expr.h"

namespace mappings {

// Returns the fields of HybridModelProvider for the model that fields of GPTModelProvider, as
// Binding::megatron_config() returns them, describe. Errors: kUnsupported for what the layout does
// not cover, by name, and for fields of a HybridModel.
Json hybrid_provider(const Json& gpt);

// Where fields have a hybrid_layer_pattern, replaces what they say of its layers by what GPTModel's
// would say. With Mamba-2 in it, hybrid_layer_pattern becomes the pattern of the decoder alone,
// mtp_hybrid_override_pattern that of a depth of multi-token prediction, and num_layers,
// mtp_num_layers and moe_layer_freq (1: no dense MLP) what the patterns say. Errors: kUnsupported
// for a pattern that is neither of pairs of attention and MLP nor of M, *, - and E.
void state_as_gpt(Json& fields);

}  // namespace mappings
