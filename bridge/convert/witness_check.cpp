#include "bridge/convert/witness_check.h"

#include <algorithm>
#include <cstring>

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

}  // namespace

void write_witnesses(const SliceView& slice, WitnessWriter& writer) {
  std::vector<WitnessWriter::Piece> pieces;
  const Transfer& transfer = slice.transfer;
  if (transfer.from != transfer.to) {
    const int64_t size = bits_of(transfer.from) / 8;
    std::vector<std::byte> back(slice.input.size());
    int64_t overflowed = 0;
    cast_floats(transfer.to, slice.output, transfer.from, back, overflowed);
    int64_t done = 0;
    for (const Run& run : slice.runs) {
      const auto begin = static_cast<size_t>(done * size);
      const auto length = static_cast<size_t>(run.length * size);
      done += run.length;
      if (run.input == Run::kZeros) continue;
      const auto original = slice.input.subspan(begin, length);
      for (const auto& [first, last] :
           differing_runs(original, std::span(back).subspan(begin, length), size)) {
        pieces.push_back({transfer.inputs[static_cast<size_t>(run.input)],
                          (run.begin + first) * size,
                          original.subspan(static_cast<size_t>(first * size),
                                           static_cast<size_t>((last - first) * size))});
      }
    }
  }
  writer.write(slice.ticket, pieces);
}

void apply_witnesses(const SliceView& slice, int32_t tensor, const WitnessIndex& witnesses) {
  const Transfer& transfer = slice.transfer;
  const int64_t out_size = bits_of(transfer.to) / 8;
  const int64_t in_size = bits_of(transfer.from) / 8;
  const int64_t begin = slice.begin * out_size;
  const int64_t end = begin + std::ssize(slice.output);
  std::vector<std::byte> witness;
  std::vector<std::byte> forward;
  for (const WitnessRecord& record : witnesses.find(tensor, begin, end)) {
    const int64_t from = std::max(begin, record.begin);
    const int64_t to = std::min(end, record.begin + record.length);
    witness.resize(static_cast<size_t>(to - from));
    witnesses.read(record, from - record.begin, witness);
    const int64_t count = (to - from) / out_size;
    forward.resize(static_cast<size_t>(count * in_size));
    int64_t overflowed = 0;
    cast_floats(transfer.to, witness, transfer.from, forward, overflowed);
    const int64_t first = (from - begin) / out_size;
    for (int64_t i = 0; i < count; ++i) {
      const auto current = slice.input.subspan(static_cast<size_t>((first + i) * in_size),
                                               static_cast<size_t>(in_size));
      if (std::memcmp(current.data(), forward.data() + i * in_size, static_cast<size_t>(in_size)) ==
          0) {
        std::memcpy(slice.output.data() + (first + i) * out_size, witness.data() + i * out_size,
                    static_cast<size_t>(out_size));
      }
    }
  }
}

}  // namespace bridge
