#include "models/verify/option_checks.h"

#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"

namespace models {
namespace {

VerificationOptions two_checkpoints() {
  VerificationOptions options;
  options.a = "a";
  options.b = "b";
  return options;
}

// The message, "" if the options go together.
std::string refusal(const VerificationOptions& options) {
  try {
    check_together(options);
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), bridge::Code::kUsage);
    return error.message();
  }
  return "";
}

// A cap is refused where it could do nothing. "auto" may find no GPU, and then it holds.
TEST(OptionChecks, DeviceMemory) {
  VerificationOptions options = two_checkpoints();
  options.device_memory = 8 << 20;
  for (const char* const device : {"auto", "cuda", "cuda:1"}) {
    options.device = device;
    EXPECT_EQ(refusal(options), "") << device;
  }
  options.device = "cpu";
  EXPECT_EQ(refusal(options),
            "--device-memory with --device cpu: the CPU has the memory of --memory");
  options.device = "auto";
  options.mode = "train-step";
  EXPECT_EQ(refusal(options), "--device-memory with --mode train-step");
}

TEST(OptionChecks, OfTrainingSteps) {
  VerificationOptions options = two_checkpoints();
  EXPECT_EQ(refusal(options), "");
  options.fp8 = "block";
  EXPECT_EQ(refusal(options), "--fp8 is for --mode train-step");
  options.mode = "train-step";
  EXPECT_EQ(refusal(options), "");
  options.layers = "0:1";
  EXPECT_EQ(refusal(options), "--layers with --mode train-step");
}

TEST(OptionChecks, OnePrompt) {
  VerificationOptions options = two_checkpoints();
  options.prompt_length = 8;
  options.seed = 2;
  EXPECT_EQ(refusal(options), "");
  options.tokens = "1,2";
  EXPECT_EQ(refusal(options), "--prompt-length with --tokens: one of them says which tokens");
}

TEST(OptionChecks, SomethingToCompare) {
  VerificationOptions options = two_checkpoints();
  options.b.clear();
  EXPECT_EQ(refusal(options), "one checkpoint, and nothing to compare it with");
  options.reference = "recorded.safetensors";
  EXPECT_EQ(refusal(options), "");
  options.layers = "0:1";
  EXPECT_NE(refusal(options), "");
}

}  // namespace
}  // namespace models
