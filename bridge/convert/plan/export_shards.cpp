#include "bridge/convert/plan/export_shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "bridge/io/base/json_strict.h"
#include "bridge/io/hf/safetensors.h"

namespace bridge {
namespace {

// Returns the outputs by name, to look up the tensors of the origin's shards.
std::map<std::string_view, int32_t> outputs_by_name(const ExportPlan& plan) {
  std::map<std::string_view, int32_t> names;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    names.emplace(plan.outputs[i].name, static_cast<int32_t>(i));
  }
  return names;
}

int64_t size_of(const ExportPlan::Output& output) {
  return byte_size(output.dtype, output.shape);
}

// Gives the outputs of a shard their offsets, in the shard's order, under a header of our own.
void place(ExportPlan& plan, int32_t shard_index) {
  ExportPlan::Shard& shard = plan.shards[static_cast<size_t>(shard_index)];
  int64_t payload = 0;
  for (const int32_t index : shard.outputs) {
    ExportPlan::Output& output = plan.outputs[static_cast<size_t>(index)];
    output.shard = shard_index;
    output.begin = payload;
    payload = checked_add(payload, size_of(output));
  }
  shard.payload_offset = std::ssize(new_header(plan, shard));
  shard.size = checked_add(shard.payload_offset, payload);
}

// Places every output where the origin had it. Returns false if the origin lacks one of them.
bool follow_origin(ExportPlan& plan, const HfFolder& layout) {
  const auto names = outputs_by_name(plan);
  size_t placed = 0;
  std::vector<std::vector<const HfTensor*>> by_shard(layout.shards.size());
  for (const HfTensor& tensor : layout.tensors) {
    by_shard[static_cast<size_t>(tensor.shard)].push_back(&tensor);
    placed += names.contains(tensor.name) ? 1 : 0;
  }
  if (placed != plan.outputs.size()) return false;

  bool all_verbatim = true;
  for (size_t s = 0; s < layout.shards.size(); ++s) {
    std::sort(by_shard[s].begin(), by_shard[s].end(),
              [](const HfTensor* a, const HfTensor* b) { return a->begin < b->begin; });
    ExportPlan::Shard shard;
    shard.name = layout.shards[s].name;
    bool same = true;
    for (const HfTensor* tensor : by_shard[s]) {
      const auto it = names.find(tensor->name);
      if (it == names.end()) {
        same = false;
        continue;
      }
      shard.outputs.push_back(it->second);
      const ExportPlan::Output& output = plan.outputs[static_cast<size_t>(it->second)];
      same = same && output.dtype == tensor->dtype && output.shape == tensor->shape;
    }
    const auto index = static_cast<int32_t>(plan.shards.size());
    plan.shards.push_back(std::move(shard));
    if (!same) {
      all_verbatim = false;
      place(plan, index);
      continue;
    }
    ExportPlan::Shard& kept = plan.shards.back();
    kept.verbatim = static_cast<int32_t>(s);
    kept.payload_offset = layout.shards[s].payload_offset;
    kept.size = layout.shards[s].file_size;
    for (size_t i = 0; i < kept.outputs.size(); ++i) {
      ExportPlan::Output& output = plan.outputs[static_cast<size_t>(kept.outputs[i])];
      output.shard = index;
      output.begin = by_shard[s][i]->begin;
    }
  }
  plan.index_verbatim = all_verbatim && layout.has_index;
  plan.needs_index = layout.has_index;
  return true;
}

// Makes shards of our own: takes the outputs by name, starts a new shard if the next one would not
// fit, and orders each shard as the serializer does.
void own_shards(ExportPlan& plan, int64_t max_shard_size) {
  std::vector<std::vector<int32_t>> groups(1);
  int64_t filled = 0;
  for (const auto& [name, index] : outputs_by_name(plan)) {
    const int64_t size = size_of(plan.outputs[static_cast<size_t>(index)]);
    if (filled > 0 && filled + size > max_shard_size) {
      groups.emplace_back();
      filled = 0;
    }
    groups.back().push_back(index);
    filled += size;
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    std::vector<SafetensorsEntry> entries;
    for (const int32_t index : groups[i]) {
      const auto& output = plan.outputs[static_cast<size_t>(index)];
      entries.push_back({output.name, output.dtype, output.shape, 0, 0});
    }
    ExportPlan::Shard shard;
    shard.name = groups.size() == 1
                     ? "model.safetensors"
                     : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, groups.size());
    for (const size_t at : safetensors_order(entries)) shard.outputs.push_back(groups[i][at]);
    plan.shards.push_back(std::move(shard));
    place(plan, static_cast<int32_t>(i));
  }
  plan.needs_index = groups.size() > 1;
}

}  // namespace

std::string new_header(const ExportPlan& plan, const ExportPlan::Shard& shard) {
  std::vector<SafetensorsEntry> entries;
  for (const int32_t index : shard.outputs) {
    const ExportPlan::Output& output = plan.outputs[static_cast<size_t>(index)];
    entries.push_back(
        {output.name, output.dtype, output.shape, output.begin, output.begin + size_of(output)});
  }
  return make_safetensors_header(entries, {{"format", "pt"}});
}

void plan_shards(ExportPlan& plan, const HfFolder* layout, const Origin& origin,
                 int64_t max_shard_size, FileSystem& fs, MemoryBudget& budget) {
  if (layout == nullptr || max_shard_size > 0 || !follow_origin(plan, *layout)) {
    if (layout != nullptr && max_shard_size == 0) {
      plan.warnings.emplace_back(
          "the reference's shards do not hold the same tensors; the output has shards of its own");
    }
    own_shards(plan, max_shard_size > 0 ? max_shard_size : kDefaultShardSize);
  }
  for (const ExportPlan::Shard& shard : plan.shards) {
    if (shard.verbatim < 0) continue;
    const auto index = static_cast<size_t>(shard.verbatim);
    const auto size = std::ssize(origin.raw_header(fs, index, budget));
    if (size != shard.payload_offset) {
      bad_input(printable(shard.name) + ": the origin's header changed while it was being read");
    }
  }
  std::sort(plan.transfers.begin(), plan.transfers.end(), [&](const auto& a, const auto& b) {
    const auto& x = plan.outputs[static_cast<size_t>(a.target)];
    const auto& y = plan.outputs[static_cast<size_t>(b.target)];
    return std::pair(x.shard, x.begin) < std::pair(y.shard, y.begin);
  });
}

int64_t added_parameters(const ExportPlan& plan, const HfFolder& layout) {
  int64_t added = 0;
  for (const ExportPlan::Output& output : plan.outputs) added += element_count(output.shape);
  for (const HfTensor& tensor : layout.tensors) added -= element_count(tensor.shape);
  return added;
}

std::string make_index(const ExportPlan& plan, std::optional<int64_t> total_parameters) {
  const std::string parameters =
      total_parameters ? fmt::format("    \"total_parameters\": {},\n", *total_parameters) : "";
  std::string text =
      fmt::format("{{\n  \"metadata\": {{\n{}    \"total_size\": {}\n  }},\n  \"weight_map\": {{",
                  parameters, plan.output_bytes);
  const char* separator = "\n";
  for (const auto& [name, index] : outputs_by_name(plan)) {
    const auto shard = static_cast<size_t>(plan.outputs[static_cast<size_t>(index)].shard);
    text += fmt::format("{}    {}: {}", separator, json_quote(name),
                        json_quote(plan.shards[shard].name));
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

}  // namespace bridge
