// What Python's json.dumps writes beyond JSON: json.dumps({"a": [float("nan"), ...]}).
#include "bridge/io/base/json_non_finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"

namespace bridge {
namespace {

nlohmann::ordered_json parse(std::string_view text) {
  return parse_json(text, {.non_finite = true});
}

TEST(JsonNonFinite, AreNumbersWhereTheyStand) {
  const auto json = parse(R"({"a": [NaN, 0.0, Infinity,-Infinity], "NaN": "Infinity", "b": 1.5})");
  EXPECT_TRUE(std::isnan(json["a"][0].get<double>()));
  EXPECT_EQ(json["a"][1], 0.0);
  EXPECT_EQ(json["a"][2].get<double>(), HUGE_VAL);
  EXPECT_EQ(json["a"][3].get<double>(), -HUGE_VAL);
  EXPECT_EQ(json["NaN"], "Infinity");
  EXPECT_EQ(json["b"], 1.5);
  for (const char* alone : {"NaN", " NaN", "NaN\n"}) {
    EXPECT_TRUE(std::isnan(parse(alone).get<double>())) << alone;
  }
  EXPECT_EQ(parse(R"(["\"NaN", 0.000000, "a\\", Infinity])").dump(), R"(["\"NaN",0.0,"a\\",null])");
}

TEST(JsonNonFinite, OnlyAsPythonWritesThem) {
  for (const char* text :
       {"[nan]", "[1NaN]", "[NaN1]", "[NaNNaN]", "[+Infinity]", "[--Infinity]", "[- Infinity]",
        "[Infinit]", "[-NaN]", "{NaN: 1}", "[NaN", "[NaN}", "[\"NaN]", "\"\\"}) {
    EXPECT_THROW(parse(text), Error) << text;
  }
  EXPECT_THROW(parse_json("[NaN]"), Error);  // only where it is asked for
}

TEST(JsonNonFinite, AreWrittenAsTheyWere) {
  const char* text = R"({
  "a": [
    NaN,
    Infinity,
    {
      "b": -Infinity
    }
  ],
  "c": {},
  "d": [],
  "e\n\u0001é": "x\"y",
  "f": 1e-06,
  "g": true
})";
  EXPECT_EQ(dump_with_non_finite(parse(text)), text);
  const auto plain = parse(R"({"a":[1,2.5,{"b":[[],{}]}],"c":null,"é":"\u00e9"})");
  EXPECT_EQ(dump_with_non_finite(plain), plain.dump(2));
}

}  // namespace
}  // namespace bridge
