// By which of a token's three positions the pairs of a head turn, written down by hand from the
// definitions of transformers (interleaved) and megatron-core (blocks).
#include "models/model/rotary_sections.h"

#include <gtest/gtest.h>

#include <vector>

namespace models {
namespace {

std::vector<int64_t> positions_of(const RotarySections& sections, int64_t pairs) {
  std::vector<int64_t> positions;
  for (int64_t pair = 0; pair < pairs; ++pair) positions.push_back(sections.position_of(pair));
  return positions;
}

// transformers: [1:3*height:3] is height's, [2:3*width:3] is width's.
TEST(RotarySections, Interleaved) {
  const std::vector<int64_t> pairs = {4, 3, 1};
  const RotarySections sections = rotary_sections(pairs, true).value();
  EXPECT_EQ(positions_of(sections, 8), (std::vector<int64_t>{0, 1, 2, 0, 1, 0, 0, 1}));
  EXPECT_TRUE(sections.fits(8));
  EXPECT_TRUE(sections.fits(5));
}

// megatron-core: split(mrope_section), one after the other.
TEST(RotarySections, InBlocks) {
  const std::vector<int64_t> pairs = {4, 3, 1};
  const RotarySections sections = rotary_sections(pairs, false).value();
  EXPECT_EQ(positions_of(sections, 8), (std::vector<int64_t>{0, 0, 0, 0, 1, 1, 1, 2}));
  EXPECT_TRUE(sections.fits(8));
  EXPECT_FALSE(sections.fits(7));
  EXPECT_FALSE(sections.fits(9));
}

TEST(RotarySections, OtherLists) {
  EXPECT_FALSE(rotary_sections({}, true));
  EXPECT_FALSE(rotary_sections({4, 4}, true));
  EXPECT_FALSE(rotary_sections({4, -1, 5}, false));
}

}  // namespace
}  // namespace models
