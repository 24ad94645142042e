#include "bridge/convert/stream/cast_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "bridge/convert/options.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

bool is_narrowing(Dtype from, Dtype to) {
  if (to == Dtype::kF64 || from == to) return false;
  return from == Dtype::kF64 || to != Dtype::kF32;
}

// The number of values that are cast back and compared at a time.
constexpr int64_t kPiece = 1024;

// Reads values of a dtype up to F32 as floats, which hold each of them exactly.
class Piece {
 public:
  Piece(Dtype dtype, std::span<const std::byte> bytes) {
    int64_t overflowed = 0;
    const auto count = static_cast<size_t>(std::ssize(bytes) * 8 / bits_of(dtype));
    change_values(ValueChange{}, dtype, bytes, Dtype::kF32,
                  std::as_writable_bytes(std::span(values_).first(count)), overflowed);
  }

  bool same(const Piece& other, size_t i) const {
    const float a = values_[i];
    const float b = other.values_[i];
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
           (std::isnan(a) && std::isnan(b));
  }

 private:
  std::array<float, kPiece> values_;
};

int64_t changed_values(const Transfer& transfer, const Segment& segment) {
  const Dtype from = transfer.inputs[static_cast<size_t>(segment.input)].dtype;
  std::array<std::byte, kPiece * 8> buffer;
  int64_t changed = 0;
  for (int64_t begin = 0; begin < segment.length; begin += kPiece) {
    const int64_t count = std::min(kPiece, segment.length - begin);
    const auto part = [&](auto all, Dtype dtype) {
      return all.subspan(static_cast<size_t>(bytes_of(dtype, begin)),
                         static_cast<size_t>(bytes_of(dtype, count)));
    };
    const std::span<const std::byte> source = part(segment.source, from);
    const std::span<std::byte> back =
        std::span(buffer).first(static_cast<size_t>(bytes_of(from, count)));
    int64_t overflowed = 0;
    change_values(inverse_of(transfer.value_change()), transfer.to,
                  part(std::span<const std::byte>(segment.result), transfer.to), from, back,
                  overflowed);
    if (std::equal(source.begin(), source.end(), back.begin())) continue;
    const Piece before(from, source);
    const Piece after(from, back);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) changed += !before.same(after, i);
  }
  return changed;
}

}  // namespace

std::string overflow_hint(const Transfer& transfer) {
  const TransferInput& from = transfer.inputs.at(0);
  const Dtype kept = from.scales.quantized() ? Dtype::kBF16 : from.dtype;
  return fmt::format("--dtype {} keeps every value",
                     dtype_option(kept == transfer.to ? Dtype::kF32 : kept));
}

void CastCheck::see(const SliceView& slice) {
  const Transfer& transfer = slice.transfer;
  const TransferInput& input = transfer.inputs.at(0);
  if (slice.segments.empty() || input.scales.quantized() || !is_plain_float(input.dtype) ||
      !is_plain_float(transfer.to) || input.dtype == transfer.to) {
    return;
  }
  int64_t values = 0;
  int64_t changed = 0;
  for (const Segment& segment : slice.segments) {
    values += segment.length;
    if (is_narrowing(input.dtype, transfer.to)) changed += changed_values(transfer, segment);
  }
  const int64_t all = transfer.end - transfer.begin;
  const std::lock_guard lock(mutex_);
  CastCount& count = counts_[{input.dtype, transfer.to}];
  count.values += values;
  count.changed += changed;
  Progress& progress = targets_[transfer.target];
  progress.seen += values;
  progress.changed += changed;
  if (progress.seen < all) return;
  ++count.tensors;
  const int64_t lost = progress.changed;
  targets_.erase(transfer.target);
  if (lost == 0 || allow_) return;
  bad_input(fmt::format("{}: {} of {} values would change from {} to {}",
                        printable(name_of_(transfer.target)), lost, all,
                        safetensors_name(input.dtype), safetensors_name(transfer.to)),
            fmt::format("--dtype {} rounds them, --dtype {} keeps them", dtype_option(transfer.to),
                        dtype_option(input.dtype)));
}

}  // namespace bridge
