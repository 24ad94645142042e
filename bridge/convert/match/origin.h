// The origin that an export goes back to: the sidecar of the conversion, a reference folder, or
// both. With neither, the checkpoint speaks for itself.
//
//   configuration         --reference, else the sidecar, else derived (derived_config.h)
//   side files            those of the configuration's folder; --tokenizer replaces the tokenizer
//   shard map and dtypes  --reference if it holds weights, else the sidecar, else none
//                         (the export makes its own shards)
//   witnesses             the sidecar
//
// The sidecar is --sidecar DIR, else ROOT/causeway if it is there.
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

// Where an export may find it.
struct OriginPlaces {
  Path sidecar{};            // --sidecar DIR; empty: ROOT/causeway
  Path reference{};          // --reference; empty: none
  Path tokenizer{};          // --tokenizer; empty: none
  bool may_be_none = false;  // the checkpoint says enough of itself
};

struct OriginFile {
  std::string name;  // relative to the folder to write
  Path path;
};

struct Origin {
  std::optional<Sidecar> sidecar;
  std::optional<HfFolder> reference;
  // The files to write beside the weights. Unless the origin is none, config.json and the index are
  // among them.
  std::vector<OriginFile> side_files;
  int64_t tokenizer_files = 0;                  // how many of them --tokenizer gave
  std::vector<std::string> replaced_tokenizer;  // files of the origin that these replace
  std::unique_ptr<WitnessIndex> witnesses;      // null: none
  // Messages that name small files of the iteration which differ from those of the conversion.
  std::vector<std::string> changed_files;

  // True if the shard map is the reference's.
  bool from_reference() const;
  // The folder that the shard map comes from; nullptr: none.
  const HfFolder* layout() const;
  // True if there is neither a sidecar nor a reference: config.json is derived.
  bool is_none() const { return !sidecar && !reference; }
  std::string config_text(FileSystem& fs) const;  // not for an origin that is none
  Path index_path() const;                        // the index of layout(), which must have one
  // The 8 + N header bytes of a shard of layout().
  std::string raw_header(FileSystem& fs, size_t shard, MemoryBudget& budget) const;
  // The --glu-interleave that the conversion recorded; 0: none.
  int64_t glu_interleave() const;
  // The rows of the Megatron side's vocabulary that the conversion recorded; 0: none.
  int64_t vocab_rows() const;
  // The --dtype that the conversion recorded: "source", "bf16", "fp16", "fp32"; "": none of these.
  std::string dtype() const;
  // True if the conversion left MTP out.
  bool mtp_was_dropped() const;
  // True if the conversion wrote the text model only.
  bool parts_were_left_out() const;
  // True if the source has no output layer and the conversion made none.
  bool head_was_left_out() const;
  // True if the sidecar holds all bytes of this HF tensor.
  bool sidecar_keeps(std::string_view name) const;
  // The index of an HF name in the sidecar's source, which is the key of witnesses; -1: not there.
  int32_t sidecar_tensor(std::string_view name) const;

 private:
  int64_t recorded_number(std::string_view choice) const;  // 0: none
};

// Errors: kUsage that names the options if there is neither sidecar nor reference and places does
// not allow that, and for a --tokenizer folder without a tokenizer; kBadInput if the iteration
// carries the id of another conversion than the sidecar. An iteration that training wrote carries
// no id.
Origin find_origin(FileSystem& fs, const MegatronFolder& checkpoint, const OriginPlaces& places,
                   MemoryBudget& budget);

}  // namespace bridge
