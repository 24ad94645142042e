// Settings that config.json lacks: the view of Hugging Face checkpoints takes what transformers'
// configuration class takes (data/hf_defaults.json, which a test of tests/interop compares with the
// classes).
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "models/hf/config.h"
#include "tests/data_dir.h"

namespace models {
namespace {

std::string description(const Settings::Json& config) {
  std::string lines;
  for (const auto& [name, value] : describe(hf_model_config(Settings("config.json", config)))) {
    lines += name + " " + value + "\n";
  }
  return lines;
}

TEST(HfDefaults, AreThoseOfTheClass) {
  const auto all = Settings::Json::parse(std::ifstream(data_dir() + "/hf_defaults.json"));
  ASSERT_EQ(all.size(), 34);
  for (const auto& [name, entry] : all.items()) {
    if (name == "nemotron_h") continue;  // it has no forward pass
    const std::string expected = description(entry["config"]);
    Settings::Json none = entry["config"];
    for (const std::string key : entry["defaults"]) {
      Settings::Json config = entry["config"];
      ASSERT_EQ(config.erase(key), 1) << name << ": " << key;
      none.erase(key);
      EXPECT_EQ(description(config), expected) << name << " without " << key;
    }
    EXPECT_EQ(description(none), expected) << name << " with its sizes alone";
  }
}

}  // namespace
}  // namespace models
