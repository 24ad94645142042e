// RangeCrc: any order of parts gives the CRC of the whole, which zlib computes here.
#include "bridge/io/file/range_crc.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

using Gaps = std::vector<std::pair<int64_t, int64_t>>;

uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

TEST(RangeCrc, AnyOrder) {
  const std::string data = "the quick brown fox jumps over the lazy dog";
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::pair<size_t, size_t>> parts;
    for (size_t begin = 0; begin < data.size();) {
      const size_t length = std::min<size_t>(1 + random() % 9, data.size() - begin);
      parts.emplace_back(begin, length);
      begin += length;
    }
    std::shuffle(parts.begin(), parts.end(), random);
    RangeCrc crc(std::ssize(data));
    for (const auto& [begin, length] : parts) {
      EXPECT_FALSE(crc.complete());
      crc.add(static_cast<int64_t>(begin), static_cast<int64_t>(length),
              crc_of(std::string_view(data).substr(begin, length)));
    }
    ASSERT_TRUE(crc.complete());
    EXPECT_EQ(crc.value(), crc_of(data));
  }
}

TEST(RangeCrc, CheckValue) {
  RangeCrc crc(9);
  crc.add(4, 5, crc_of("56789"));
  crc.add(0, 4, crc_of("1234"));
  EXPECT_EQ(crc.value(), 0xcbf43926u);  // the check value of CRC-32, ISO 3309
}

TEST(RangeCrc, GapsAndCover) {
  RangeCrc crc(10);
  using Gap = std::pair<int64_t, int64_t>;
  EXPECT_EQ(crc.first_gap(0, 10), Gap(0, 10));
  crc.add(2, 3, 1);
  crc.add(7, 1, 2);
  EXPECT_EQ(crc.first_gap(0, 10), Gap(0, 2));
  EXPECT_EQ(crc.first_gap(1, 5), Gap(1, 1));
  EXPECT_EQ(crc.first_gap(2, 8), Gap(5, 2));
  EXPECT_EQ(crc.first_gap(3, 3), Gap(5, 1));
  EXPECT_EQ(crc.first_gap(7, 3), Gap(8, 2));
  EXPECT_EQ(crc.first_gap(2, 3), std::nullopt);
  EXPECT_EQ(crc.first_gap(7, 1), std::nullopt);
  EXPECT_TRUE(crc.covers(2, 3));
  EXPECT_TRUE(crc.covers(3, 1));
  EXPECT_TRUE(crc.covers(9, 0));
  EXPECT_FALSE(crc.covers(2, 4));
  EXPECT_FALSE(crc.covers(1, 2));
  EXPECT_FALSE(crc.covers(4, 4));
}

TEST(RangeCrc, RepeatedPartIsIgnored) {
  RangeCrc crc(4);
  crc.add(0, 4, 77);
  crc.add(1, 2, 5);
  EXPECT_EQ(crc.value(), 77u);
}

TEST(RangeCrc, EmptyRangeIsComplete) {
  const RangeCrc crc(0);
  EXPECT_TRUE(crc.complete());
  EXPECT_EQ(crc.value(), 0u);
  EXPECT_EQ(crc.first_gap(0, 0), std::nullopt);
}

TEST(RangeCrc, FitsWhatIsInsideAndNew) {
  RangeCrc crc(10);
  crc.add(4, 2, 1);
  EXPECT_TRUE(crc.fits({0, 4, 0}));
  EXPECT_TRUE(crc.fits({6, 4, 0}));
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const auto& [offset, length] :
       Gaps{{3, 2}, {5, 1}, {0, 10}, {6, 5}, {-1, 1}, {0, 0}, {1, kMost}, {kMost, 1}}) {
    EXPECT_FALSE(crc.fits({offset, length, 0})) << offset;
  }
  ASSERT_EQ(crc.parts().size(), 1U);
  EXPECT_EQ(crc.parts()[0].offset, 4);
}

TEST(RangeCrc, MisuseIsOurBug) {
  RangeCrc crc(10);
  crc.add(4, 4, 1);
  for (const auto& [offset, length] : Gaps{{3, 2}, {7, 2}, {2, 8}, {8, 3}, {-1, 1}}) {
    try {
      crc.add(offset, length, 0);
      ADD_FAILURE() << offset;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInternal);
    }
  }
  EXPECT_THROW(crc.value(), Error);
}

}  // namespace
}  // namespace bridge
