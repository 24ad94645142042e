#include "bridge/convert/witness_check.h"

#include <algorithm>
#include <cstring>

#include "bridge/io/block_codec.h"
#include "bridge/io/codec.h"

namespace bridge {
namespace {

// Elements of `elements` in `range` that differ bit for bit, as runs [first, last) of element numbers.
std::vector<std::pair<int64_t, int64_t>> differing_runs(std::span<const std::byte> a,
                                                        std::span<const std::byte> b,
                                                        int64_t element_bytes) {
  constexpr int64_t kBridged = 16;  // a piece's own header outweighs this many elements
  std::vector<std::pair<int64_t, int64_t>> runs;
  const int64_t count = std::ssize(a) / element_bytes;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i * element_bytes);
    if (std::memcmp(a.data() + at, b.data() + at, static_cast<size_t>(element_bytes)) == 0)
      continue;
    if (!runs.empty() && i - runs.back().second <= kBridged) {
      runs.back().second = i + 1;
    } else {
      runs.emplace_back(i, i + 1);
    }
  }
  return runs;
}

// A segment, cut where slices of another size might end too: pieces, and with them the bytes of the file, do not
// depend on the number of threads. position: of the segment in the transfer.
template <typename Fn>
void for_each_stretch(const Segment& segment, int64_t position, Fn&& fn) {
  constexpr int64_t kCut = kSliceUnit / 8;
  for (int64_t done = 0; done < segment.length;) {
    const int64_t length = std::min(segment.length - done, kCut - (position + done) % kCut);
    fn(done, length);
    done += length;
  }
}

// The source elements that the inverse of the conversion gives.
void turn_back(const Transfer& transfer, const Segment& segment, std::span<std::byte> back) {
  const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
  if (!from.scales.quantized()) {
    int64_t overflowed = 0;
    cast_plain(transfer.to, segment.result, from.dtype, back, overflowed);
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
  std::vector<std::byte> back;
  const Transfer& transfer = slice.transfer;
  int64_t position = slice.begin - transfer.begin;
  for (const Segment& segment : slice.segments) {
    if (segment.input != Run::kZeros) {
      const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
      back.resize(segment.source.size());
      turn_back(transfer, segment, back);
      for_each_stretch(segment, position, [&](int64_t first, int64_t length) {
        const auto begin = static_cast<size_t>(bytes_of(from.dtype, first));
        const auto bytes = static_cast<size_t>(bytes_of(from.dtype, length));
        const int64_t unit = std::max(1, bits_of(from.dtype) / 8);
        const auto original = segment.source.subspan(begin, bytes);
        for (const auto& [at, end] :
             differing_runs(original, std::span(back).subspan(begin, bytes), unit)) {
          pieces.push_back({from.tensor, bytes_of(from.dtype, segment.begin + first) + at * unit,
                            original.subspan(static_cast<size_t>(at * unit),
                                             static_cast<size_t>((end - at) * unit))});
        }
      });
    }
    position += segment.length;
  }
  writer.write(slice.ticket, pieces);
}

void apply_witnesses(const SliceView& slice, int32_t tensor, const WitnessIndex& witnesses) {
  const Transfer& transfer = slice.transfer;
  const Dtype held = transfer.inputs[0].dtype;
  const int64_t out_size = bits_of(transfer.to) / 8;
  const int64_t in_size = bits_of(held) / 8;
  std::vector<std::byte> witness;
  std::vector<std::byte> forward;
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
      cast_plain(transfer.to, witness, held, forward, overflowed);
      const int64_t first = (from - begin) / out_size;
      for (int64_t i = 0; i < count; ++i) {
        const auto current = segment.source.subspan(static_cast<size_t>((first + i) * in_size),
                                                    static_cast<size_t>(in_size));
        if (std::memcmp(current.data(), forward.data() + i * in_size,
                        static_cast<size_t>(in_size)) == 0) {
          std::memcpy(segment.result.data() + (first + i) * out_size, witness.data() + i * out_size,
                      static_cast<size_t>(out_size));
        }
      }
    }
    begin = end;
  }
}

void apply_source_codes(Dtype format, Dtype value_dtype, float scale,
                        std::span<const std::byte> values, std::span<const std::byte> source_codes,
                        std::span<std::byte> codes) {
  std::vector<std::byte> forward(values.size());
  int64_t overflowed = 0;
  block_codec().dequantize(format, source_codes, scale, value_dtype, forward, overflowed);
  // A byte of codes at a time: two elements of FP4.
  const size_t size = values.size() / codes.size();
  for (size_t i = 0; i < codes.size(); ++i) {
    if (std::memcmp(forward.data() + i * size, values.data() + i * size, size) == 0) {
      codes[i] = source_codes[i];
    }
  }
}

void apply_code_witnesses(Dtype format, Dtype value_dtype, float scale,
                          std::span<const std::byte> values, int32_t tensor, int64_t byte_begin,
                          const WitnessIndex& witnesses, std::span<std::byte> codes) {
  const int64_t byte_end = byte_begin + std::ssize(codes);
  const size_t size = values.size() / codes.size();
  std::vector<std::byte> witness;
  for (const WitnessRecord& record : witnesses.find(tensor, byte_begin, byte_end)) {
    const int64_t from = std::max(byte_begin, record.begin);
    const int64_t to = std::min(byte_end, record.begin + record.length);
    witness.resize(static_cast<size_t>(to - from));
    witnesses.read(record, from - record.begin, witness);
    const auto at = static_cast<size_t>(from - byte_begin);
    apply_source_codes(format, value_dtype, scale, values.subspan(at * size, witness.size() * size),
                       witness, codes.subspan(at, witness.size()));
  }
}

}  // namespace bridge
