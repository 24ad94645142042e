// The options of convert, export, verify and inspect. cli/ fills them, and bridge/convert reads
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/base/progress.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/launch/rank.h"
#include "bridge/io/number/dtype.h"

namespace bridge {

enum class LayerKeys { kAuto, kStacked, kPerLayer };
enum class Spec { kTe, kLocal };
// The model class whose keys are written.
enum class Layout { kGpt, kHybrid };

// Returns the value of --dtype that stands for a dtype.
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
  std::string version;    // the tool's version, for the sidecar
  Rank rank;
};

// The options that convert and export share.
struct OutputOptions : CommonOptions {
  Path source;
  Path target;
  bool overwrite = false;
  // What to do with what an earlier run left. With neither, a run that can be resumed is an error.
  bool resume = false;
  bool restart = false;
  // Bytes of output between two watermarks of the journal.
  int64_t watermark_bytes = 1'000'000'000;
  std::optional<Dtype> dtype;  // nullopt: source
  bool dtype_asked = false;    // --dtype was given, even as source
  bool keep_mtp = true;
  bool mtp_asked = false;  // --mtp was given
  bool text_only = false;
  // How the Megatron side spells keys. An export detects this from the checkpoint's keys; its
  // options are for a checkpoint that holds two spellings of a tensor.
  Spec spec = Spec::kTe;
  LayerKeys layer_keys = LayerKeys::kAuto;
  // "" (none) or "language_model."; nullopt: the architecture decides.
  std::optional<std::string> name_prefix;
  int64_t glu_interleave = 0;  // block size of experts' gate and up rows; 0: not interleaved
};

struct ConvertOptions : OutputOptions {
  int64_t vocab_rows = 0;  // on the Megatron side; 0: as many as the source
  int64_t file_size = 5'000'000'000;
  Path expect;           // --expect FILE
  bool no_head = false;  // --head none
  Layout layout = Layout::kGpt;
  // Replaces only iter_0000000 and the sidecar of an earlier conversion, in a root that training
  // has added to.
  bool overwrite_iteration = false;
};

struct ExportOptions : OutputOptions {
  int64_t vocab_rows = 0;      // on the Hugging Face side; 0: config.json's vocab_size
  int64_t max_shard_size = 0;  // 0: the source's shard map, else 5 GB
  Path reference;
  Path tokenizer;  // --tokenizer DIR
};

// CommonOptions::mapping names the table to check.
struct CheckOptions : CommonOptions {
  Path hf_dir;
  bool keep_mtp = true;
};

struct VerifyOptions : CommonOptions {
  Path a;
  Path b;
  Path reference;
};

}  // namespace bridge
