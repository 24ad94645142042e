// Casts of integers, and the choice between them and the casts of floats. Four loops need no
// library, and no library counts the values that do not fit.
#include <fmt/format.h>

#include <cstring>
#include <limits>

#include "bridge/io/base/error.h"
#include "bridge/io/number/codec.h"

namespace bridge {
namespace {

bool is_id(Dtype dtype) {
  return dtype == Dtype::kI32 || dtype == Dtype::kI64;
}

int64_t load(Dtype dtype, const std::byte* at) {
  if (dtype == Dtype::kI64) {
    int64_t value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  int32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

void cast_integers(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                   int64_t& overflowed) {
  const auto in_size = static_cast<size_t>(bits_of(from) / 8);
  const auto out_size = static_cast<size_t>(bits_of(to) / 8);
  if (!is_id(from) || !is_id(to) || in.size() % in_size != 0 ||
      in.size() / in_size * out_size != out.size()) {
    internal_error(fmt::format("cast of {} bytes of {} to {} bytes of {}", in.size(),
                               safetensors_name(from), out.size(), safetensors_name(to)));
  }
  for (size_t i = 0; i < in.size() / in_size; ++i) {
    const int64_t value = load(from, in.data() + i * in_size);
    const bool fits = to == Dtype::kI64 || (value >= std::numeric_limits<int32_t>::min() &&
                                            value <= std::numeric_limits<int32_t>::max());
    overflowed += fits ? 0 : 1;
    // Little-endian: the low bytes come first.
    std::memcpy(out.data() + i * out_size, &value, out_size);
  }
}

bool can_cast(Dtype from, Dtype to) {
  return (is_plain_float(from) && is_plain_float(to)) || (is_id(from) && is_id(to));
}

void cast_plain(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                int64_t& overflowed) {
  is_id(from) ? cast_integers(from, in, to, out, overflowed)
              : cast_floats(from, in, to, out, overflowed);
}

}  // namespace bridge
