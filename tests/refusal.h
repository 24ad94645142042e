// What a function refuses: the code and the message of the Error that it throws.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "bridge/io/base/error.h"

namespace bridge {

// fn must throw an Error of this code whose message contains `part`. Returns the Error.
template <typename Fn>
Error expect_error(Code code, const std::string& part, Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.message();
    EXPECT_NE(e.message().find(part), std::string::npos) << e.message() << "\nwithout: " << part;
    EXPECT_EQ(e.message().find('\n'), std::string::npos) << e.message();
    return e;
  }
  ADD_FAILURE() << "no error; expected one with: " << part;
  return Error(Code::kInternal, "");
}

// The message of the Error that fn throws, which has this code if one is given; "accepted" if it
// throws none.
template <typename Fn>
std::string refusal_of(Fn&& fn, std::optional<Code> code = {}) {
  try {
    fn();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code.value_or(e.code())) << e.message();
    return e.message();
  }
  return "accepted";
}

}  // namespace bridge
