// Reads sizes from a checkpoint's tensors for fields that its statement does not mention.
// Megatron-LM's arguments rarely hold vocab_size, because the tokenizer gives it.
//
//   1. A field has the value of a dim if hf_config uses the field and megatron_config gives it as
//      that dim alone: "hidden_size": "hidden".
//   2. A row whose Megatron tensor has the shape of its one HF tensor gives the dims of that shape:
//      "[vocab, hidden]". Layers and experts are axes before it.
#pragma once

#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/table/table.h"

namespace bridge {

// Returns the fields that `known` lacks and a tensor gives. The conditions of rows do not matter: a
// tensor that is there fulfils them.
mappings::Json sizes_of_tensors(const MegatronFolder& checkpoint, const mappings::Table& table,
                                const mappings::Json& known);

}  // namespace bridge
