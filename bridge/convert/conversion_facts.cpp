#include "bridge/convert/conversion_facts.h"

#include <utility>

#include "bridge/convert/match/hybrid_keys.h"
#include "bridge/convert/match/key_naming.h"
#include "bridge/convert/match/origin.h"
#include "bridge/convert/match/table_choice.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/sidecar/sidecar.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {

ConversionFacts facts_of_conversion(FileSystem& fs, const VerifyOptions& options) {
  ConversionFacts facts;
  facts.table_was_named = !choose_table(fs, options, nullptr).by_config();
  for (const auto& [source, path] : {std::pair(options.b, options.a), {options.a, options.b}}) {
    if (!fs.stat(path) || !looks_like_megatron(fs, path)) continue;
    MemoryBudget budget(options.memory);
    const MegatronFolder checkpoint = open_with_gpt_keys(fs, path, options.iteration, budget);
    const Path& sidecar = options.sidecar;
    if (!fs.stat(sidecar.empty() ? checkpoint.root / kSidecarFolder : sidecar)) {
      facts.without_parts = facts.without_parts || detect_prefix(checkpoint).empty();
      continue;
    }
    const Origin origin = find_origin(fs, checkpoint, {.sidecar = sidecar}, budget);
    facts.table_was_named =
        facts.table_was_named || !choose_table(fs, options, &*origin.sidecar).by_config();
    facts.without_mtp = facts.without_mtp || origin.mtp_was_dropped();
    facts.without_parts = facts.without_parts || origin.parts_were_left_out();
    if (!fs.stat(source) || looks_like_megatron(fs, source) || !looks_like_hf_folder(fs, source)) {
      continue;
    }
    const HfFolder folder = open_hf_folder(fs, source, budget);
    if (origin.sidecar->identity == source_identity(fs, folder, budget))
      facts.dtype = origin.dtype();
  }
  return facts;
}

}  // namespace bridge
