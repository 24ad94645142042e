#include "models/weights/read_ahead.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "bridge/io/base/error.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

constexpr TensorId kGate{Role::kGate, Section::kLayer, 0};
constexpr TensorId kUp{Role::kUp, Section::kLayer, 0};

// Counts its reads, and notices two at once. `refuses`: every read is refused.
class CountedReads : public MadeWeights {
 public:
  CountedReads() : MadeWeights(mixed_config()) {}

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    EXPECT_EQ(users_++, 0);
    ++reads;
    at::Tensor read = MadeWeights::rows(id, begin, end);
    --users_;
    if (refuses) bridge::bad_input("cut short");
    return read;
  }

  std::atomic<int> reads = 0;
  std::atomic<bool> refuses = false;

 private:
  std::atomic<int> users_ = 0;
};

bool equal(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.eq(b).all().item<bool>();
}

TEST(ReadAhead, GivesWhatItRead) {
  CountedReads weights;
  MadeWeights expected(mixed_config());
  ReadAhead ahead(weights, true);
  for (int64_t row = 0; row + 3 <= 9; row += 3) {
    ahead.start({kGate, row, row + 3});
    EXPECT_TRUE(ahead.started().has_value());
    EXPECT_TRUE(equal(ahead.rows(kGate, row, row + 3), expected.rows(kGate, row, row + 3)));
    EXPECT_FALSE(ahead.started().has_value());
  }
  EXPECT_EQ(weights.reads, 3);
}

TEST(ReadAhead, KeepsItWhileOthersAreRead) {
  CountedReads weights;
  MadeWeights expected(mixed_config());
  ReadAhead ahead(weights, true);
  ahead.start({kGate, 0, 9});
  ahead.start({kUp, 0, 9});  // there is one already
  EXPECT_EQ(ahead.shape(kUp), expected.shape(kUp));
  EXPECT_TRUE(equal(ahead.rows(kUp, 0, 9), expected.rows(kUp, 0, 9)));
  EXPECT_TRUE(equal(ahead.rows(kGate, 0, 8), expected.rows(kGate, 0, 8)));
  EXPECT_EQ(weights.reads, 3);
  EXPECT_TRUE(equal(ahead.rows(kGate, 0, 9), expected.rows(kGate, 0, 9)));
  EXPECT_EQ(weights.reads, 3);
  EXPECT_TRUE(equal(ahead.rows(kGate, 0, 9), expected.rows(kGate, 0, 9)));
  EXPECT_EQ(weights.reads, 4);
}

TEST(ReadAhead, AnErrorIsThrownWhereTheBlockIsAskedFor) {
  CountedReads weights;
  ReadAhead ahead(weights, true);
  weights.refuses = true;
  ahead.start({kGate, 0, 9});
  EXPECT_NO_THROW(ahead.shape(kGate));
  weights.refuses = false;
  EXPECT_NO_THROW(ahead.rows(kUp, 0, 9));
  EXPECT_THROW(ahead.rows(kGate, 0, 9), bridge::Error);
  EXPECT_NO_THROW(ahead.rows(kGate, 0, 9));
}

TEST(ReadAhead, AnErrorOfWhatIsGivenUpIsNotThrown) {
  CountedReads weights;
  weights.refuses = true;
  ReadAhead ahead(weights, true);
  ahead.start({kGate, 0, 9});
  ahead.give_up();
  weights.refuses = false;
  EXPECT_FALSE(ahead.started().has_value());
  EXPECT_NO_THROW(ahead.rows(kGate, 0, 9));
  ahead.start({kGate, 0, 9});  // is read while `ahead` ends
}

TEST(ReadAhead, ReadsNothingWithoutAThread) {
  CountedReads weights;
  ReadAhead ahead(weights, false);
  ahead.start({kGate, 0, 9});
  EXPECT_FALSE(ahead.started().has_value());
  EXPECT_EQ(weights.reads, 0);
  EXPECT_NO_THROW(ahead.rows(kGate, 0, 9));
}

}  // namespace
}  // namespace models
