// Distributes the outputs of an export over shard files: the origin's map where there is one and the user did not ask
// for another size, else shards of at most max_shard_size filled in the reference serializer's order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bridge/convert/plan/export_plan.h"

namespace bridge {

constexpr int64_t kDefaultShardSize = 5'000'000'000;

// Fills shards, Output::shard/begin, sorts transfers, sets index_verbatim and needs_index.
void plan_shards(ExportPlan& plan, const HfFolder* layout, const Origin& origin,
                 int64_t max_shard_size, FileSystem& fs, MemoryBudget& budget);

// Elements that the plan's outputs have more than the origin's tensors.
int64_t added_parameters(const ExportPlan& plan, const HfFolder& layout);

// model.safetensors.index.json for the plan's shards, as transformers writes it; total_parameters where it is known.
std::string make_index(const ExportPlan& plan, std::optional<int64_t> total_parameters = {});

}  // namespace bridge
