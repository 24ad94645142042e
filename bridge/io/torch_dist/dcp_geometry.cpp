#include "bridge/io/torch_dist/dcp_geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

// The number of pairs to compare before giving up. Every real layout (grids of layers, experts and
// ranks) needs far fewer, and a hostile one must not keep the program busy for hours.
constexpr int64_t kMostPairs = int64_t{1} << 31;

std::string box_text(const DcpChunk& chunk) {
  return fmt::format("{} at {}", shape_text(chunk.sizes), shape_text(chunk.offsets));
}

bool overlap(const DcpChunk& a, const DcpChunk& b) {
  for (size_t axis = 0; axis < a.offsets.size(); ++axis) {
    if (a.offsets[axis] + a.sizes[axis] <= b.offsets[axis]) return false;
    if (b.offsets[axis] + b.sizes[axis] <= a.offsets[axis]) return false;
  }
  return true;
}

// The number of pairs of chunks that a sweep along this axis would compare.
int64_t sweep_pairs(const std::vector<DcpChunk>& chunks, size_t axis) {
  std::vector<int64_t> begins;
  std::vector<int64_t> ends;
  begins.reserve(chunks.size());
  ends.reserve(chunks.size());
  for (const DcpChunk& chunk : chunks) {
    begins.push_back(chunk.offsets[axis]);
    ends.push_back(chunk.offsets[axis] + chunk.sizes[axis]);
  }
  std::sort(begins.begin(), begins.end());
  std::sort(ends.begin(), ends.end());
  int64_t pairs = 0;
  size_t closed = 0;
  for (size_t opened = 0; opened < begins.size(); ++opened) {
    while (closed < ends.size() && ends[closed] <= begins[opened]) ++closed;
    pairs += static_cast<int64_t>(opened - closed);  // n chunks: at most n * n / 2, n < 2^31
  }
  return pairs;
}

// Compares each chunk with those that are open when it starts, along the axis that keeps the fewest
// open.
void check_disjoint(const Shape& shape, const std::vector<DcpChunk>& chunks) {
  // Fewer than two chunks cannot overlap; only then can the tensor have no axes.
  if (chunks.size() < 2) return;
  size_t best_axis = 0;
  int64_t best_pairs = INT64_MAX;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int64_t pairs = sweep_pairs(chunks, axis);
    if (pairs < best_pairs) {
      best_pairs = pairs;
      best_axis = axis;
    }
  }
  if (best_pairs > kMostPairs) {
    unsupported(
        fmt::format("{} chunks that cut the tensor too irregularly to be checked", chunks.size()));
  }
  std::vector<size_t> order(chunks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return chunks[a].offsets[best_axis] < chunks[b].offsets[best_axis];
  });
  std::vector<size_t> open;
  for (const size_t next : order) {
    const DcpChunk& chunk = chunks[next];
    std::erase_if(open, [&](size_t other) {
      return chunks[other].offsets[best_axis] + chunks[other].sizes[best_axis] <=
             chunk.offsets[best_axis];
    });
    for (const size_t other : open) {
      if (overlap(chunks[other], chunk)) {
        bad_input(
            fmt::format("chunks overlap: {} and {}", box_text(chunks[other]), box_text(chunk)));
      }
    }
    open.push_back(next);
  }
}

}  // namespace

void check_tiling(const Shape& shape, const std::vector<DcpChunk>& chunks) {
  const int64_t total = element_count(shape);
  int64_t covered = 0;
  for (const DcpChunk& chunk : chunks) {
    if (chunk.offsets.size() != shape.size() || chunk.sizes.size() != shape.size()) {
      bad_input(fmt::format("chunk {} has not the {} axes of the tensor {}", box_text(chunk),
                            shape.size(), shape_text(shape)));
    }
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (checked_add(chunk.offsets[axis], chunk.sizes[axis], "end of a chunk") > shape[axis]) {
        bad_input(fmt::format("chunk {} reaches outside the tensor {}", box_text(chunk),
                              shape_text(shape)));
      }
    }
    covered = checked_add(covered, element_count(chunk.sizes), "elements of the chunks");
  }
  if (covered < total) {
    bad_input(fmt::format("chunks leave a gap: they hold {} of the {} elements of {}", covered,
                          total, shape_text(shape)));
  }
  if (covered > total) {
    bad_input(fmt::format("chunks overlap: they hold {} elements, the tensor {} has {}", covered,
                          shape_text(shape), total));
  }
  check_disjoint(shape, chunks);
}

int64_t first_element(const Shape& shape, const DcpChunk& chunk) {
  int64_t index = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    index = index * shape[axis] + chunk.offsets[axis];
  }
  return index;
}

int64_t element_span(const Shape& shape, const DcpChunk& chunk) {
  int64_t last = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    last = last * shape[axis] + chunk.sizes[axis] - 1;
  }
  return last + 1;
}

int64_t elements_before(const Shape& shape, const DcpChunk& chunk, int64_t limit) {
  int64_t tensor_inner = element_count(shape);
  int64_t chunk_inner = element_count(chunk.sizes);
  if (limit >= tensor_inner) return chunk_inner;
  // Walks down the axes as long as the chunk holds elements with the same leading coordinates as
  // limit.
  int64_t count = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    tensor_inner /= shape[axis];
    chunk_inner /= chunk.sizes[axis];
    const int64_t inside = limit / tensor_inner - chunk.offsets[axis];
    limit %= tensor_inner;
    if (inside < 0) return count;
    if (inside >= chunk.sizes[axis]) return count + chunk.sizes[axis] * chunk_inner;
    count += inside * chunk_inner;
  }
  return count;
}

int64_t run_length(const Shape& shape, const DcpChunk& chunk) {
  int64_t run = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    run *= chunk.sizes[axis];
    if (chunk.sizes[axis] != shape[axis]) break;
  }
  return run;
}

int64_t element_index(const Shape& shape, const DcpChunk& chunk, int64_t element) {
  int64_t index = 0;
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    index += (element % chunk.sizes[axis] + chunk.offsets[axis]) * stride;
    element /= chunk.sizes[axis];
    stride *= shape[axis];
  }
  return index;
}

}  // namespace bridge
