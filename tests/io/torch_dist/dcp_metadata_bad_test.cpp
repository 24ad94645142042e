// Tests every way in which a `.metadata` can be wrong: a right one with one detail damaged, the
// code and the message.
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "bridge/io/base/error.h"
#include "bridge/io/torch_dist/dcp_metadata.h"
#include "tests/io/torch_dist/dcp_builder.h"

namespace bridge {
namespace {

void read(const std::string& bytes) {
  const TempDir dir;
  put_file(dir / ".metadata", bytes);
  MemoryBudget budget(64 << 20);
  read_dcp_metadata(*real_file_system().open_read(dir / ".metadata"), budget);
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
  MetadataSketch sketch = right_metadata();
  GetParam().spoil(sketch);
  // Tries both orders: the checks must not depend on which dict comes first.
  for (const bool storage_first : {false, true}) {
    sketch.storage_first = storage_first;
    try {
      read(sketch.pickle());
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
        Bad{"ForbiddenDtype", [](Sketch& s) { s.tensors[0].dtype = "load"; }, kBad, "torch.load"},
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

}  // namespace
}  // namespace bridge
