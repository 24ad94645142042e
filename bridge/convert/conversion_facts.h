// How the Megatron side of a comparison was made. A comparison does not report as missing what the
// conversion left out on purpose.
#pragma once

#include <string>

#include "bridge/convert/options.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct ConversionFacts {
  bool without_mtp = false;    // the conversion left multi-token prediction out
  bool without_parts = false;  // it left out all but the text model of a multimodal model
  // --mapping or --arch named the table, now or in the conversion, so the forward pass need not
  // know the model.
  bool table_was_named = false;
  // The --dtype of the conversion; "": not known, for example because another Hugging Face folder
  // was converted.
  std::string dtype;
};

// Reads the facts from the sidecar. Without one, only keys without a prefix tell that parts were
// left out.
ConversionFacts facts_of_conversion(FileSystem& fs, const VerifyOptions& options);

}  // namespace bridge
