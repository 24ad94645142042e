// What a training step runs on: shapes, offsets, and the two formats of files.
#include "models/train/batch.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/hf/safetensors.h"
#include "models/weights/tensor_bytes.h"
#include "tests/refusal.h"
#include "tests/temp_dir.h"

namespace models {
namespace {

at::Tensor numbers(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values));
}

BatchTensors given() {
  BatchTensors tensors;
  tensors.input_ids = numbers({5, 6, 7, 8, 9}).unsqueeze(0);
  return tensors;
}

TEST(Batch, OfTokensAlone) {
  const Batch batch = batch_of(given());
  EXPECT_EQ(batch.ids.sizes(), at::IntArrayRef({1, 5}));
  EXPECT_TRUE(batch.offsets.empty());
  EXPECT_FALSE(batch.positions.defined());
  EXPECT_FALSE(batch.left_out.defined());
  EXPECT_TRUE(batch.targets.labels.equal(numbers({6, 7, 8, 9, 0}).unsqueeze(0)));
}

TEST(Batch, Packed) {
  BatchTensors tensors = given();
  tensors.cu_seqlens = numbers({0, 3, 5}).to(at::kInt);
  tensors.position_ids =
      at::stack({numbers({0, 1, 2, 0, 1}), numbers({0, 1, 2, 0, 1}), numbers({0, 1, 2, 0, 1})})
          .unsqueeze(1);
  tensors.padding_mask = numbers({0, 0, 1, 0, 0});
  const Batch batch = batch_of(tensors);
  EXPECT_EQ(batch.offsets, (Offsets{0, 3, 5}));
  EXPECT_TRUE(batch.positions.equal(numbers({0, 1, 2, 0, 1})));
  EXPECT_EQ(batch.left_out.scalar_type(), at::kBool);
  EXPECT_EQ(batch.targets.mask.sum().item<double>(), 3);
}

TEST(Batch, ThreePositionsThatDiffer) {
  BatchTensors tensors = given();
  const at::Tensor three =
      at::stack({numbers({0, 1, 2, 2, 3}), numbers({0, 1, 2, 3, 3}), numbers({0, 1, 2, 2, 4})});
  tensors.position_ids = three.unsqueeze(1);
  EXPECT_TRUE(batch_of(tensors).positions.equal(three));
}

// The offsets in the row are the padded ones; the others say where padding begins.
TEST(Batch, Padded) {
  BatchTensors tensors;
  tensors.input_ids = numbers({5, 6, 0, 0, 7, 8, 9, 0});
  tensors.cu_seqlens = numbers({0, 2, 5});
  tensors.cu_seqlens_padded = numbers({0, 4, 8});
  const Batch batch = batch_of(tensors);
  EXPECT_EQ(batch.offsets, (Offsets{0, 4, 8}));
  EXPECT_TRUE(
      batch.targets.mask.to(at::kLong).equal(numbers({1, 0, 0, 0, 1, 1, 0, 0}).unsqueeze(0)));
}

TEST(Batch, WhatIsRefused) {
  struct Case {
    std::function<void(BatchTensors&)> change;
    bridge::Code code;
    const char* what;
  };
  const std::vector<Case> cases = {
      {[](BatchTensors& b) { b.input_ids = at::Tensor(); }, bridge::Code::kBadInput,
       "input_ids: missing"},
      {[](BatchTensors& b) { b.input_ids = numbers({}); }, bridge::Code::kBadInput, "no tokens"},
      {[](BatchTensors& b) { b.input_ids = b.input_ids.to(at::kFloat); }, bridge::Code::kBadInput,
       "input_ids: integers"},
      {[](BatchTensors& b) {
         b.input_ids = numbers({1, 2, 3, 4}).view({2, 2});
       },
       bridge::Code::kUsage, "2 prompts"},
      {[](BatchTensors& b) {
         b.labels = numbers({1, 2});
       },
       bridge::Code::kBadInput, "labels: shape [2]"},
      {[](BatchTensors& b) {
         b.loss_mask = numbers({1, 2});
       },
       bridge::Code::kBadInput, "loss_mask: shape [2]"},
      {[](BatchTensors& b) {
         b.loss_mask = numbers({0, 1, 2, 3, 4}).to(at::kFloat).log();
       },
       bridge::Code::kBadInput, "loss_mask: a number that is not finite"},
      {[](BatchTensors& b) {
         b.cu_seqlens = numbers({0, 3});
       },
       bridge::Code::kBadInput, "cu_seqlens: sequence 0 ends at 3, but there are 5 tokens"},
      {[](BatchTensors& b) { b.cu_seqlens = numbers({}); }, bridge::Code::kBadInput,
       "cu_seqlens: the offsets"},
      {[](BatchTensors& b) {
         b.cu_seqlens_padded = numbers({0, 5});
       },
       bridge::Code::kBadInput, "cu_seqlens is missing"},
      {[](BatchTensors& b) {
         b.cu_seqlens = numbers({0, 4, 5});
         b.cu_seqlens_padded = numbers({0, 3, 5});
       },
       bridge::Code::kBadInput, "sequence 0 has 4 tokens, and 3 with padding"},
      {[](BatchTensors& b) {
         b.cu_seqlens = numbers({0, 2});
         b.cu_seqlens_padded = numbers({0, 3, 5});
       },
       bridge::Code::kBadInput, "2 offsets, cu_seqlens_padded has 3"},
      {[](BatchTensors& b) {
         b.cu_seqlens = numbers({1, 5});
         b.cu_seqlens_padded = numbers({0, 5});
       },
       bridge::Code::kBadInput, "cu_seqlens: the offsets"},
      {[](BatchTensors& b) {
         b.position_ids = numbers({0, 1, -1, 2, 3});
       },
       bridge::Code::kBadInput, "a negative position"},
      {[](BatchTensors& b) {
         b.position_ids = numbers({0, 1}).view({2, 1, 1});
       },
       bridge::Code::kBadInput, "neither one section nor three"},
      {[](BatchTensors& b) {
         b.position_ids = at::stack({numbers({0, 1, 2, 3, 4}), numbers({0, 1, 2, 3, 4}),
                                     numbers({0, -1, 2, 3, 4})})
                              .unsqueeze(1);
       },
       bridge::Code::kBadInput, "a negative position"},
      {[](BatchTensors& b) { b.padding_mask = numbers({1}); }, bridge::Code::kBadInput,
       "padding_mask: shape [1]"},
  };
  for (const Case& one : cases) {
    BatchTensors tensors = given();
    one.change(tensors);
    bridge::expect_error(one.code, one.what, [&] { batch_of(tensors); });
  }
}

class BatchFile : public testing::Test {
 protected:
  bridge::Path write(const std::string& content) {
    const bridge::Path path = folder_.path() / "batch";
    if (fs_.stat(path)) fs_.remove_file(path);
    bridge::write_whole_file(fs_, path, content);
    return path;
  }

  BatchTensors read(const bridge::Path& path) {
    bridge::MemoryBudget budget(1 << 24);
    return read_batch(fs_, path, budget);
  }

  void expect_refused(const std::string& content, const std::string& what) {
    bridge::expect_error(bridge::Code::kBadInput, what, [&] { read(write(content)); });
  }

  bridge::FileSystem& fs_ = bridge::real_file_system();
  bridge::TempDir folder_;
};

TEST_F(BatchFile, Json) {
  const bridge::Path path = write(
      R"( {"input_ids": [[5, 6, 7]], "labels": [6, -100, 0], "loss_mask": [1, 0.5, 0],
           "cu_seqlens": [0, 3], "padding_mask": [false, true, false]})");
  EXPECT_TRUE(holds_batch(fs_, path));
  const BatchTensors found = read(path);
  EXPECT_TRUE(found.input_ids.equal(numbers({5, 6, 7}).unsqueeze(0)));
  EXPECT_TRUE(found.labels.equal(numbers({6, -100, 0})));
  EXPECT_EQ(found.loss_mask.scalar_type(), at::kFloat);
  EXPECT_TRUE(found.padding_mask.equal(numbers({0, 1, 0})));
  EXPECT_FALSE(found.position_ids.defined());
}

TEST_F(BatchFile, JsonThatIsRefused) {
  expect_refused(R"({"input_ids": 5})", "input_ids: a list of numbers");
  expect_refused(R"({"input_ids": []})", "input_ids: an empty list");
  expect_refused(R"({"input_ids": [[]]})", "input_ids: an empty list");
  expect_refused(R"({"input_ids": [[1, 2], [3]]})", "input_ids: lists of different lengths");
  expect_refused(R"({"input_ids": [1, [2]]})", "input_ids: a list of numbers");
  expect_refused(R"({"input_ids": [9007199254740994]})", "input_ids: a number beyond 2^53");
  expect_refused(R"({"input_ids": ["1"]})", "input_ids: a list of numbers");
  expect_refused(R"({"input_ids": [1], "tokens": [1]})", "tokens: no tensor of a batch");
  expect_refused(R"({"input_ids": [1])", "batch");
}

TEST_F(BatchFile, Safetensors) {
  std::vector<bridge::SafetensorsEntry> entries = {
      {"cu_seqlens", bridge::Dtype::kI32, {2}, 0, 8},
      {"input_ids", bridge::Dtype::kI64, {1, 2}, 8, 24},
      {"padding_mask", bridge::Dtype::kBool, {1, 2}, 24, 26}};
  const std::string header = bridge::make_safetensors_header(entries, {});
  std::string payload;
  for (at::Tensor tensor :
       {numbers({0, 2}).to(at::kInt), numbers({5, 6}), numbers({0, 1}).to(at::kBool)}) {
    const std::span<std::byte> bytes = bytes_of(tensor);
    payload.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  const bridge::Path path = write(header + payload);
  EXPECT_TRUE(holds_batch(fs_, path));
  const BatchTensors found = read(path);
  EXPECT_TRUE(found.input_ids.equal(numbers({5, 6}).unsqueeze(0)));
  EXPECT_TRUE(found.cu_seqlens.equal(numbers({0, 2}).to(at::kInt)));
  EXPECT_TRUE(found.padding_mask.equal(numbers({0, 1}).to(at::kBool).unsqueeze(0)));
  entries[0].name = "starts";
  expect_refused(bridge::make_safetensors_header(entries, {}) + payload,
                 "starts: no tensor of a batch");
}

TEST_F(BatchFile, TextIsAnotherFormat) {
  EXPECT_FALSE(holds_batch(fs_, write("1,2,3\n")));
  EXPECT_FALSE(holds_batch(fs_, write("1 2")));
  EXPECT_FALSE(holds_batch(fs_, write("")));
}

}  // namespace
}  // namespace models
