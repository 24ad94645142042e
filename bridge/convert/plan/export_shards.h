// Distributes the outputs of an export over shard files. Follows the origin's map if there is one
// and the user did not ask for another size. Otherwise fills shards of at most max_shard_size in
// the order of the reference serializer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bridge/convert/plan/export_plan.h"

namespace bridge {

constexpr int64_t kDefaultShardSize = 5'000'000'000;

// Fills shards and Output::shard and begin, sorts transfers, sets index_verbatim and needs_index.
void plan_shards(ExportPlan& plan, const HfFolder* layout, const Origin& origin,
                 int64_t max_shard_size, FileSystem& fs, MemoryBudget& budget);

// Returns how many more elements the plan's outputs have than the origin's tensors.
int64_t added_parameters(const ExportPlan& plan, const HfFolder& layout);

// Returns model.safetensors.index.json for the plan's shards, as transformers writes it, with
// total_parameters if it is known.
std::string make_index(const ExportPlan& plan, std::optional<int64_t> total_parameters = {});

}  // namespace bridge
