#include "bridge/convert/commit/plan_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "bridge/io/file/paths.h"
#include "bridge/io/file/sha256.h"

namespace bridge {
namespace {

std::string shown_name(const Path& path, const std::vector<InputRoot>& roots) {
  const auto plain = [](const Path& p) { return std::filesystem::absolute(p).lexically_normal(); };
  for (const InputRoot& root : roots) {
    if (!lies_in_by_name(path, root.path)) continue;
    return root.label + plain(path).lexically_relative(plain(root.path)).native();
  }
  return path.filename().native();
}

}  // namespace

void add_inputs(PlanFacts& facts, const std::map<std::string, Stat>& files,
                const std::vector<InputRoot>& roots) {
  const auto first = std::ssize(facts);
  for (const auto& [path, stat] : files) {
    facts.push_back({shown_name(path, roots), fmt::format("{} bytes of {} ns, inode {}", stat.size,
                                                          stat.modified, stat.inode)});
  }
  // The roots may be spelled in another way the next time.
  std::sort(facts.begin() + first, facts.end(), [](const PlanFact& a, const PlanFact& b) {
    return std::tie(a.name, a.value) < std::tie(b.name, b.value);
  });
}

void add_headers(PlanFacts& facts, const HfFolder& folder) {
  for (const HfShard& shard : folder.shards) {
    facts.push_back(
        {"header of " + shard.name,
         fmt::format("{} bytes, CRC-32 {:08x}", shard.payload_offset, shard.header_crc)});
  }
}

void add_options(PlanFacts& facts, const OutputOptions& options) {
  const auto add = [&](const char* name, std::string value) {
    facts.push_back({name, std::move(value)});
  };
  add("version", options.version);
  add("--dtype", options.dtype         ? std::string(dtype_option(*options.dtype))
                 : options.dtype_asked ? "source"
                                       : "source by default");
  add("--mtp", options.keep_mtp ? "keep" : "drop");
  add("--parts", options.text_only ? "text" : "all");
  add("--spec", options.spec == Spec::kTe ? "te" : "local");
  add("--layer-keys", options.layer_keys == LayerKeys::kAuto      ? "auto"
                      : options.layer_keys == LayerKeys::kStacked ? "stacked"
                                                                  : "per-layer");
  add("--name-prefix", options.name_prefix ? "'" + *options.name_prefix + "'" : "by architecture");
  add("--glu-interleave", std::to_string(options.glu_interleave));
  add("--arch", options.arch.empty() ? "by config.json" : options.arch);
}

void add_layout(PlanFacts& facts, const std::vector<Transfer>& transfers,
                const std::vector<std::pair<std::string, int64_t>>& files) {
  Sha256 hash;
  for (const Transfer& transfer : transfers) {
    hash.add(fmt::format("{} {} {} {} {}\n", transfer.target, transfer.part, transfer.begin,
                         transfer.end, static_cast<int>(transfer.to)));
  }
  for (const auto& [name, size] : files) hash.add(fmt::format("{} {}\n", name, size));
  facts.push_back({"the plan", hash.hex()});
}

}  // namespace bridge
