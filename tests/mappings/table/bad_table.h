// Tables that must be refused, made from a good one by replacing a piece of its text.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "mappings/table/table.h"

namespace mappings {

struct BadTable {
  const char* name;
  const char* from;  // text of the good table
  const char* to;
  const char* message;
};

inline void expect_refused(std::string text, const BadTable& bad) {
  const size_t at = text.find(bad.from);
  ASSERT_NE(at, std::string::npos) << bad.from;
  text.replace(at, std::string(bad.from).size(), bad.to);
  try {
    parse_table(text, "bad.jsonc");
    FAIL() << "accepted";
  } catch (const bridge::Error& e) {
    EXPECT_EQ(e.code(), bridge::Code::kBadInput);
    EXPECT_TRUE(e.message().starts_with("bad.jsonc: ")) << e.message();
    EXPECT_NE(e.message().find(bad.message), std::string::npos) << e.message();
  }
}

}  // namespace mappings
