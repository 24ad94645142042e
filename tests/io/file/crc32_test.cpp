#include "bridge/io/file/crc32.h"

#include <gtest/gtest.h>

#include <string_view>

namespace bridge {
namespace {

uint32_t crc_of(std::string_view text, uint32_t seed = 0) {
  return crc32(std::as_bytes(std::span(text)), seed);
}

// The check value of CRC-32/ISO-HDLC.
TEST(Crc32, IsThatOfZip) {
  EXPECT_EQ(crc_of("123456789"), 0xcbf43926U);
}

TEST(Crc32, GoesOnFromASeed) {
  EXPECT_EQ(crc_of("6789", crc_of("12345")), 0xcbf43926U);
  EXPECT_EQ(crc32_combine(crc_of("12345"), crc_of("6789"), 4), 0xcbf43926U);
}

// An empty string_view has no buffer, an empty literal has one.
TEST(Crc32, OfNothingIsTheSeed) {
  EXPECT_EQ(crc_of({}), 0U);
  EXPECT_EQ(crc_of({}, 0xcbf43926U), 0xcbf43926U);
  EXPECT_EQ(crc_of("", 0xcbf43926U), 0xcbf43926U);
}

}  // namespace
}  // namespace bridge
