// Scalars of run_config.yaml: which are numbers, which are text.
#include "bridge/io/base/yaml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace bridge {
namespace {

nlohmann::ordered_json value(const std::string& text) {
  return read_yaml_section("model:\n  x: " + text + "\n", "model")["x"];
}

// As PyYAML writes and reads them, in its three capitalizations.
TEST(Yaml, NumbersThatAreNotFinite) {
  for (const char* text : {".inf", ".Inf", ".INF", "+.inf"}) {
    ASSERT_TRUE(value(text).is_number_float()) << text;
    EXPECT_EQ(value(text).get<double>(), INFINITY) << text;
  }
  EXPECT_EQ(value("-.inf").get<double>(), -INFINITY);
  for (const char* text : {".nan", ".NaN", ".NAN"}) {
    ASSERT_TRUE(value(text).is_number_float()) << text;
    EXPECT_TRUE(std::isnan(value(text).get<double>())) << text;
  }
  for (const char* text : {"inf", "nan", ".infinity", "-.nan", "'.inf'", "\".nan\""}) {
    EXPECT_TRUE(value(text).is_string()) << text;
  }
}

TEST(Yaml, OtherScalars) {
  EXPECT_EQ(value("1.0e-06").get<double>(), 1e-6);
  EXPECT_EQ(value("12").get<int64_t>(), 12);
  EXPECT_EQ(value("~"), nullptr);
  EXPECT_EQ(value("True"), true);
  EXPECT_EQ(value("rope"), "rope");
}

}  // namespace
}  // namespace bridge
