#include "bridge/convert/replaceable.h"

#include "bridge/io/error.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/torch_dist.h"

namespace bridge {

void refuse_to_replace_others(FileSystem& fs, const Path& target) {
  const std::optional<Stat> there = fs.stat(target);
  if (!there || there->kind != Kind::kDirectory || fs.list(target).empty()) return;
  const bool sidecar = fs.stat(target / "manifest.json") && fs.stat(target / "source_crc32.tsv");
  if (!sidecar && !looks_like_megatron(fs, target) && !looks_like_hf_folder(fs, target)) {
    usage_error(printable(target.string()) + ": --overwrite replaces checkpoints, and this is none",
                "choose another output folder, or remove this one yourself");
  }
}

}  // namespace bridge
