// The arithmetic of chunks against the obvious way: lists of elements.
#include "bridge/io/torch_dist/dcp_geometry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

DcpChunk box(Shape offsets, Shape sizes) {
  return {.offsets = std::move(offsets),
          .sizes = std::move(sizes),
          .file = 0,
          .offset = 0,
          .length = 0};
}

// Indices in the tensor of the chunk's elements, in the chunk's order.
std::vector<int64_t> elements(const Shape& shape, const DcpChunk& chunk) {
  std::vector<int64_t> indices = {0};
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    std::vector<int64_t> next;
    for (const int64_t index : indices) {
      for (int64_t i = 0; i < chunk.sizes[axis]; ++i) {
        next.push_back(index * shape[axis] + chunk.offsets[axis] + i);
      }
    }
    indices = std::move(next);
  }
  return indices;
}

bool tiles(const Shape& shape, const std::vector<DcpChunk>& chunks) {
  std::vector<int> seen(static_cast<size_t>(element_count(shape)), 0);
  for (const DcpChunk& chunk : chunks) {
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (chunk.offsets[axis] + chunk.sizes[axis] > shape[axis]) return false;
    }
    for (const int64_t index : elements(shape, chunk)) ++seen[static_cast<size_t>(index)];
  }
  return std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; });
}

bool passes(const Shape& shape, const std::vector<DcpChunk>& chunks) {
  try {
    check_tiling(shape, chunks);
    return true;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    return false;
  }
}

class RandomTilings : public testing::TestWithParam<unsigned> {
 protected:
  std::mt19937 random_{GetParam()};

  int64_t pick(int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random_);
  }

  // Cuts the box at random until it is small or luck ends.
  void cut(const DcpChunk& whole, std::vector<DcpChunk>& out) {
    const auto axis = static_cast<size_t>(pick(0, static_cast<int64_t>(whole.sizes.size()) - 1));
    if (whole.sizes[axis] < 2 || pick(0, 4) == 0) {
      out.push_back(whole);
      return;
    }
    const int64_t at = pick(1, whole.sizes[axis] - 1);
    DcpChunk low = whole;
    DcpChunk high = whole;
    low.sizes[axis] = at;
    high.offsets[axis] += at;
    high.sizes[axis] -= at;
    cut(low, out);
    cut(high, out);
  }
};

TEST_P(RandomTilings, AgreeWithListsOfElements) {
  Shape shape;
  for (int64_t axes = pick(1, 4); axes > 0; --axes) shape.push_back(pick(1, 6));
  std::vector<DcpChunk> chunks;
  cut(box(Shape(shape.size(), 0), shape), chunks);
  ASSERT_TRUE(tiles(shape, chunks));
  EXPECT_TRUE(passes(shape, chunks));

  for (const DcpChunk& chunk : chunks) {
    const std::vector<int64_t> indices = elements(shape, chunk);
    EXPECT_EQ(first_element(shape, chunk), indices.front());
    EXPECT_EQ(element_span(shape, chunk), indices.back() - indices.front() + 1);
    for (size_t i = 0; i < indices.size(); ++i) {
      EXPECT_EQ(element_index(shape, chunk, static_cast<int64_t>(i)), indices[i]);
    }
    for (int64_t limit = 0; limit <= element_count(shape); ++limit) {
      EXPECT_EQ(
          elements_before(shape, chunk, limit),
          std::count_if(indices.begin(), indices.end(), [&](int64_t i) { return i < limit; }));
    }
    // Every run is contiguous, and the next one does not follow on (else the run is too short).
    const int64_t run = run_length(shape, chunk);
    ASSERT_EQ(element_count(chunk.sizes) % run, 0);
    for (size_t i = 1; i < indices.size(); ++i) {
      const bool starts_run = static_cast<int64_t>(i) % run == 0;
      if (!starts_run) {
        EXPECT_EQ(indices[i], indices[i - 1] + 1);
      }
    }
    const auto end_of_run = static_cast<size_t>(run);
    if (end_of_run < indices.size()) {
      EXPECT_GT(indices[end_of_run], indices[end_of_run - 1] + 1);
    }
  }

  // One number changed: still right only if it is by the obvious way as well.
  for (int i = 0; i < 50; ++i) {
    std::vector<DcpChunk> changed = chunks;
    DcpChunk& chunk =
        changed[static_cast<size_t>(pick(0, static_cast<int64_t>(changed.size()) - 1))];
    const auto axis = static_cast<size_t>(pick(0, static_cast<int64_t>(shape.size()) - 1));
    (pick(0, 1) == 0 ? chunk.offsets : chunk.sizes)[axis] = pick(1, shape[axis]);
    EXPECT_EQ(passes(shape, changed), tiles(shape, changed));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTilings, testing::Range(0u, 60u));

TEST(DcpGeometry, APinwheelHasNoCutThroughIt) {
  EXPECT_TRUE(passes({3, 3}, {box({0, 0}, {1, 2}), box({0, 2}, {2, 1}), box({1, 0}, {2, 1}),
                              box({1, 1}, {1, 1}), box({2, 1}, {1, 2})}));
}

TEST(DcpGeometry, AnOverlapThatAGapOfTheSameSizeHides) {
  EXPECT_FALSE(passes({2, 4}, {box({0, 0}, {1, 4}), box({1, 0}, {1, 3}), box({1, 2}, {1, 1})}));
}

TEST(DcpGeometry, ScalarsAndEmptyTensors) {
  EXPECT_TRUE(passes({}, {box({}, {})}));
  EXPECT_FALSE(passes({}, {}));
  EXPECT_FALSE(passes({}, {box({}, {}), box({}, {})}));
  EXPECT_TRUE(passes({0, 5}, {}));
  EXPECT_EQ(elements_before({}, box({}, {}), 0), 0);
  EXPECT_EQ(elements_before({}, box({}, {}), 1), 1);
  EXPECT_EQ(run_length({}, box({}, {})), 1);
}

// Sizes of real stacked experts: quick, whichever axis they are cut along.
TEST(DcpGeometry, ThousandsOfChunksAreCheckedByASweep) {
  const Shape shape = {94, 128, 3072, 4096};
  std::vector<DcpChunk> chunks;
  for (int64_t layer = 0; layer < 94; ++layer) {
    for (int64_t expert = 0; expert < 128; ++expert) {
      chunks.push_back(box({layer, expert, 0, 0}, {1, 1, 1536, 4096}));
      chunks.push_back(box({layer, expert, 1536, 0}, {1, 1, 1536, 4096}));
    }
  }
  EXPECT_TRUE(passes(shape, chunks));
  chunks[5000].offsets[1] = 3;
  EXPECT_FALSE(passes(shape, chunks));
}

TEST(DcpGeometry, HostileSizes) {
  const int64_t big = INT64_MAX;
  EXPECT_FALSE(passes({4}, {box({big}, {4})}));
  EXPECT_FALSE(passes({4}, {box({0}, {big})}));
  EXPECT_FALSE(passes({big, big}, {box({0, 0}, {big, big})}));
  EXPECT_FALSE(passes({4}, {box({0, 0}, {4, 1})}));
  EXPECT_FALSE(passes({4}, {box({0}, {})}));
}

}  // namespace
}  // namespace bridge
