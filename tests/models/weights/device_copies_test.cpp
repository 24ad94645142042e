#include "models/weights/device_copies.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/models/recording_device.h"

namespace models {
namespace {

constexpr int64_t kPiece = 64;  // bytes: 16 floats

// The numbers on the device after its computing stream alone was waited for.
at::Tensor computed(RecordingDevice& recorder, const at::Tensor& there) {
  recorder.finish(RecordingDevice::kComputing);
  at::Tensor here = at::empty(there.sizes(), there.scalar_type());
  std::memcpy(here.mutable_data_ptr(), there.const_data_ptr(), there.nbytes());
  return here;
}

TEST(DeviceCopies, OneDoesNotWaitOnTheHost) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 1 << 20, kPiece);
  const at::Tensor rows = at::arange(12, at::kFloat).view({3, 4});
  const at::Tensor there = copies.copy(rows);
  EXPECT_EQ(recorder.log,
            (std::vector<std::string>{"memory of copying", "copy of copying", "event of copying",
                                      "device waits: computing", "used by computing"}));
  EXPECT_EQ(there.device(), RecordingDevice::device());
  EXPECT_EQ(there.sizes(), rows.sizes());
  EXPECT_TRUE(computed(recorder, there).equal(rows));
}

// The third piece goes through the buffer of the first, and each one but the first two waits for
// the one before the last. The computing stream waits for the last.
TEST(DeviceCopies, PiecesTakeTurns) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 1 << 20, kPiece);
  const at::Tensor rows = at::arange(70, at::kFloat);  // 4 pieces of 16 and one of 6
  const at::Tensor there = copies.copy(rows);
  std::vector<std::string> expected = {"memory of copying"};
  for (int piece = 0; piece < 5; ++piece) {
    if (piece >= 2) expected.emplace_back("host waits for copying");
    expected.insert(expected.end(), {"copy of copying", "event of copying"});
  }
  expected.insert(expected.end(), {"device waits: computing", "used by computing"});
  EXPECT_EQ(recorder.log, expected);
  EXPECT_TRUE(computed(recorder, there).equal(rows));
}

// What was given may be overwritten at once: a view reuses its memory for the next tensor.
TEST(DeviceCopies, RowsAreReadBeforeItReturns) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 1 << 20, kPiece);
  at::Tensor rows = at::full({16}, 3, at::kBFloat16);
  const at::Tensor first = copies.copy(rows);
  rows.fill_(4);
  const at::Tensor second = copies.copy(rows);
  rows.fill_(5);
  const at::Tensor third = copies.copy(rows);
  rows.fill_(6);
  EXPECT_TRUE(computed(recorder, first).eq(3).all().item<bool>());
  EXPECT_TRUE(computed(recorder, second).eq(4).all().item<bool>());
  EXPECT_TRUE(computed(recorder, third).eq(5).all().item<bool>());
}

TEST(DeviceCopies, OfEveryKind) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 1 << 20, kPiece);
  for (const at::ScalarType type : {at::kByte, at::kInt, at::kLong, at::kHalf}) {
    const at::Tensor rows = at::arange(200, at::kInt).to(type).view({10, 20});
    EXPECT_TRUE(computed(recorder, copies.copy(rows)).equal(rows)) << type;
    // A part of a matrix is not contiguous.
    const at::Tensor columns = rows.narrow(1, 3, 7);
    EXPECT_TRUE(computed(recorder, copies.copy(columns)).equal(columns)) << type;
  }
  EXPECT_EQ(copies.copy(at::empty({0, 4}, at::kFloat)).numel(), 0);
  const at::Tensor codes = at::arange(64, at::kInt).to(at::kByte).view(at::kFloat8_e4m3fn);
  EXPECT_TRUE(computed(recorder, copies.copy(codes)).view(at::kByte).equal(codes.view(at::kByte)));
}

int host_waits(const RecordingDevice& recorder) {
  return static_cast<int>(
      std::count(recorder.log.begin(), recorder.log.end(), "host waits for computing"));
}

// 64 bytes each and 200 allowed: the fourth waits for what computes with the first.
TEST(DeviceCopies, TheHostIsNotFarAhead) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 200, kPiece);
  const at::Tensor rows = at::arange(16, at::kFloat);
  for (int copy = 0; copy < 3; ++copy) copies.copy(rows);
  EXPECT_EQ(host_waits(recorder), 0);
  copies.copy(rows);
  EXPECT_EQ(host_waits(recorder), 1);
  copies.copy(rows);
  EXPECT_EQ(host_waits(recorder), 2);
}

// One copy that is larger than what is allowed waits for all others, and goes alone.
TEST(DeviceCopies, NothingIsAhead) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 0, kPiece);
  const at::Tensor rows = at::arange(40, at::kFloat);
  for (int copy = 0; copy < 3; ++copy) {
    EXPECT_TRUE(computed(recorder, copies.copy(rows)).equal(rows));
    EXPECT_EQ(host_waits(recorder), copy);
  }
}

}  // namespace
}  // namespace models
