#include "bridge/convert/algebra/box.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

static_assert(std::endian::native == std::endian::little);

// An axis of what lies in the scratch memory, in elements.
struct Loop {
  int64_t count = 1;
  int64_t from = 0;  // distance of neighbours there
  int64_t to = 0;    // distance of neighbours in the output
};

// Elements that lie `stride` bytes apart, as many as a word has, the first in its lowest bytes.
template <size_t kBytes>
uint64_t word_of(const std::byte* in, int64_t stride) {
  uint64_t word = 0;
  for (size_t i = 0; i < 8 / kBytes; ++i, in += stride) {
    uint64_t element = 0;
    std::memcpy(&element, in, kBytes);
    word |= element << (8 * kBytes * i);
  }
  return word;
}

// Copies a column of a matrix, a word at a time where its rows are neighbours in the output.
template <size_t kBytes>
void copy_column(const std::byte* in, std::byte* out, const Loop& rows, int64_t count) {
  constexpr auto kElement = int64_t{kBytes};
  constexpr int64_t kWord = 8 / kElement;
  int64_t i = 0;
  if (rows.to == 1) {
    for (; i + kWord <= count; i += kWord) {
      const uint64_t word = word_of<kBytes>(in + i * rows.from * kElement, rows.from * kElement);
      std::memcpy(out + i * kElement, &word, sizeof(word));
    }
  }
  for (; i < count; ++i) {
    std::memcpy(out + i * rows.to * kElement, in + i * rows.from * kElement, kBytes);
  }
}

// Copies a matrix whose rows are neighbours in the output and whose columns are neighbours in the
// scratch memory, or nearly so. A few rows at a time keep the cache lines of both.
template <size_t kBytes>
void copy_plane(const std::byte* in, std::byte* out, const Loop& rows, const Loop& columns) {
  constexpr int64_t kRows = 32;
  constexpr auto kElement = int64_t{kBytes};
  for (int64_t row = 0; row < rows.count; row += kRows) {
    const int64_t high = std::min(kRows, rows.count - row);
    for (int64_t column = 0; column < columns.count; ++column) {
      copy_column<kBytes>(in + (row * rows.from + column * columns.from) * kElement,
                          out + (row * rows.to + column * columns.to) * kElement, rows, high);
    }
  }
}

// Loops over all but the last two of `loops`, which are a plane.
template <size_t kBytes>
void copy_loops(const std::byte* in, std::byte* out, std::span<const Loop> loops) {
  if (loops.size() == 2) return copy_plane<kBytes>(in, out, loops[0], loops[1]);
  for (int64_t i = 0; i < loops[0].count; ++i) {
    copy_loops<kBytes>(in + i * loops[0].from * int64_t{kBytes},
                       out + i * loops[0].to * int64_t{kBytes}, loops.subspan(1));
  }
}

void copy_loops(size_t element_bytes, const std::byte* in, std::byte* out,
                std::span<const Loop> loops) {
  switch (element_bytes) {
    case 1:
      return copy_loops<1>(in, out, loops);
    case 2:
      return copy_loops<2>(in, out, loops);
    case 4:
      return copy_loops<4>(in, out, loops);
    case 8:
      return copy_loops<8>(in, out, loops);
    default:
      internal_error("elements of a box without a size");
  }
}

// Puts the loop with the nearest neighbours in the output before the last, the one with the nearest
// in the scratch memory last. One loop may be both; then the other is a loop of one.
std::vector<Loop> in_planes(const std::vector<Loop>& all) {
  std::vector<Loop> loops;
  std::copy_if(all.begin(), all.end(), std::back_inserter(loops),
               [](const Loop& loop) { return loop.count > 1; });
  const auto move_last = [&](auto distance) {
    if (loops.empty()) return Loop{};
    const auto nearest =
        std::min_element(loops.begin(), loops.end(),
                         [&](const Loop& a, const Loop& b) { return a.*distance < b.*distance; });
    const Loop found = *nearest;
    loops.erase(nearest);
    return found;
  };
  const Loop rows = move_last(&Loop::to);
  const Loop columns = move_last(&Loop::from);
  loops.push_back(rows);
  loops.push_back(columns);
  return loops;
}

class Gathering {
 public:
  Gathering(const Box& box, size_t element_bytes, std::span<std::byte> scratch,
            std::span<std::byte> out, const BoxRead& read)
      : axes_(2),  // at least a stretch and rows, if only of one
        bytes_(element_bytes),
        scratch_(scratch),
        out_(out),
        read_(read) {
    axes_.insert(axes_.end(), box.axes.begin(), box.axes.end());
    most_ = std::ssize(scratch) / static_cast<int64_t>(element_bytes);
    inner_ = axes_.size();
    take_cells();
    take_whole_axes();
    if (span_ > most_) internal_error("no memory for a cell of a box");
  }

  void run() { for_each_outer(0, 0, 0); }

 private:
  BoxAxis& stretch() { return axes_[inner_ - 1]; }
  BoxAxis& rows() { return axes_[inner_ - 2]; }

  void take(int64_t first, const BoxAxis& axis) {
    within_ += first * span_;
    loops_.push_back({axis.count, span_, axis.distance});
    span_ *= axis.size;
    --inner_;
  }
  void take_cells() {
    while (inner_ > 2 && span_ * axes_[inner_ - 1].size <= kLargestCell) {
      owned_ = owned_ && axes_[inner_ - 1].first == 0;
      take(axes_[inner_ - 1].first, axes_[inner_ - 1]);
    }
  }
  void take_whole_axes() {
    while (inner_ > 2 && axes_[inner_ - 1].count == axes_[inner_ - 1].size &&
           span_ * axes_[inner_ - 1].size <= most_) {
      take(0, axes_[inner_ - 1]);
    }
  }

  // number: of the index tuple on the axes before `axis`; to: where its elements lie in the output.
  void for_each_outer(size_t axis, int64_t number, int64_t to) {
    if (axis == inner_ - 2) return gather(number, to);
    for (int64_t i = 0; i < axes_[axis].count; ++i) {
      for_each_outer(axis + 1, number * axes_[axis].size + axes_[axis].first + i,
                     to + i * axes_[axis].distance);
    }
  }

  void gather(int64_t number, int64_t to) {
    const int64_t length = std::min(stretch().count, most_ / span_);
    for (int64_t begin = 0; begin < stretch().count; begin += length) {
      const int64_t taken = std::min(length, stretch().count - begin);
      const int64_t height = std::min(rows().count, most_ / (taken * span_));
      for (int64_t row = 0; row < rows().count; row += height) {
        const int64_t high = std::min(height, rows().count - row);
        for (int64_t i = 0; i < high; ++i) {
          const int64_t row_number = number * rows().size + rows().first + row + i;
          read(((row_number * stretch().size) + stretch().first + begin) * span_, i * taken * span_,
               taken * span_);
        }
        copy(taken, high, to + begin * stretch().distance + row * rows().distance);
      }
    }
  }

  void read(int64_t begin, int64_t at, int64_t length) {
    const auto into =
        scratch_.subspan(static_cast<size_t>(at) * bytes_, static_cast<size_t>(length) * bytes_);
    read_(begin, into, owned_);
  }

  void copy(int64_t length, int64_t height, int64_t to) {
    std::vector<Loop> loops = loops_;
    loops.push_back({length, span_, stretch().distance});
    loops.push_back({height, length * span_, rows().distance});
    copy_loops(bytes_, scratch_.data() + static_cast<size_t>(within_) * bytes_,
               out_.data() + static_cast<size_t>(to) * bytes_, in_planes(loops));
  }

  std::vector<BoxAxis> axes_;
  size_t bytes_;
  std::span<std::byte> scratch_;
  std::span<std::byte> out_;
  const BoxRead& read_;
  int64_t most_ = 0;    // elements of the scratch memory
  size_t inner_ = 0;    // the axes from here on are in loops_
  int64_t span_ = 1;    // elements of these axes
  int64_t within_ = 0;  // where the box's first element lies among them
  bool owned_ = true;
  std::vector<Loop> loops_;
};

}  // namespace

void gather_box(const Box& box, size_t element_bytes, std::span<std::byte> scratch,
                std::span<std::byte> out, const BoxRead& read) {
  Gathering(box, element_bytes, scratch, out, read).run();
}

}  // namespace bridge
