#include "bridge/convert/stream/witness_check.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "bridge/io/number/block_codec.h"

namespace bridge {
namespace {

constexpr int64_t kCut = kSliceUnit / 8;      // elements
constexpr size_t kStretchBytes = kSliceUnit;  // kCut elements of the largest size, 8 bytes

constexpr int64_t kBridged = 16;  // a piece's own header outweighs this many elements

// Elements that differ bit for bit between a and b, as runs [first, last) of element numbers. Runs
// with at most `bridged` elements between them become one.
std::vector<std::pair<int64_t, int64_t>> differing_runs(std::span<const std::byte> a,
                                                        std::span<const std::byte> b,
                                                        int64_t element_bytes, int64_t bridged) {
  std::vector<std::pair<int64_t, int64_t>> runs;
  const int64_t count = std::ssize(a) / element_bytes;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i * element_bytes);
    if (std::memcmp(a.data() + at, b.data() + at, static_cast<size_t>(element_bytes)) == 0)
      continue;
    if (!runs.empty() && i - runs.back().second <= bridged) {
      runs.back().second = i + 1;
    } else {
      runs.emplace_back(i, i + 1);
    }
  }
  return runs;
}

// Every code of a format, at least once. The NaN codes come last, for the vector forms.
std::span<const std::byte> every_code(Dtype format) {
  if (bits_of(format) == 4) {
    static constexpr std::array<uint8_t, 8> kPairs = {0x10, 0x32, 0x54, 0x76,
                                                      0x98, 0xba, 0xdc, 0xfe};
    return std::as_bytes(std::span(kPairs));
  }
  static constexpr auto kCodes = [] {
    std::array<uint8_t, 258> codes{};  // two zeros complete the last eight before the NaNs
    size_t count = 0;
    for (const int sign : {0x00, 0x80}) {
      for (int magnitude = 0; magnitude < 0x7f; ++magnitude) {
        codes[count++] = static_cast<uint8_t>(sign | magnitude);
      }
    }
    codes[256] = 0x7f;
    codes[257] = 0xff;
    return codes;
  }();
  return std::as_bytes(std::span(kCodes));
}

// The conversion of a code depends on the code and its scale alone. So where every code returns
// under each scale of a segment, its elements return too, whatever they are. Returns false without
// trying where that is no less work than trying the elements.
bool every_code_returns(const Transfer& transfer, const Segment& segment) {
  const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
  if (!from.scales.quantized()) return false;
  const std::span<const std::byte> codes = every_code(from.dtype);
  const auto scale_bytes = static_cast<size_t>(from.scales.scale_bytes());
  if (segment.scales.size() / scale_bytes * codes.size() >= segment.source.size()) return false;
  std::array<std::byte, 258 * sizeof(float)> forward;
  std::array<std::byte, 258> back;
  const auto values =
      std::span(forward).first(codes.size() * 8 / static_cast<size_t>(bits_of(from.dtype)) *
                               static_cast<size_t>(bits_of(transfer.to)) / 8);
  const auto returned = std::span(back).first(codes.size());
  for (size_t at = 0; at < segment.scales.size(); at += scale_bytes) {
    const float scale = load_scale(from.scales.dtype, segment.scales.data() + at);
    int64_t overflowed = 0;
    block_codec().dequantize(from.dtype, codes, scale, transfer.to, values, overflowed);
    block_codec().find_codes(from.dtype, transfer.to, values, scale, returned);
    if (!std::equal(codes.begin(), codes.end(), returned.begin())) return false;
  }
  return true;
}

// Cuts a segment where slices of another size might end too, so that the pieces, and with them the
// bytes of the file, do not depend on the number of threads. position: where the segment begins in
// the transfer.
template <typename Fn>
void for_each_stretch(const Transfer& transfer, const Segment& segment, int64_t position, Fn&& fn) {
  const Dtype from = transfer.inputs[static_cast<size_t>(segment.input)].dtype;
  const auto part = [](auto all, Dtype dtype, int64_t begin, int64_t length) {
    return all.subspan(static_cast<size_t>(bytes_of(dtype, begin)),
                       static_cast<size_t>(bytes_of(dtype, length)));
  };
  for (int64_t done = 0; done < segment.length;) {
    const int64_t length = std::min(segment.length - done, kCut - (position + done) % kCut);
    Segment stretch = segment;
    stretch.begin += done;
    stretch.length = length;
    stretch.source = part(segment.source, from, done, length);
    stretch.result = part(segment.result, transfer.to, done, length);
    fn(stretch);
    done += length;
  }
}

// Fills `back` with the source elements that the inverse of the conversion gives.
void turn_back(const Transfer& transfer, const Segment& segment, std::span<std::byte> back) {
  const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
  if (!from.scales.quantized()) {
    int64_t overflowed = 0;
    change_values(inverse_of(transfer.value_change()), transfer.to, segment.result, from.dtype,
                  back, overflowed);
    return;
  }
  for_each_scaled_run(transfer, segment,
                      [&](float scale, std::span<const std::byte> codes,
                          std::span<std::byte> values, int64_t begin) {
                        const auto at =
                            static_cast<size_t>(bytes_of(from.dtype, begin - segment.begin));
                        block_codec().find_codes(from.dtype, transfer.to, values, scale,
                                                 back.subspan(at, codes.size()));
                      });
}

}  // namespace

void write_witnesses(const SliceView& slice, WitnessWriter& writer) {
  std::vector<WitnessWriter::Piece> pieces;
  std::vector<Run> runs;
  std::array<std::byte, kStretchBytes> buffer;
  const Transfer& transfer = slice.transfer;
  int64_t position = slice.begin - transfer.begin;
  for (const Segment& segment : slice.segments) {
    if (segment.input != Run::kZeros && !every_code_returns(transfer, segment)) {
      const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
      for_each_stretch(transfer, segment, position, [&](const Segment& stretch) {
        const std::span<const std::byte> original = stretch.source;
        const std::span<std::byte> back = std::span(buffer).first(original.size());
        turn_back(transfer, stretch, back);
        if (std::memcmp(original.data(), back.data(), back.size()) == 0) return;
        const int64_t unit = std::max(1, bits_of(from.dtype) / 8);
        const auto add = [&](int64_t begin, int64_t at, int64_t count) {
          pieces.push_back({from.tensor, begin,
                            original.subspan(static_cast<size_t>(at * unit),
                                             static_cast<size_t>(count * unit))});
        };
        const bool scattered = transfer.scattered();
        for (const auto& [at, end] :
             differing_runs(original, back, unit, scattered ? 0 : kBridged)) {
          if (!scattered) {
            add(bytes_of(from.dtype, stretch.begin) + at * unit, at, end - at);
            continue;
          }
          // Neighbours of the output lie apart in the input: each is a piece.
          runs.clear();
          transfer.runs(stretch.begin + at, stretch.begin + end, runs);
          for (size_t i = 0; i < runs.size(); ++i) {
            add(runs[i].begin * unit, at + static_cast<int64_t>(i), 1);
          }
        }
      });
    }
    position += segment.length;
  }
  writer.write(slice.ticket, pieces);
}

int64_t apply_witnesses(const SliceView& slice, int32_t tensor, const WitnessIndex& witnesses) {
  const Transfer& transfer = slice.transfer;
  const Dtype held = transfer.inputs[0].dtype;
  const int64_t out_size = bits_of(transfer.to) / 8;
  const int64_t in_size = bits_of(held) / 8;
  std::vector<std::byte> witness;
  std::vector<std::byte> forward;
  int64_t changed = 0;
  int64_t begin = slice.begin * out_size;
  for (const Segment& segment : slice.segments) {
    const int64_t end = begin + std::ssize(segment.result);
    for (const WitnessRecord& record : witnesses.find(tensor, begin, end)) {
      const int64_t from = std::max(begin, record.begin);
      const int64_t to = std::min(end, record.begin + record.length);
      witness.resize(static_cast<size_t>(to - from));
      witnesses.read(record, from - record.begin, witness);
      const int64_t count = (to - from) / out_size;
      forward.resize(static_cast<size_t>(count * in_size));
      int64_t overflowed = 0;
      change_values(inverse_of(transfer.value_change()), transfer.to, witness, held, forward,
                    overflowed);
      const int64_t first = (from - begin) / out_size;
      for (int64_t i = 0; i < count; ++i) {
        const auto current = segment.source.subspan(static_cast<size_t>((first + i) * in_size),
                                                    static_cast<size_t>(in_size));
        if (std::memcmp(current.data(), forward.data() + i * in_size,
                        static_cast<size_t>(in_size)) == 0) {
          std::byte* const result = segment.result.data() + (first + i) * out_size;
          const std::byte* const own = witness.data() + i * out_size;
          const auto size = static_cast<size_t>(out_size);
          changed += std::memcmp(result, own, size) == 0 ? 0 : 1;
          std::memcpy(result, own, size);
        }
      }
    }
    begin = end;
  }
  return changed;
}

int64_t apply_source_codes(const KeptCodes& kept, std::span<const std::byte> source_codes) {
  const auto& [transfer, begin, scale, values, codes] = kept;
  std::vector<std::byte> forward(values.size());
  int64_t overflowed = 0;
  block_codec().dequantize(transfer.to, source_codes, scale, transfer.inputs[0].dtype, forward,
                           overflowed);
  // One byte of codes at a time, which is two elements of FP4.
  const size_t size = values.size() / codes.size();
  int64_t changed = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (std::memcmp(forward.data() + i * size, values.data() + i * size, size) == 0) {
      changed += codes[i] == source_codes[i] ? 0 : 1;
      codes[i] = source_codes[i];
    }
  }
  return changed;
}

int64_t apply_code_witnesses(const KeptCodes& kept, int32_t tensor, const WitnessIndex& witnesses) {
  const int64_t byte_begin = bytes_of(kept.transfer.to, kept.begin);
  const int64_t byte_end = byte_begin + std::ssize(kept.codes);
  const size_t size = kept.values.size() / kept.codes.size();
  std::vector<std::byte> witness;
  int64_t changed = 0;
  for (const WitnessRecord& record : witnesses.find(tensor, byte_begin, byte_end)) {
    const int64_t from = std::max(byte_begin, record.begin);
    const int64_t to = std::min(byte_end, record.begin + record.length);
    witness.resize(static_cast<size_t>(to - from));
    witnesses.read(record, from - record.begin, witness);
    const auto at = static_cast<size_t>(from - byte_begin);
    const KeptCodes part{kept.transfer,
                         kept.begin + (from - byte_begin) * 8 / bits_of(kept.transfer.to),
                         kept.scale, kept.values.subspan(at * size, witness.size() * size),
                         kept.codes.subspan(at, witness.size())};
    changed += apply_source_codes(part, witness);
  }
  return changed;
}

}  // namespace bridge
