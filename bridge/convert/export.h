// export-to-hf turns a Megatron-Core checkpoint back into a Hugging Face folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/match/accounting.h"
#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/convert/statement_report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct ExportSummary : Report {
  Path source;
  size_t source_tensors = 0;
  std::string table;
  std::string configuration_from;  // printable
  Path target;
  size_t target_tensors = 0;
  size_t target_shards = 0;
  int64_t verbatim_headers = 0;
  int64_t target_bytes = 0;
  std::vector<NamedReason> left_out;
  std::vector<NamedReason> put_back;
  int64_t dropped_mtp_tensors = 0;
  std::optional<int64_t> dropped_part_tensors;  // set for a text model written on its own
  bool without_tokenizer = false;  // config.json is derived, and --tokenizer was not given
  int64_t tokenizer_files = 0;     // files that came from --tokenizer
  std::vector<std::string> replaced_tokenizer;  // files of the origin that these replace
  bool without_head = false;                    // the model has no output layer
  std::string key_prefix;                       // starts every key of the checkpoint; mostly empty
  int64_t dequantized_tensors = 0;              // they stay in options.dtype
  std::optional<Dtype> dtype;
  int64_t quantized_tensors = 0;
  struct Blocks {
    int64_t kept = 0;
    int64_t fresh = 0;
    int64_t clipped = 0;
  } blocks;
  StatementSummary statement;
  struct Cast {
    Dtype from;
    Dtype to;
    int64_t tensors;
    int64_t values;
    int64_t changed;  // of the values
  };
  std::vector<Cast> casts;            // of floating values; none in a dry run
  std::optional<BesideModel> beside;  // of the reference
  int64_t witnesses = 0;              // elements restored to the source's own
};

// Writes the complete output under options.target, or leaves options.target as it was. Errors: see
// bridge/io/base/error.h.
ExportSummary export_to_hf(FileSystem& file_system, const ExportOptions& options);

}  // namespace bridge
