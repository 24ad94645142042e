#include "bridge/convert/algebra/value_change.h"

#include <algorithm>
#include <array>

#include "bridge/io/base/error.h"
#include "bridge/io/number/codec.h"

namespace bridge {
namespace {

size_t size_of(Dtype dtype) {
  return static_cast<size_t>(bits_of(dtype)) / 8;
}

}  // namespace

void change_values(ValueChange change, Dtype from, std::span<const std::byte> in, Dtype to,
                   std::span<std::byte> out, int64_t& overflowed) {
  if (change.apply == nullptr) {
    cast_plain(from, in, to, out, overflowed);
    return;
  }
  // The check of the table, and of both folders against it.
  if (!is_plain_float(from) || from == Dtype::kF64) internal_error("arithmetic beyond F32");
  constexpr size_t kPiece = 1024;
  std::array<float, kPiece> values;
  for (size_t done = 0; done < in.size() / size_of(from);) {
    const size_t count = std::min(kPiece, in.size() / size_of(from) - done);
    const std::span<float> piece = std::span(values).first(count);
    cast_floats(from, in.subspan(done * size_of(from), count * size_of(from)), Dtype::kF32,
                std::as_writable_bytes(piece), overflowed);
    change.apply(piece);
    cast_floats(Dtype::kF32, std::as_bytes(piece), to,
                out.subspan(done * size_of(to), count * size_of(to)), overflowed);
    done += count;
  }
}

}  // namespace bridge
