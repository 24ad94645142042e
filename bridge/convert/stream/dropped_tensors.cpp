#include "bridge/convert/stream/dropped_tensors.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

constexpr size_t kPiece = 64 << 10;

}  // namespace

DroppedTensors::DroppedTensors(const HfFolder& source, TensorReader& reader, SourceCrcs& crcs)
    : source_(source), reader_(reader), crcs_(crcs), a_(kPiece), b_(kPiece) {}

void DroppedTensors::keep(int32_t tensor, WitnessWriter& witnesses) {
  for_each_piece(tensor, [&](int64_t begin, std::span<const std::byte> bytes) {
    witnesses.append({tensor, begin, bytes});
  });
}

void DroppedTensors::compare(const DroppedSource& dropped) {
  for_each_piece(dropped.tensor, [&](int64_t begin, std::span<const std::byte> bytes) {
    const std::span<std::byte> other(b_.data(), bytes.size());
    reader_.read(static_cast<size_t>(dropped.equals), begin, other);
    if (!std::equal(bytes.begin(), bytes.end(), other.begin())) {
      bad_input(fmt::format("{}: differs from {}, which it should repeat ({})",
                            name(dropped.tensor), name(dropped.equals), dropped.reason),
                dropped.of_mtp
                    ? "--mtp drop converts the model without MTP (Megatron-Core's MTP layer "
                      "has no embedding and output layer of its own)"
                    : "if both are meant, the configuration should not tie them");
    }
  });
}

std::string DroppedTensors::name(int32_t tensor) const {
  return printable(source_.tensors[static_cast<size_t>(tensor)].name);
}

template <typename Fn>
void DroppedTensors::for_each_piece(int32_t index, const Fn& fn) {
  const HfTensor& tensor = source_.tensors[static_cast<size_t>(index)];
  const int64_t size = tensor.end - tensor.begin;
  for (int64_t begin = 0; begin < size; begin += static_cast<int64_t>(kPiece)) {
    const auto length = std::min(kPiece, static_cast<size_t>(size - begin));
    const std::span<std::byte> bytes(a_.data(), length);
    reader_.read(static_cast<size_t>(index), begin, bytes);
    crcs_.add(static_cast<size_t>(index), begin, static_cast<int64_t>(length), crc32(bytes));
    fn(begin, bytes);
  }
}

}  // namespace bridge
