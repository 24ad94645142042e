// verify --mode hash compares a Hugging Face folder with a Megatron checkpoint byte by byte,
// streamed and in both directions. It writes nothing.
//
//   forward   applies the table to the source and compares the result with the checkpoint, logical
//             tensor by logical tensor (any chunking; padding rows of the vocabulary do not count)
//   inverse   needs the sidecar of this source; compares what an export would write with the
//             source, headers and side files included
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
    std::string name;  // a tensor or file, printable
    std::string what;
  };
  struct Direction {
    size_t tensors = 0;
    int64_t bytes = 0;
    std::vector<Difference> different;  // tensors
  };
  bool bytes_alone = false;   // its table says that this model was compared with no other software
  std::string own_table;      // the file of a table that is not built in; empty: it is built in
  bool without_mtp = false;   // the conversion left multi-token prediction out
  bool without_head = false;  // the model has no output layer
  bool text_only = false;     // the checkpoint holds the text model only
  bool dry_run = false;       // no bytes were compared
  std::string statement;      // Statement::of; empty: there is none to compare
  std::vector<Difference> different_fields;  // fields of the statement that config.json contradicts
  std::string misfit;                        // how the tensors do not fit the table; empty: they do
  std::optional<Direction> forward;
  std::optional<Direction> inverse;
  std::string inverse_not_checked;  // why not; empty: it was, or something before it differs
  std::vector<Difference> different_files;  // side files
};

// Detects which of the two paths is the Hugging Face side. Report::difference says whether anything
// differs. Errors are for inputs that cannot be compared at all.
HashSummary verify_hash(FileSystem& fs, const VerifyOptions& options);

}  // namespace bridge
