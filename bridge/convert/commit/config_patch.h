// config.json of an export: the source's text verbatim unless something truly changed, and then only that
// key changes (an exporter that regenerates the file loses what it does not know).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/number/dtype.h"

namespace bridge {

struct ConfigChanges {
  bool stated = false;         // the text already differs from the origin's
  std::optional<Dtype> dtype;  // torch_dtype or dtype, whichever the file has
  int64_t vocab_size = 0;      // 0: unchanged
  bool unquantized = false;    // quantization_config and expert_dtype go
  std::string no_mtp;          // key that counts MTP depths, set to 0; empty: unchanged
  std::string root;            // key of the object that describes the text model; empty: the top

  bool any() const { return stated || dtype || vocab_size > 0 || unquantized || !no_mtp.empty(); }
};

// Key order is kept; the text is indented by two as transformers does.
std::string patch_config(std::string_view text, const ConfigChanges& changes);

}  // namespace bridge
