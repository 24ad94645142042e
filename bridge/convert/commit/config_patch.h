// Writes the config.json of an export.
//
// The file is the source's text verbatim unless a value truly changed. Then only that key changes,
// because an exporter that regenerates the file loses the keys it does not know.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/number/dtype.h"

namespace bridge {

struct ConfigChanges {
  bool stated = false;         // the given text already differs from the origin's
  std::optional<Dtype> dtype;  // torch_dtype or dtype, whichever the file has
  int64_t vocab_size = 0;      // 0: unchanged
  bool unquantized = false;    // removes quantization_config and expert_dtype
  std::string no_mtp;          // the key that counts MTP depths becomes 0; empty: unchanged
  std::string root;  // the key of the object that describes the text model; empty: the top

  bool any() const { return stated || dtype || vocab_size > 0 || unquantized || !no_mtp.empty(); }
};

// Returns the changed text. Keeps the order of the keys and indents by two, as transformers does.
std::string patch_config(std::string_view text, const ConfigChanges& changes);

}  // namespace bridge
