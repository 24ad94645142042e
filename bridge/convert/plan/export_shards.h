// Distributes the outputs of an export over shard files: the origin's map where there is one and the user did not ask
// for another size, else shards of at most max_shard_size filled in the reference serializer's order.
#pragma once

#include <cstdint>

#include "bridge/convert/plan/export_plan.h"

namespace bridge {

constexpr int64_t kDefaultShardSize = 5'000'000'000;

// Fills shards, Output::shard/begin, sorts transfers, sets index_verbatim and needs_index.
void plan_shards(ExportPlan& plan, const HfFolder* layout, const Origin& origin,
                 int64_t max_shard_size, FileSystem& fs, MemoryBudget& budget);

// model.safetensors.index.json for the plan's shards, as transformers writes it.
std::string make_index(const ExportPlan& plan);

}  // namespace bridge
