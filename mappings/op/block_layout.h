// Where the elements of Hugging Face parts lie in a Megatron tensor, as data that an op states once. Both directions, and
// which elements a slice needs, are read off it (bridge/convert/algebra/op_layout.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

namespace mappings {

// `count` blocks of `length` elements, `stride` apart in a part, which lie one after another in the Megatron tensor.
struct Strand {
  size_t part = 0;
  int64_t from = 0;  // element of the part at which the first block begins
  int64_t length = 0;
  int64_t count = 1;
  int64_t stride = 0;  // larger than 0 where there are elements
};

// The Megatron tensor is the strands in this order. With `repeats` > 1 every part is as many equal stretches of elements,
// and the Megatron tensor is for each of them in turn the strands, counted from the beginning of the stretch. Every
// element of a part is in one strand.
struct Strands {
  int64_t repeats = 1;
  std::vector<Strand> strands = {};
};

// The one part is [outer, inner, width], the Megatron tensor [inner, outer, width].
struct Exchange {
  int64_t outer = 0;
  int64_t inner = 0;
};

using BlockLayout = std::variant<Strands, Exchange>;

}  // namespace mappings
