// What an export goes back to: the sidecar of the conversion, a reference folder, or both.
//
//   configuration and side files   --reference, else the sidecar
//   shard map and dtypes           --reference when it holds weights, else the sidecar, else none (own shards)
//   witnesses                      the sidecar's
// The sidecar is --sidecar DIR, else ROOT/causeway when it is there.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bridge/convert/options.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/sidecar/sidecar.h"
#include "bridge/io/sidecar/witness_file.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {

constexpr std::string_view kIndexFile = "model.safetensors.index.json";

struct Origin {
  std::optional<Sidecar> sidecar;
  std::optional<HfFolder> reference;
  std::unique_ptr<WitnessIndex> witnesses;  // null: none

  // The shard map is the reference's.
  bool from_reference() const;
  // Where the shard map comes from; nullptr: nowhere.
  const HfFolder* layout() const;
  // Where side files come from; never nullptr.
  const HfFolder& side_files() const;
  std::string config_text(FileSystem& fs) const;
  Path index_path() const;  // of layout(), which has one
  Path side_file_path(size_t index) const;
  // The 8 + N header bytes of a shard of layout().
  std::string raw_header(FileSystem& fs, size_t shard, MemoryBudget& budget) const;
  // What the conversion recorded of --glu-interleave; 0: nothing.
  int64_t glu_interleave() const;
  // What the conversion recorded of --dtype: "source", "bf16", "fp16", "fp32"; "": none of these.
  std::string dtype() const;
  // The conversion left MTP out.
  bool mtp_was_dropped() const;
  // The conversion wrote the text model only.
  bool parts_were_left_out() const;
  // The source has no output layer, and the conversion made none.
  bool head_was_left_out() const;
  // The sidecar holds all bytes of this HF tensor.
  bool sidecar_keeps(std::string_view name) const;
  // Index of an HF name in the sidecar's source, which witnesses are keyed by; -1: not there.
  int32_t sidecar_tensor(std::string_view name) const;
};

// Errors: kUsage when neither is there, with the options named.
Origin find_origin(FileSystem& fs, const MegatronFolder& checkpoint, const Path& sidecar_dir,
                   const Path& reference, MemoryBudget& budget);

}  // namespace bridge
