// What a user can ask of convert, export, verify and inspect; filled by cli/, read by bridge/convert.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/base/progress.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/number/dtype.h"

namespace bridge {

enum class LayerKeys { kAuto, kStacked, kPerLayer };
enum class Spec { kTe, kLocal };

// The dtype of floating weights as --dtype spells it.
constexpr std::string_view dtype_option(Dtype dtype) {
  return dtype == Dtype::kBF16 ? "bf16" : dtype == Dtype::kF16 ? "fp16" : "fp32";
}

struct CommonOptions {
  int64_t memory = 256LL << 20;
  int threads = 0;  // 0: as many as cores, at most 16
  ProgressMode progress = ProgressMode::kAuto;
  bool quiet = false;
  bool dry_run = false;
  Path report;            // empty: none
  Path mapping;           // --mapping FILE
  std::string arch;       // --arch NAME
  Path sidecar;           // --sidecar DIR
  std::string iteration;  // --iteration
  std::string version;    // of the tool, for the sidecar
};

// What convert and export share.
struct OutputOptions : CommonOptions {
  Path source;
  Path target;
  bool overwrite = false;
  std::optional<Dtype> dtype;  // nullopt: source
  bool keep_mtp = true;
  bool text_only = false;
  // Choices the Megatron side makes. An export finds them out from the checkpoint's keys; there they are for a
  // checkpoint that holds two spellings of a tensor.
  Spec spec = Spec::kTe;
  LayerKeys layer_keys = LayerKeys::kAuto;
  std::optional<std::string>
      name_prefix;             // "" (none) or "language_model."; nullopt: by architecture
  int64_t glu_interleave = 0;  // 0: none
};

struct ConvertOptions : OutputOptions {
  int64_t vocab_rows = 0;  // of the Megatron side; 0: source rows
  int64_t file_size = 5'000'000'000;
  Path expect;           // --expect FILE
  bool no_head = false;  // --head none
};

struct ExportOptions : OutputOptions {
  int64_t vocab_rows = 0;      // of the Hugging Face side; 0: config.json's vocab_size
  int64_t max_shard_size = 0;  // 0: the source's shard map, else 5 GB
  Path reference;
};

struct CheckOptions : CommonOptions {  // mapping: the table to check
  Path hf_dir;
  bool keep_mtp = true;
};

struct VerifyOptions : CommonOptions {
  Path a;
  Path b;
  Path reference;
};

}  // namespace bridge
