// Parts of a report as texts, and the verdict of all parts.
#include "models/verify/report_merge.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TensorDifference tensor(const std::string& name, double largest = 0.5) {
  return {name, "1 of 4 values differ", largest};
}

std::vector<std::string> names(const std::vector<TensorDifference>& found) {
  std::vector<std::string> names;
  for (const TensorDifference& one : found) names.push_back(one.name);
  return names;
}

StateDifference state(const std::string& name, double number) {
  StateDifference made;
  made.name = name;
  made.identical = false;
  made.largest = number;
  made.mean = number / 3;
  made.judged = number / 7;
  made.allowed = number / 11;
  return made;
}

HeadDifference head(const std::string& name, double number) {
  HeadDifference made;
  static_cast<StateDifference&>(made) = state(name, number);
  made.rows = 12;
  made.top1 = 11;
  made.top5 = 10;
  made.divergence = number / 13;
  return made;
}

ReportPart part() {
  ReportPart made;
  made.tensors.compared = 7;
  made.tensors.seconds = 0.1;
  made.tensors.differences = {tensor("layers.0.q"), tensor("layers.0.k", kNan)};
  made.tensors.rounded = {tensor("layers.1.q", kInfinity)};
  made.tensors.permutations = {"experts of layer 1 are permuted: 0->1, 1->0"};
  made.forward.states = {state("hidden.0", 0.1), state("hidden.1", kNan), state("h", -kInfinity)};
  made.forward.heads = {head("logits", 1e-300), head("mtp_logits.0", 0.3)};
  made.forward.coverage = {5, {{"layers.1", 3, 8}}};
  made.forward.layer_by_layer = true;
  made.forward.seconds = 0.2;
  made.process = {{"rank", 1}};
  return made;
}

bool same_bits(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

void expect_same(const StateDifference& a, const StateDifference& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.identical, b.identical);
  EXPECT_TRUE(same_bits(a.largest, b.largest)) << a.largest << " " << b.largest;
  EXPECT_TRUE(same_bits(a.mean, b.mean)) << a.mean << " " << b.mean;
  EXPECT_TRUE(same_bits(a.judged, b.judged)) << a.judged << " " << b.judged;
  EXPECT_TRUE(same_bits(a.allowed, b.allowed)) << a.allowed << " " << b.allowed;
}

TEST(ReportMerge, TextKeepsEveryBit) {
  const ReportPart made = part();
  ReportPart read;
  ASSERT_TRUE(parse_part(part_text(made, "abc"), "abc", read));
  EXPECT_EQ(read.tensors.compared, 7);
  EXPECT_TRUE(same_bits(read.tensors.seconds, 0.1));
  EXPECT_EQ(names(read.tensors.differences), names(made.tensors.differences));
  EXPECT_EQ(read.tensors.differences[0].what, "1 of 4 values differ");
  EXPECT_TRUE(std::isnan(read.tensors.differences[1].largest));
  EXPECT_EQ(read.tensors.rounded[0].largest, kInfinity);
  EXPECT_EQ(read.tensors.permutations, made.tensors.permutations);
  ASSERT_EQ(read.forward.states.size(), made.forward.states.size());
  for (size_t i = 0; i < made.forward.states.size(); ++i) {
    expect_same(read.forward.states[i], made.forward.states[i]);
  }
  ASSERT_EQ(read.forward.heads.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    expect_same(read.forward.heads[i], made.forward.heads[i]);
    EXPECT_EQ(read.forward.heads[i].rows, 12);
    EXPECT_EQ(read.forward.heads[i].top1, 11);
    EXPECT_EQ(read.forward.heads[i].top5, 10);
    EXPECT_TRUE(same_bits(read.forward.heads[i].divergence, made.forward.heads[i].divergence));
  }
  EXPECT_EQ(read.forward.coverage.embedding_rows, 5);
  ASSERT_EQ(read.forward.coverage.experts.size(), 1U);
  EXPECT_EQ(read.forward.coverage.experts[0].layer, "layers.1");
  EXPECT_EQ(read.forward.coverage.experts[0].routed, 3);
  EXPECT_EQ(read.forward.coverage.experts[0].count, 8);
  EXPECT_TRUE(read.forward.layer_by_layer);
  EXPECT_EQ(read.process, made.process);
}

TEST(ReportMerge, PartOfAnotherLaunchIsNone) {
  ReportPart read;
  EXPECT_FALSE(parse_part(part_text(part(), "abc"), "abd", read));
  EXPECT_TRUE(read.forward.states.empty());
}

TEST(ReportMerge, OtherTextsAreRefused) {
  for (const char* text : {"", "{}", "[]", "{\"launch\": \"abc\"}", "{\"launch\": 3}",
                           "{\"launch\": \"abc\", \"tensors\": {\"compared\": \"x\"}}"}) {
    ReportPart read;
    EXPECT_THROW(parse_part(text, "abc", read), bridge::Error) << text;
  }
}

TEST(ReportMerge, PartsFollowEachOther) {
  ReportPart all = part();
  ReportPart next = part();
  next.tensors.compared = 3;
  next.tensors.seconds = 4;
  next.forward.seconds = 0.1;
  next.forward.coverage = {99, {{"mtp.0", 1, 8}}};
  next.forward.states = {state("hidden.2", 1)};
  next.forward.heads.clear();
  merge_part(all, next);
  EXPECT_EQ(all.tensors.compared, 10);
  EXPECT_EQ(all.tensors.seconds, 4);
  EXPECT_EQ(all.forward.seconds, 0.2);
  EXPECT_EQ(all.tensors.differences.size(), 4U);
  EXPECT_EQ(all.tensors.permutations.size(), 2U);
  EXPECT_EQ(all.forward.states.back().name, "hidden.2");
  EXPECT_EQ(all.forward.heads.size(), 2U);
  EXPECT_EQ(all.forward.coverage.embedding_rows, 5) << "those of the prompt, which rank 0 reads";
  EXPECT_EQ(all.forward.coverage.experts.back().layer, "mtp.0");
  EXPECT_EQ(all.forward.not_comparable, "");
  next.forward.not_comparable = "MTP depths: 1 and 2";
  merge_part(all, next);
  EXPECT_EQ(all.forward.not_comparable, "MTP depths: 1 and 2");
}

TEST(ReportMerge, FoundInTheOrderOfOneProcess) {
  const ModelConfig a = mixed_config();
  ModelConfig b = a;
  b.layers.push_back(b.layers[0]);
  TensorVerdict found;
  // As of rank 0, which has what a side holds twice, then of rank 1.
  for (const char* name : {"embedding", "layers.0.o", "model.copy.b", "model.copy.a", "layers.4.q",
                           "layers.4.k", "layers.3.o", "final_norm", "output"}) {
    found.differences.push_back(tensor(name));
  }
  found.rounded = {tensor("output"), tensor("layers.2.router")};
  sort_found(found, a, b);
  EXPECT_EQ(
      names(found.differences),
      (std::vector<std::string>{"embedding", "layers.0.o", "layers.3.o", "final_norm", "output",
                                "layers.4.k", "layers.4.q", "model.copy.b", "model.copy.a"}));
  EXPECT_EQ(names(found.rounded), (std::vector<std::string>{"layers.2.router", "output"}));
}

}  // namespace
}  // namespace models
