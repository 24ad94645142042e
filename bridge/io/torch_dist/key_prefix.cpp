#include "bridge/io/torch_dist/key_prefix.h"

#include <algorithm>
#include <string_view>

namespace bridge {

std::string strip_key_prefix(DcpMetadata& metadata) {
  for (const std::string_view prefix : {"module.", "model."}) {
    const bool everywhere =
        std::all_of(metadata.tensors.begin(), metadata.tensors.end(),
                    [&](const DcpTensor& tensor) { return tensor.key.starts_with(prefix); });
    if (!everywhere || metadata.tensors.empty()) continue;
    // The tensors stay sorted: every key loses the same prefix.
    for (DcpTensor& tensor : metadata.tensors) tensor.key.erase(0, prefix.size());
    return std::string(prefix);
  }
  return {};
}

}  // namespace bridge
