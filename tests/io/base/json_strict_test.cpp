// Tests strict JSON: events in their exact kind, refusals with their messages, and the cost of
// large input.
#include "bridge/io/base/json_strict.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "bridge/io/base/error.h"
#include "tests/growth.h"

namespace bridge {
namespace {

// Records every event as one line of text.
class Recorder : public JsonVisitor {
 public:
  void on_key(int depth, std::string_view key) override {
    log += fmt::format("{}key {} ", depth, key);
  }
  void on_null(int depth) override { log += fmt::format("{}null ", depth); }
  void on_bool(int depth, bool value) override { log += fmt::format("{}bool {} ", depth, value); }
  void on_integer(int depth, int64_t value) override {
    log += fmt::format("{}int {} ", depth, value);
  }
  void on_unsigned(int depth, uint64_t value) override {
    log += fmt::format("{}unsigned {} ", depth, value);
  }
  void on_real(int depth, double value, std::string_view text) override {
    log += fmt::format("{}real {} {} ", depth, value, text);
  }
  void on_string(int depth, std::string_view value) override {
    log += fmt::format("{}string {} ", depth, value);
  }
  void on_begin_object(int depth) override { log += fmt::format("{}{{ ", depth); }
  void on_end_object(int depth) override { log += fmt::format("{}}} ", depth); }
  void on_begin_array(int depth) override { log += fmt::format("{}[ ", depth); }
  void on_end_array(int depth) override { log += fmt::format("{}] ", depth); }
  std::string log;
};

std::string events(std::string_view text, const JsonLimits& limits = {}) {
  Recorder recorder;
  visit_json(text, recorder, limits);
  return recorder.log;
}

std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    events(text, limits);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_EQ(e.message().find('\n'), std::string::npos);
    return e.message();
  }
  return "accepted";
}

TEST(JsonStrict, EventsComeInOrderWithTheirDepth) {
  EXPECT_EQ(events(R"({"a": [1, {"b": null}], "c": true})"),
            "0{ 1key a 1[ 2int 1 2{ 3key b 3null 2} 1] 1key c 1bool true 0} ");
  EXPECT_EQ(events(" false "), "0bool false ");
}

TEST(JsonStrict, IntegersAreExact) {
  EXPECT_EQ(events("[0,-1,9223372036854775807,-9223372036854775808,9007199254740993]"),
            "0[ 1int 0 1int -1 1int 9223372036854775807 1int -9223372036854775808 "
            "1int 9007199254740993 0] ");
  EXPECT_EQ(events("[9223372036854775808,18446744073709551615]"),
            "0[ 1unsigned 9223372036854775808 1unsigned 18446744073709551615 0] ");
  // Numbers beyond 64 bits never become an integer of another value.
  EXPECT_EQ(events("18446744073709551616"), "0real 1.8446744073709552e+19 18446744073709551616 ");
  EXPECT_EQ(events("-9223372036854775809"), "0real -9.223372036854776e+18 -9223372036854775809 ");
  EXPECT_EQ(events("[-0, 0]"), "0[ 1real -0 -0 1int 0 0] ");
  EXPECT_EQ(events("[1.0, 1e2]"), "0[ 1real 1 1.0 1real 100 1e2 0] ");
}

TEST(JsonStrict, StringsAreDecoded) {
  EXPECT_EQ(events(R"("\u00e9\ud83d\ude00\n\/")"), "0string \xc3\xa9\xf0\x9f\x98\x80\n/ ");
}

TEST(JsonStrict, TreeKeepsOrderAndKinds) {
  const nlohmann::ordered_json tree =
      parse_json(R"({"z": 1, "a": {"y": [true, null, 2.5], "x": "s"}, "b": 18446744073709551615})");
  EXPECT_EQ(tree.dump(), R"({"z":1,"a":{"y":[true,null,2.5],"x":"s"},"b":18446744073709551615})");
  EXPECT_TRUE(tree["z"].is_number_integer());
  EXPECT_TRUE(tree["b"].is_number_unsigned());
  EXPECT_EQ(tree["a"]["x"], "s");
}

TEST(JsonStrict, CommentsOnlyWhereAllowed) {
  const std::string text = "// head\n{\"a\": /* x */ 1} // tail";
  EXPECT_EQ(events(text, {.allow_comments = true}), "0{ 1key a 1int 1 0} ");
  EXPECT_NE(error_of(text).find("line 1, column 1"), std::string::npos);
  EXPECT_NE(error_of("1 // \xff", {.allow_comments = true}).find("UTF-8"), std::string::npos);
}

struct BadCase {
  const char* name;
  std::string text;
  const char* message;
};

class JsonStrictBad : public testing::TestWithParam<BadCase> {};

TEST_P(JsonStrictBad, IsRefused) {
  EXPECT_NE(error_of(GetParam().text).find(GetParam().message), std::string::npos)
      << error_of(GetParam().text);
  EXPECT_THROW(parse_json(GetParam().text), Error);
}

INSTANTIATE_TEST_SUITE_P(
    Table, JsonStrictBad,
    testing::Values(
        BadCase{"Empty", "", "not JSON"},
        BadCase{"DuplicateKey", R"({"a":1,"b":2,"a":3})", "duplicate key \"a\""},
        BadCase{"DuplicateAcrossEscapes", R"({"a":1,"\u0061":3})", "duplicate key \"a\""},
        BadCase{"DuplicateEmptyKey", R"({"":1,"":1})", "duplicate key \"\""},
        BadCase{"DuplicateInNested", R"({"x":[{"k":1,"k":1}]})", "duplicate key \"k\""},
        BadCase{"DuplicateAroundNested", R"({"k":{"k":{"k":1}},"m":2,"k":1})",
                "duplicate key \"k\""},
        BadCase{"NaN", "[NaN]", "line 1, column 2"}, BadCase{"Infinity", "-Infinity", "not JSON"},
        BadCase{"RealOverflow", "1e999", "number overflow"},
        BadCase{"TrailingText", "{} x", "line 1, column 4"},
        BadCase{"TrailingComma", "{\n\"a\":1,}", "line 2, column 7"},
        BadCase{"NulByte", std::string("{}\0garbage", 10), "NUL byte"},
        BadCase{"ByteOrderMark", "\xef\xbb\xbf{}", "byte order mark"},
        BadCase{"InvalidUtf8", "{\"\xc0\xaf\":1}", "UTF-8"},
        BadCase{"SurrogateInUtf8", "\"\xed\xa0\x80\"", "UTF-8"},
        BadCase{"LoneSurrogateEscape", R"("\ud800")", "not JSON"},
        BadCase{"ControlInString", "\"\x01\"", "not JSON"},
        BadCase{"EscapesArePrintable", "\x1b[31m", "<U+001B>"},
        BadCase{"LeadingZero", "01", "not JSON"}, BadCase{"SingleQuotes", "{'a':1}", "not JSON"},
        BadCase{"Unterminated", "[1,2", "not JSON"}),
    [](const auto& test) { return test.param.name; });

TEST(JsonStrict, EqualKeysInDifferentObjectsAreFine) {
  EXPECT_EQ(events(R"([{"k":1},{"k":{"k":2}}])"),
            "0[ 1{ 2key k 2int 1 1} 1{ 2key k 2{ 3key k 3int 2 2} 1} 0] ");
}

TEST(JsonStrict, DepthLimitIsExact) {
  EXPECT_EQ(error_of("[[[0]]]", {.max_depth = 3}), "accepted");
  EXPECT_EQ(error_of("[{\"a\":[[0]]}]", {.max_depth = 3}), "JSON is nested more than 3 deep");
}

TEST(JsonStrict, SizeLimitIsExact) {
  EXPECT_EQ(error_of("[1]", {.max_bytes = 3}), "accepted");
  EXPECT_EQ(error_of("[12]", {.max_bytes = 3}), "JSON text of 4 bytes, at most 3 are accepted");
}

TEST(JsonStrict, DeepNestingIsRefusedCheaply) {
  const auto refuse = [](int bytes) {
    EXPECT_EQ(error_of(std::string(bytes, '[')), "JSON is nested more than 64 deep");
  };
  EXPECT_LT(growth_over_ten(3 << 20, refuse), kLinearGrowth);
}

TEST(JsonStrict, ManyKeysAreNotQuadratic) {
  const auto parse = [](int keys) {
    std::string text = "{";
    for (int i = 0; i < keys; ++i) text += fmt::format("\"model.layers.{}.weight\":{},", i, i);
    const nlohmann::ordered_json tree = parse_json(text + "\"last\":0}");
    EXPECT_EQ(static_cast<int>(tree.size()), keys + 1);
    EXPECT_EQ(error_of(text + "\"model.layers.77.weight\":0}"),
              "duplicate key \"model.layers.77.weight\"");
  };
  EXPECT_LT(growth_over_ten(10'000, parse), kLinearGrowth);
}

TEST(JsonQuote, EscapesAsSerdeAndPythonDo) {
  // Expected text: json.dumps(s, ensure_ascii=False) of Python 3.11.
  EXPECT_EQ(json_quote("a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9"),
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\"");
  EXPECT_EQ(json_quote(""), "\"\"");
  EXPECT_THROW(json_quote("\xff"), Error);
}

}  // namespace
}  // namespace bridge
