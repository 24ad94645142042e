// verify --mode hash: byte equality of a Hugging Face folder and a Megatron checkpoint, both ways, streamed;
// nothing is written.
//
//   forward   the table applied to the source, against what the checkpoint holds, logical tensor by logical tensor
//             (any chunking; padding rows of the vocabulary are not compared)
//   inverse   with the sidecar of this source: what an export would write, against the source, headers and
//             side files included
#pragma once

#include <string>

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file_system.h"

namespace bridge {

// Which of the two paths is the Hugging Face side is detected. report.difference says whether anything differs;
// errors are for inputs that cannot be compared at all.
Report verify_hash(FileSystem& fs, const VerifyOptions& options);

// What the sidecar of the Megatron side says of its conversion.
struct RecordedChoices {
  bool dropped_mtp = false;
  std::string
      dtype;  // --dtype; "": nothing is recorded, or of another source than the Hugging Face side
};
RecordedChoices recorded_choices(FileSystem& fs, const VerifyOptions& options);

}  // namespace bridge
