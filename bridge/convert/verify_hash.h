// verify --mode hash: byte equality of a Hugging Face folder and a Megatron checkpoint, both ways, streamed;
// nothing is written.
//
//   forward   the table applied to the source, against what the checkpoint holds, logical tensor by logical tensor
//             (any chunking; padding rows of the vocabulary are not compared)
//   inverse   with the sidecar of this source: what an export would write, against the source, headers and
//             side files included
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct HashSummary : Report {
  struct Difference {
    std::string name;  // of a tensor or file, printable
    std::string what;
  };
  struct Direction {
    size_t tensors = 0;
    int64_t bytes = 0;
    std::vector<Difference> different;  // tensors
  };
  std::string own_table;      // its file, where the table is not a built-in one
  bool without_mtp = false;   // the conversion left multi-token prediction out
  bool without_head = false;  // the model has no output layer
  bool text_only = false;     // the checkpoint holds the text model only
  bool dry_run = false;       // no bytes were compared
  std::string misfit;         // how the tensors do not fit the table; empty: they do
  std::optional<Direction> forward;
  std::optional<Direction> inverse;
  std::string inverse_not_checked;          // why; empty: it was, or the forward direction differs
  std::vector<Difference> different_files;  // side files
};

// Which of the two paths is the Hugging Face side is detected. report.difference says whether anything differs;
// errors are for inputs that cannot be compared at all.
HashSummary verify_hash(FileSystem& fs, const VerifyOptions& options);

// What is known of how the Megatron side was made.
struct ConversionFacts {
  bool without_mtp = false;    // multi-token prediction was left out on purpose
  bool without_parts = false;  // so was what a multimodal model has besides its text model
  // --mapping or --arch named the table, now or when it was converted: the forward pass need not
  // know the model.
  bool table_was_named = false;
  // --dtype; "": not known, as where the Hugging Face side is not what was converted.
  std::string dtype;
};

// The sidecar says it; without one, keys as a text model has them on its own say it of the parts.
ConversionFacts facts_of_conversion(FileSystem& fs, const VerifyOptions& options);

}  // namespace bridge
