// Tests `.metadata`: real files, one with the classes of old torch and old planners, and the writer
// against bytes of an independent emitter.
#include "bridge/io/torch_dist/dcp_metadata.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "bridge/io/file/sha256.h"
#include "tests/data_dir.h"
#include "tests/io/torch_dist/dcp_builder.h"

namespace bridge {
namespace {

const Path kData = data_dir();

DcpMetadata read_path(const Path& path, int64_t memory = 64 << 20) {
  MemoryBudget budget(memory);
  return read_dcp_metadata(*real_file_system().open_read(path), budget);
}

DcpMetadata read_bytes(const std::string& bytes, int64_t memory = 64 << 20) {
  const TempDir dir;
  put_file(dir / ".metadata", bytes);
  return read_path(dir / ".metadata", memory);
}

std::vector<std::string> keys_of(const DcpMetadata& metadata) {
  std::vector<std::string> keys;
  for (const DcpTensor& tensor : metadata.tensors) keys.push_back(tensor.key);
  return keys;
}

const DcpTensor& tensor_of(const DcpMetadata& metadata, std::string_view key) {
  const auto found = std::find_if(metadata.tensors.begin(), metadata.tensors.end(),
                                  [&](const DcpTensor& tensor) { return tensor.key == key; });
  EXPECT_NE(found, metadata.tensors.end()) << key;
  return *found;
}

TEST(DcpMetadata, WhatMegatronCoreWrote) {
  const DcpMetadata md = read_path(kData / "megatron_written/dense/iter_0000000/.metadata");
  const std::vector<std::string> expected = {
      "decoder.final_layernorm.weight",
      "decoder.layers.mlp.linear_fc1.layer_norm_weight",
      "decoder.layers.mlp.linear_fc1.weight",
      "decoder.layers.mlp.linear_fc2.weight",
      "decoder.layers.self_attention.linear_proj.weight",
      "decoder.layers.self_attention.linear_qkv.bias",
      "decoder.layers.self_attention.linear_qkv.layer_norm_weight",
      "decoder.layers.self_attention.linear_qkv.weight",
      "embedding.word_embeddings.weight",
      "output_layer.weight"};
  EXPECT_EQ(keys_of(md), expected);
  EXPECT_EQ(md.files.size(), 2u);
  EXPECT_TRUE(md.objects.empty());
  EXPECT_EQ(md.dropped_objects, 12);
  EXPECT_EQ(md.dropped_tensors, 0);
  const DcpTensor& fc1 = tensor_of(md, "decoder.layers.mlp.linear_fc1.weight");
  EXPECT_EQ(fc1.dtype, Dtype::kBF16);
  EXPECT_EQ(fc1.shape, (Shape{3, 192, 64}));
  ASSERT_EQ(fc1.chunks.size(), 6u);  // gate and up halves of three layers
  EXPECT_EQ(fc1.chunks[3].offsets, (Shape{1, 96, 0}));
  EXPECT_EQ(fc1.chunks[3].sizes, (Shape{1, 96, 64}));
}

TEST(DcpMetadata, WhatTwoRanksWroteIsCutAlongInnerAxes) {
  const DcpMetadata md =
      read_path(kData / "megatron_written/dense_tp2_resave/iter_0000000/.metadata");
  const DcpTensor& proj = tensor_of(md, "decoder.layers.self_attention.linear_proj.weight");
  ASSERT_EQ(proj.chunks.size(), 6u);
  EXPECT_EQ(proj.chunks[1].offsets, (Shape{0, 0, 32}));
  EXPECT_EQ(proj.chunks[1].sizes, (Shape{1, 64, 32}));
}

TEST(DcpMetadata, WhatMegatronBridgeWroteHoldsTheCommonState) {
  const DcpMetadata md =
      read_path(kData / "bridge_written/qwen3_dense/megatron/iter_0000000/.metadata");
  ASSERT_EQ(md.objects.size(), 1u);
  EXPECT_EQ(md.objects[0].key, "common_state/shard_0_1");
  EXPECT_EQ(md.tensors.size(), 11u);
  EXPECT_EQ(md.dropped_objects, 13);
}

// old_metadata.py made this file: protocol 2, storage_data first, TensorProperties where torch 2.2
// had it, a PosixPath, planners, and an optimizer tensor with a dtype that Causeway lacks and an
// unsafe path.
TEST(DcpMetadata, OldTorchAndOldMegatron) {
  const DcpMetadata md = read_path(kData / "dcp/old_torch.metadata");
  const std::string proj_key = "decoder.layers.self_attention.linear_proj.weight";
  EXPECT_EQ(keys_of(md), (std::vector<std::string>{proj_key, "scale"}));
  EXPECT_EQ(md.dropped_tensors, 1);
  EXPECT_EQ(md.dropped_objects, 2);
  EXPECT_EQ(md.files, (std::vector<std::string>{"__0_0.distcp", "__1_0.distcp"}));
  const DcpTensor& proj = md.tensors[0];
  EXPECT_EQ(proj.dtype, Dtype::kBF16);
  ASSERT_EQ(proj.chunks.size(), 4u);
  EXPECT_EQ(proj.chunks[3].offsets, (Shape{1, 0, 2}));
  EXPECT_EQ(proj.chunks[3].file, 1);
  EXPECT_EQ(proj.chunks[3].offset, 1300);
  EXPECT_EQ(proj.chunks[3].length, 1400);
  EXPECT_TRUE(md.tensors[1].shape.empty());
  EXPECT_EQ(md.tensors[1].chunks.at(0).offset, 5000);
}

void expect_good(const DcpMetadata& md) {
  EXPECT_EQ(keys_of(md), (std::vector<std::string>{"s", "w"}));
  ASSERT_EQ(md.tensors[1].chunks.size(), 2u);
  EXPECT_EQ(md.tensors[1].chunks[0].offsets, (Shape{0, 0}));
  const DcpChunk& second = md.tensors[1].chunks[1];
  EXPECT_EQ(md.files.at(static_cast<size_t>(second.file)), "sub/b.distcp");
  EXPECT_EQ(second.offset, 70);
  ASSERT_EQ(md.objects.size(), 1u);
  EXPECT_EQ(md.objects[0].offset, 4000);
  EXPECT_EQ(md.dropped_objects, 1);
}

TEST(DcpMetadata, TheOrderOfTheDictsAndTheProtocolDoNotMatter) {
  MetadataSketch sketch = right_metadata();
  expect_good(read_bytes(sketch.pickle()));
  sketch.storage_first = true;
  expect_good(read_bytes(sketch.pickle()));
  sketch.protocol = 2;
  expect_good(read_bytes(sketch.pickle()));
}

TEST(DcpMetadata, ChunksOfNoElementsAreTolerated) {
  MetadataSketch sketch = right_metadata();
  sketch.tensors[0].chunks.push_back({{0, 3}, {0, 3}});  // shares the entry of a real one
  sketch.tensors[0].chunks.push_back({{4, 0}, {0, 6}});  // has one of its own
  sketch.storage.push_back({.key = "w", .offsets = Shape{4, 0}, .length = 10});
  sketch.tensors[0].chunks.push_back({{2, 6}, {1, 0}});  // has none
  expect_good(read_bytes(sketch.pickle()));
  sketch.tensors.push_back({.key = "x", .shape = {0, 3}, .chunks = {{{0, 0}, {0, 3}}}});
  EXPECT_TRUE(tensor_of(read_bytes(sketch.pickle()), "x").chunks.empty());
}

TEST(DcpMetadata, TrainingStateIsDropped) {
  for (const char* key : {"optimizer.state.exp_avg.decoder.layers.mlp.linear_fc1.weight",
                          "chained_0.optimizer.x", "chained_12.x", "rng_state/shard_0.0_1.1",
                          "opt_param_scheduler", "rerun_state_machine_state/shard_0_1"}) {
    EXPECT_TRUE(is_training_state(key)) << key;
  }
  for (const char* key :
       {"decoder.layers.optimizer.weight", "chained_.x", "chained_1", "chained_x.y",
        "embedding.word_embeddings.weight", "common_state/shard_0_1", ""}) {
    EXPECT_FALSE(is_training_state(key)) << key;
  }
  MetadataSketch sketch = right_metadata();
  // The reader ignores all of it: the gap, the dtype and the path.
  sketch.tensors.push_back(
      {.key = "optimizer.m", .dtype = "complex64", .shape = {9}, .chunks = {{{0}, {3}}}});
  sketch.storage.push_back({.key = "optimizer.m", .offsets = Shape{1}, .path = "../../x"});
  const DcpMetadata md = read_bytes(sketch.pickle());
  expect_good(md);
  EXPECT_EQ(md.dropped_tensors, 1);
}

TEST(DcpMetadata, EveryTruncationIsRefused) {
  const std::string bytes = right_metadata().pickle();
  const TempDir dir;
  put_file(dir / ".metadata", bytes);
  for (size_t size = bytes.size(); size-- > 0;) {
    std::filesystem::resize_file(dir / ".metadata", size);
    EXPECT_THROW(read_path(dir / ".metadata"), Error) << size;
  }
}

// Three quarters of what Adam saves is training state; it may cost only the memory of the largest
// tensor, once.
TEST(DcpMetadata, MemoryGrowsWithTheWeightsOnly) {
  std::vector<DcpTensor> tensors;
  const auto encode = [&](const std::string& prefix, int copies) {
    for (int copy = 0; copy < copies; ++copy) {
      for (int layer = 0; layer < 10; ++layer) {
        DcpTensor tensor{.key = prefix + std::to_string(copy) + "." + std::to_string(layer),
                         .dtype = Dtype::kBF16,
                         .shape = {400, 8, 16},
                         .chunks = {}};
        for (int64_t row = 0; row < 400; ++row) {
          tensor.chunks.push_back({.offsets = {row, 0, 0},
                                   .sizes = {1, 8, 16},
                                   .file = 0,
                                   .offset = row * 4096,
                                   .length = 2048});
        }
        tensors.push_back(std::move(tensor));
      }
    }
    std::string bytes;
    write_dcp_metadata({"__0_0.distcp"}, tensors, {},
                       [&](std::string_view piece) { bytes += piece; });
    return bytes;
  };
  const std::string weights = encode("w", 1);
  const std::string training = encode("optimizer.state", 3);
  constexpr int64_t kEnough = 2560 << 10;  // for 4,000 chunks: 640 bytes each
  EXPECT_EQ(read_bytes(weights, kEnough).tensors.size(), 10u);
  EXPECT_EQ(read_bytes(training, kEnough).dropped_tensors, 30);
  EXPECT_THROW(read_bytes(weights, kEnough / 2), Error);
}

TEST(DcpMetadata, WhatIsReservedIsWhatStays) {
  const TempDir dir;
  put_file(dir / ".metadata", right_metadata().pickle());
  MemoryBudget budget(1 << 20);
  for (int i = 0; i < 3; ++i) {
    const int64_t before = budget.used();
    read_dcp_metadata(*real_file_system().open_read(dir / ".metadata"), budget);
    EXPECT_GT(budget.used(), before);
    EXPECT_LT(budget.used(), before + 4096);
  }
  MetadataSketch bad = right_metadata();
  bad.storage.pop_back();
  bad.tensors[0].chunks.pop_back();
  put_file(dir / ".metadata", bad.pickle());
  EXPECT_THROW(read_dcp_metadata(*real_file_system().open_read(dir / ".metadata"), budget), Error);
}

TEST(DcpMetadata, WrittenAndReadBack) {
  const DcpMetadata md = read_bytes(right_metadata().pickle());
  std::string bytes;
  int pieces = 0;
  const auto out = [&](std::string_view piece) {
    bytes += piece;
    ++pieces;
  };
  write_dcp_metadata(md.files, md.tensors, md.objects, out);
  EXPECT_EQ(pieces, 1);
  const DcpMetadata again = read_bytes(bytes);
  EXPECT_EQ(again.tensors.at(1).chunks.at(1).offset, 70);
  EXPECT_EQ(again.objects.at(0).offset, 4000);
}

// torch.distributed.checkpoint.FileSystemReader (2.11) has read these bytes, field by field. They
// differ from those of an independent emitter in Python only in how 1-tuples and memo entries are
// spelled.
TEST(DcpMetadata, BytesThatTorchHasRead) {
  DcpTensor fc1{.key = "decoder.layers.mlp.linear_fc1.weight",
                .dtype = Dtype::kBF16,
                .shape = {2, 300, 70000},
                .chunks = {}};
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int32_t half = 0; half < 2; ++half) {
      fc1.chunks.push_back({.offsets = {layer, half * 150, 0},
                            .sizes = {1, 150, 70000},
                            .file = half,
                            .offset = layer * (int64_t{5} << 30),
                            .length = 21000900});
    }
  }
  const DcpTensor scalar{.key = "decoder.layers.0.mlp.router.expert_bias",
                         .dtype = Dtype::kF32,
                         .shape = {},
                         .chunks = {{{}, {}, 0, 255, 65536}}};
  const DcpTensor fp8{.key = "cl\xc3\xa9",
                      .dtype = Dtype::kF8E4M3,
                      .shape = {4, 5, 6, 7},
                      .chunks = {{{0, 0, 0, 0}, {4, 5, 6, 7}, 1, 0, 256}}};
  const std::vector<DcpObject> objects = {
      {"decoder.layers.mlp.linear_fc1._extra_state/shard_0_2", 0, 77, 500},
      {"decoder.layers.mlp.linear_fc1._extra_state/shard_1_2", 0, 77, 500}};
  Sha256 hash;
  int64_t size = 0;
  write_dcp_metadata({"__0_0.distcp", "__0_1.distcp"}, {fc1, scalar, fp8}, objects,
                     [&](std::string_view piece) {
                       hash.add(piece);
                       size += std::ssize(piece);
                     });
  EXPECT_EQ(size, 2493);
  EXPECT_EQ(hash.hex(), "36465c8637acce641f04411f7a6a5b1451d4b9cdb0785dfe5a24fa516712c570");
}

// Writes more than a batch and a piece; the bytes do not depend on the pieces.
TEST(DcpMetadata, WritesInBatchesAndPieces) {
  DcpTensor tensor{.key = "w", .dtype = Dtype::kF8E4M3, .shape = {2500, 3}, .chunks = {}};
  for (int64_t row = 0; row < 2500; ++row) {
    tensor.chunks.push_back(
        {.offsets = {row, 0}, .sizes = {1, 3}, .file = 1, .offset = row << 30, .length = 1000});
  }
  std::string bytes;
  size_t longest = 0;
  write_dcp_metadata({"a", "b"}, {tensor}, {{.key = "x", .file = 0, .offset = 1, .length = 2}},
                     [&](std::string_view piece) {
                       bytes += piece;
                       longest = std::max(longest, piece.size());
                     });
  EXPECT_LT(longest, 70000u);
  const DcpMetadata md = read_bytes(bytes);
  ASSERT_EQ(md.tensors.at(0).chunks.size(), 2500u);
  EXPECT_EQ(md.tensors[0].chunks[2499].offset, int64_t{2499} << 30);
  EXPECT_EQ(md.tensors[0].dtype, Dtype::kF8E4M3);
  EXPECT_EQ(md.dropped_objects, 1);
}

}  // namespace
}  // namespace bridge
