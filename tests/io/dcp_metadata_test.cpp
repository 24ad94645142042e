// `.metadata`: real ones, one with the classes of old torch and old planners, every way to be
// wrong, and the writer against bytes put together by an independent emitter.
#include "bridge/io/dcp_metadata.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/io/error.h"
#include "bridge/io/sha256.h"
#include "tests/io/dcp_builder.h"

namespace bridge {
namespace {

const Path kData = CAUSEWAY_DATA_DIR;

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

// Made by old_metadata.py: protocol 2, storage_data first, TensorProperties where torch 2.2 had it,
// a PosixPath, planners, an optimizer tensor of a dtype Causeway lacks and with an unsafe path.
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

// A right one: "w" [4, 6] in two halves along the inner axis, a scalar, and the common state.
MetadataSketch good() {
  MetadataSketch sketch;
  sketch.tensors = {
      {.key = "w", .shape = {4, 6}, .chunks = {{{0, 3}, {4, 3}}, {{0, 0}, {4, 3}}}},
      {.key = "s", .dtype = "bfloat16", .shape = {}, .chunks = {{{}, {}}}},
  };
  sketch.objects = {"common_state/shard_0_1", "w._extra_state/shard_0_1"};
  sketch.storage = {{.key = "w", .offsets = Shape{0, 0}, .offset = 0},
                    {.key = "w", .offsets = Shape{0, 3}, .path = "sub/b.distcp", .offset = 70},
                    {.key = "s", .offsets = Shape{}, .offset = 2000},
                    {.key = "common_state/shard_0_1", .offsets = {}, .offset = 4000},
                    {.key = "w._extra_state/shard_0_1", .offsets = {}, .offset = 4000}};
  return sketch;
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
  MetadataSketch sketch = good();
  expect_good(read_bytes(sketch.pickle()));
  sketch.storage_first = true;
  expect_good(read_bytes(sketch.pickle()));
  sketch.protocol = 2;
  expect_good(read_bytes(sketch.pickle()));
}

TEST(DcpMetadata, ChunksOfNoElementsAreTolerated) {
  MetadataSketch sketch = good();
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
  MetadataSketch sketch = good();
  // Nothing of it is looked at: not the gap, the dtype, nor the path.
  sketch.tensors.push_back(
      {.key = "optimizer.m", .dtype = "complex64", .shape = {9}, .chunks = {{{0}, {3}}}});
  sketch.storage.push_back({.key = "optimizer.m", .offsets = Shape{1}, .path = "../../x"});
  const DcpMetadata md = read_bytes(sketch.pickle());
  expect_good(md);
  EXPECT_EQ(md.dropped_tensors, 1);
}

struct Bad {
  const char* name;
  std::function<void(MetadataSketch&)> spoil;
  Code code;
  const char* message;
};

void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.name;
}

class BadMetadata : public testing::TestWithParam<Bad> {};

TEST_P(BadMetadata, IsRefused) {
  MetadataSketch sketch = good();
  GetParam().spoil(sketch);
  // In either order: the checks must not depend on what was seen first.
  for (const bool storage_first : {false, true}) {
    sketch.storage_first = storage_first;
    try {
      read_bytes(sketch.pickle());
      FAIL() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), GetParam().code) << e.what();
      EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.what();
    }
  }
}

using Sketch = MetadataSketch;
constexpr Code kBad = Code::kBadInput;

INSTANTIATE_TEST_SUITE_P(
    Handcrafted, BadMetadata,
    testing::Values(
        Bad{"ForbiddenClass", [](Sketch& s) { s.chunk_class = "Popen"; }, kBad, "Popen"},
        Bad{"ForbiddenDtype", [](Sketch& s) { s.tensors[0].dtype = "load"; }, kBad, "torch load"},
        Bad{"UnsupportedDtype", [](Sketch& s) { s.tensors[0].dtype = "complex64"; },
            Code::kUnsupported, "w: dtype torch.complex64"},
        Bad{"SubByteDtype", [](Sketch& s) { s.tensors[0].dtype = "float4_e2m1fn_x2"; },
            Code::kUnsupported, "float4_e2m1fn_x2"},
        Bad{"DtypeIsAnotherClass", [](Sketch& s) { s.tensors[0].dtype = "Size"; },
            Code::kUnsupported, "torch.Size"},
        Bad{"SparseLayout", [](Sketch& s) { s.tensors[0].layout = "torch.sparse_coo"; },
            Code::kUnsupported, "layout"},
        Bad{"NotMetadata", [](Sketch& s) { s.top_class = "StorageMeta"; }, kBad,
            "not a torch.distributed.checkpoint Metadata"},
        Bad{"NotAChunk", [](Sketch& s) { s.chunk_class = "MetadataIndex"; }, kBad,
            "not a ChunkStorageMetadata"},
        Bad{"SizeIsAnotherClass", [](Sketch& s) { s.size_class = "device"; }, kBad,
            "not a torch.Size"},
        Bad{"NoState", [](Sketch& s) { s.has_state = false; }, kBad, "state_dict_metadata"},
        Bad{"NoStorage", [](Sketch& s) { s.has_storage = false; }, kBad, "storage_data"},
        Bad{"BytesAfterTheEnd", [](Sketch& s) { s.tail = "x"; }, kBad, "STOP"},
        Bad{"Gap", [](Sketch& s) { s.tensors[0].chunks[0].sizes[1] = 2; }, kBad,
            "w: chunks leave a gap: they hold 20 of the 24"},
        Bad{"MissingChunk", [](Sketch& s) { s.tensors[0].chunks.pop_back(); }, kBad, "gap"},
        Bad{"NoChunks", [](Sketch& s) { s.tensors[0].chunks.clear(); }, kBad, "gap"},
        Bad{"Overlap", [](Sketch& s) { s.tensors[0].chunks[1].sizes[1] = 4; }, kBad,
            "chunks overlap: they hold 28"},
        Bad{"OverlapAndGap",
            [](Sketch& s) {
              s.tensors[0].chunks[0] = {{0, 2}, {4, 3}};
              s.storage[1].offsets = Shape{0, 2};
            },
            kBad, "chunks overlap: [4, 3] at [0, 0] and [4, 3] at [0, 2]"},
        Bad{"SameChunkTwice", [](Sketch& s) { s.tensors[0].chunks[0] = s.tensors[0].chunks[1]; },
            kBad, "overlap"},
        Bad{"Outside", [](Sketch& s) { s.tensors[0].chunks[0].offsets[1] = 4; }, kBad,
            "outside the tensor [4, 6]"},
        Bad{"AxesDiffer", [](Sketch& s) { s.tensors[0].chunks[0].sizes = {4}; }, kBad, "axes"},
        Bad{"TooManyAxes", [](Sketch& s) { s.tensors[0].shape = Shape(17, 1); }, kBad, "17 axes"},
        Bad{"NegativeDimension", [](Sketch& s) { s.tensors[0].shape[0] = -4; }, kBad, "-4"},
        Bad{"NegativeOffset", [](Sketch& s) { s.tensors[0].chunks[0].offsets[0] = -1; }, kBad,
            "'offsets' holds -1"},
        Bad{"HugeShape",
            [](Sketch& s) {
              s.tensors[0].shape = {INT64_MAX, INT64_MAX};
            },
            kBad, "overflow"},
        Bad{"HugeBytes", [](Sketch& s) { s.tensors[0].shape = {INT64_MAX}; }, kBad, "overflow"},
        Bad{"HugeChunk",
            [](Sketch& s) {
              s.tensors[0].chunks[0].sizes = {4, INT64_MAX};
            },
            kBad, "overflow"},
        Bad{"ChunkWithoutEntry", [](Sketch& s) { s.storage.erase(s.storage.begin()); }, kBad,
            "w: the chunk at [0, 0] has no entry"},
        Bad{"EntryWithoutChunk",
            [](Sketch& s) {
              s.storage.push_back({.key = "w", .offsets = Shape{2, 2}});
            },
            kBad, "w: storage_data has a chunk at [2, 2]"},
        Bad{"EntryAfterTheLastChunk",
            [](Sketch& s) {
              s.storage.push_back({.key = "w", .offsets = Shape{3, 3}});
            },
            kBad, "[3, 3]"},
        Bad{"EntryOfAStranger",
            [](Sketch& s) { s.storage.push_back({.key = "stranger", .offsets = Shape{0}}); }, kBad,
            "stranger: storage_data has a chunk that state_dict_metadata lacks"},
        Bad{"EntryTwice", [](Sketch& s) { s.storage.push_back(s.storage[0]); }, kBad,
            "w: storage_data has two entries for [0, 0]"},
        Bad{"EntryOfATensorWithoutOffset", [](Sketch& s) { s.storage[0].offsets.reset(); }, kBad,
            "has no entry"},
        Bad{"ObjectWithoutEntry", [](Sketch& s) { s.storage.erase(s.storage.begin() + 3); }, kBad,
            "common_state/shard_0_1: the object has no entry"},
        Bad{"EntryWithoutObject", [](Sketch& s) { s.objects.clear(); }, kBad,
            "common_state/shard_0_1: storage_data has an object"},
        Bad{"EntryOfAnObjectWithOffset", [](Sketch& s) { s.storage[3].offsets = Shape{0}; }, kBad,
            "common_state/shard_0_1: storage_data has a chunk"},
        Bad{"TensorTwice", [](Sketch& s) { s.tensors.push_back(s.tensors[0]); }, kBad,
            "w: the key occurs twice"},
        Bad{"ObjectTwice", [](Sketch& s) { s.objects.push_back(s.objects[0]); }, kBad,
            "the key occurs twice"},
        Bad{"TensorAndObject", [](Sketch& s) { s.tensors[0].key = "common_state/shard_0_1"; }, kBad,
            "common_state/shard_0_1: "},
        Bad{"ParentPath", [](Sketch& s) { s.storage[0].path = "../x"; }, kBad,
            "w: unsafe relative_path '../x'"},
        Bad{"ParentPathInside", [](Sketch& s) { s.storage[0].path = "a/../../x"; }, kBad, "unsafe"},
        Bad{"ParentPathAtTheEnd", [](Sketch& s) { s.storage[0].path = "a/.."; }, kBad, "unsafe"},
        Bad{"AbsolutePath", [](Sketch& s) { s.storage[0].path = "/etc/passwd"; }, kBad, "unsafe"},
        Bad{"EmptyPath", [](Sketch& s) { s.storage[0].path = ""; }, kBad, "unsafe"},
        Bad{"FolderPath", [](Sketch& s) { s.storage[0].path = "a/"; }, kBad, "unsafe"},
        Bad{"NulInPath", [](Sketch& s) { s.storage[0].path = std::string("a\0b", 3); }, kBad,
            "unsafe relative_path 'a\\x00b'"},
        Bad{"UnsafePathOfAnObject", [](Sketch& s) { s.storage[3].path = "../x"; }, kBad, "unsafe"},
        Bad{"NegativeItemOffset", [](Sketch& s) { s.storage[0].offset = -1; }, kBad,
            "w: field 'offset' is negative (-1)"},
        Bad{"NegativeItemLength", [](Sketch& s) { s.storage[0].length = -1; }, kBad,
            "field 'length' is negative"},
        Bad{"ItemEndOverflows", [](Sketch& s) { s.storage[0].offset = INT64_MAX; }, kBad,
            "end of the item overflows"},
        Bad{"ItemTooSmall", [](Sketch& s) { s.storage[0].length = 47; }, kBad,
            "the item of the chunk at [0, 0] has 47 bytes, its elements need 48"},
        Bad{"Compressed", [](Sketch& s) { s.storage[0].transformed = true; }, Code::kUnsupported,
            "transform_descriptors"}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(DcpMetadata, EveryTruncationIsRefused) {
  const std::string bytes = good().pickle();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(read_bytes(bytes.substr(0, size)), Error) << size;
  }
}

// 100,000 chunks of weights and a million entries of training state.
TEST(DcpMetadata, MemoryGrowsWithTheWeightsOnly) {
  std::vector<DcpTensor> tensors;
  const auto add = [&](const std::string& key, int64_t rows) {
    DcpTensor tensor{.key = key, .dtype = Dtype::kBF16, .shape = {rows, 8, 16}, .chunks = {}};
    for (int64_t row = 0; row < rows; ++row) {
      tensor.chunks.push_back({.offsets = {row, 0, 0},
                               .sizes = {1, 8, 16},
                               .file = 0,
                               .offset = row * 4096,
                               .length = 2048});
    }
    tensors.push_back(std::move(tensor));
  };
  for (int layer = 0; layer < 40; ++layer) {
    add("decoder.layers." + std::to_string(layer) + ".weight", 500);
  }
  const auto encode = [&] {
    std::string bytes;
    write_dcp_metadata({"__0_0.distcp"}, tensors, {},
                       [&](std::string_view piece) { bytes += piece; });
    return bytes;
  };
  const std::string weights = encode();
  for (int layer = 0; layer < 80; ++layer) {
    add("optimizer.state.exp_avg.decoder.layers." + std::to_string(layer) + ".weight", 500);
  }
  const std::string training = encode();
  EXPECT_GT(training.size(), 2 * weights.size());

  const auto needs = [](const std::string& bytes) {
    const TempDir dir;
    put_file(dir / ".metadata", bytes);
    int64_t low = 1 << 20;
    int64_t high = 64 << 20;
    while (high - low > 1 << 18) {
      const int64_t middle = (low + high) / 2;
      try {
        read_path(dir / ".metadata", middle);
        high = middle;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kUsage) << e.what();
        low = middle;
      }
    }
    return high;
  };
  const int64_t for_weights = needs(weights);
  EXPECT_LT(for_weights, 12 << 20);  // 20,000 chunks; so 100,000 take less than 60 MiB
  EXPECT_LT(needs(training), for_weights + (2 << 20));
}

TEST(DcpMetadata, WhatIsReservedIsWhatStays) {
  const TempDir dir;
  put_file(dir / ".metadata", good().pickle());
  MemoryBudget budget(1 << 20);
  for (int i = 0; i < 3; ++i) {
    const int64_t before = budget.used();
    read_dcp_metadata(*real_file_system().open_read(dir / ".metadata"), budget);
    EXPECT_GT(budget.used(), before);
    EXPECT_LT(budget.used(), before + 4096);
  }
  MetadataSketch bad = good();
  bad.storage.pop_back();
  bad.tensors[0].chunks.pop_back();
  put_file(dir / ".metadata", bad.pickle());
  EXPECT_THROW(read_dcp_metadata(*real_file_system().open_read(dir / ".metadata"), budget), Error);
}

TEST(DcpMetadata, WrittenAndReadBack) {
  const DcpMetadata md = read_bytes(good().pickle());
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

// More than a batch and a piece, and the same whatever the pieces.
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
