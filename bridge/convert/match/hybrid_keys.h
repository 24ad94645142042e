// The keys of megatron-core's HybridModel, in which each attention and each MLP is a layer of its
// own, and those of the GPTModel that computes the same. No keys are stacked there.
//
//   GPTModel     decoder.layers.3.self_attention.x  decoder.layers.3.mlp.x  decoder.final_layernorm
//   HybridModel  decoder.layers.6.self_attention.x  decoder.layers.7.mlp.x  decoder.final_norm
//
// A checkpoint is read under GPTModel's keys: tables, and messages, know no others, but for models
// with Mamba-2 ("mixer"), which no GPTModel is: their tables have the keys of a HybridModel.
// Truth: megatron/core/models/hybrid/hybrid_block.py,
// megatron/core/dist_checkpointing/gpt_checkpoint_interop.py (0.19.2).
#pragma once

#include <string>
#include <string_view>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/table/table.h"

namespace bridge {

// The object that HybridModel asks for beside those of its layers.
constexpr std::string_view kHybridOutputState = "output_layer._extra_state/shard_0_1";

// Returns the key that a HybridModel has for one of GPTModel's, which has the number of its layer.
// Errors: kUnsupported for norms of the results of attention and MLP, which no HybridModel has.
std::string hybrid_key(const std::string& gpt);

// Opens a checkpoint as open_megatron() does; the tensors of a HybridModel's without Mamba-2 have
// GPTModel's keys.
// Errors besides: kUnsupported, by name, for blocks that a GPTModel of these keys does not have.
MegatronFolder open_with_gpt_keys(FileSystem& fs, const Path& path, std::string_view iteration,
                                  MemoryBudget& budget);

// Errors: kUnsupported for a checkpoint with Mamba-2 where the table has none.
void refuse_mamba_unless_in(const mappings::Table& table, const MegatronFolder& folder);

}  // namespace bridge
