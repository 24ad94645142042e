// Hugging Face folders: real ones, those of the cache, and everything that must not be taken for
// one.
#include "bridge/io/hf/hf_folder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>

#include "bridge/io/base/error.h"
#include "tests/data_dir.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

// A safetensors file of U8 tensors with one byte each.
std::string shard(const std::vector<std::string>& names) {
  std::string json = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    json += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})",
                        i ? "," : "", names[i], i, i + 1);
  }
  json += "}";
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(json.size() >> (8 * i) & 0xff);
  return length + json + std::string(names.size(), 'x');
}

std::string index(const std::vector<std::pair<std::string, std::string>>& map) {
  std::string json = R"({"metadata":{"total_size":3,"x":[{"weight_map":"y"}]},"weight_map":{)";
  for (size_t i = 0; i < map.size(); ++i) {
    json += fmt::format(R"({}"{}":"{}")", i ? "," : "", map[i].first, map[i].second);
  }
  return json + "}}";
}

// Two shards, three tensors and their index.
void make_sharded(const Path& dir) {
  put_file(dir / "config.json", "{}");
  put_file(dir / "m-1.safetensors", shard({"c", "a"}));
  put_file(dir / "m-2.safetensors", shard({"b"}));
  put_file(dir / kIndex,
           index({{"a", "m-1.safetensors"}, {"b", "m-2.safetensors"}, {"c", "m-1.safetensors"}}));
}

void make_single(const Path& dir) {
  put_file(dir / "config.json", "{}");
  put_file(dir / "model.safetensors", shard({"a"}));
}

// The cache's form of make_single: cache/models--o--n with one snapshot.
Path make_cache(const Path& dir) {
  const Path model = dir / "models--o--n";
  put_file(model / "refs/main", "abc123");
  put_file(model / "blobs/h1", "{}");
  put_file(model / "blobs/h2", shard({"a"}));
  put_file(model / "blobs/h3", "side");
  const Path snapshot = model / "snapshots/abc123";
  stdfs::create_directories(snapshot / "figures");
  stdfs::create_symlink("../../blobs/h1", snapshot / "config.json");
  stdfs::create_symlink("../../blobs/h2", snapshot / "model.safetensors");
  stdfs::create_symlink("../../../blobs/h3", snapshot / "figures/a.png");
  return model;
}

std::string names(const std::vector<HfSideFile>& files) {
  std::string text;
  for (const HfSideFile& file : files) text += fmt::format("{}:{} ", file.name, file.size);
  return text;
}

class HfFolderTest : public testing::Test {
 protected:
  HfFolder open(const Path& path) { return open_hf_folder(real_file_system(), path, budget_); }
  HfFolder open_reference(const Path& path) {
    return open_hf_reference(real_file_system(), path, budget_);
  }
  bool looks(const Path& path) { return looks_like_hf_folder(real_file_system(), path); }

  TempDir dir_;
  MemoryBudget budget_{64 << 20};
};

TEST_F(HfFolderTest, ShardedFolder) {
  make_sharded(dir_.path());
  const HfFolder folder = open(dir_.path());
  EXPECT_TRUE(folder.has_index);
  EXPECT_EQ(folder.path, dir_.path());
  ASSERT_EQ(folder.shards.size(), 2u);
  EXPECT_EQ(folder.shards[1].name, "m-2.safetensors");
  EXPECT_EQ(folder.shards[1].file_size, 8 + 53 + 1);
  EXPECT_EQ(folder.shards[1].payload_offset, 8 + 53);
  ASSERT_EQ(folder.tensors.size(), 3u);
  EXPECT_EQ(folder.tensors[0].name, "a");
  EXPECT_EQ(folder.tensors[0].shard, 0);
  EXPECT_EQ(folder.tensors[0].begin, 1);
  EXPECT_EQ(folder.tensors[1].name, "b");
  EXPECT_EQ(folder.tensors[1].shard, 1);
  EXPECT_EQ(folder.find("c"), &folder.tensors[2]);
  EXPECT_EQ(folder.find("bb"), nullptr);
  EXPECT_EQ(folder.find("z"), nullptr);
  EXPECT_EQ(folder.total_bytes, 3);
  EXPECT_EQ(names(folder.side_files),
            fmt::format("config.json:2 {}:{} ", kIndex, stdfs::file_size(dir_ / kIndex)));
  EXPECT_TRUE(looks(dir_.path()));
}

TEST_F(HfFolderTest, SingleFile) {
  make_single(dir_.path());
  const HfFolder folder = open(dir_.path());
  EXPECT_FALSE(folder.has_index);
  ASSERT_EQ(folder.tensors.size(), 1u);
  EXPECT_TRUE(looks(dir_.path()));
}

TEST_F(HfFolderTest, IndexMayListModelSafetensors) {
  make_single(dir_.path());
  put_file(dir_ / kIndex, index({{"a", "model.safetensors"}}));
  EXPECT_TRUE(open(dir_.path()).has_index);
}

TEST_F(HfFolderTest, SideFilesAreEverythingElseButWeights) {
  make_sharded(dir_.path());
  put_file(dir_ / ".gitattributes", "12");
  put_file(dir_ / "original/consolidated.00.pth", "123");
  put_file(dir_ / "a/b/c/deep.txt", "1");
  put_file(dir_ / "a/b/c/d/deeper.txt", "1");
  put_file(dir_ / "stray.safetensors", "not looked into");
  put_file(dir_ / "training_args.bin", "");
  put_file(dir_ / "with space \xc3\xa9.txt", "1");
  put_file(dir_ / ".git/config", "1");
  put_file(dir_ / "sub/.cache/x", "1");
  put_file(dir_ / "limit", "");
  stdfs::resize_file(dir_ / "limit", 64 << 20);
  for (const char* name : {"big.gguf", "big.json"}) {
    put_file(dir_ / name, "");
    stdfs::resize_file(dir_ / name, (64 << 20) + 1);
  }
  const HfFolder folder = open(dir_.path());
  EXPECT_EQ(names(folder.side_files),
            fmt::format(".gitattributes:2 a/b/c/deep.txt:1 config.json:2 limit:67108864 {}:{} "
                        "training_args.bin:0 with space \xc3\xa9.txt:1 ",
                        kIndex, stdfs::file_size(dir_ / kIndex)));
  EXPECT_EQ(names(folder.other_weights),
            "big.gguf:67108865 original/consolidated.00.pth:3 stray.safetensors:15 ");
  EXPECT_EQ(names(folder.large_side_files), "big.json:67108865 a/b/c/d/:0 ");
}

TEST_F(HfFolderTest, WeightsByNameAndCompany) {
  make_single(dir_.path());
  for (const char* name :
       {"adapter_model.safetensors", "adapter_config.json", "consolidated.safetensors",
        "params.json", "original/params.json", "onnx/model.onnx", "onnx/model.onnx_data",
        "tf_model.h5", "flax_model.msgpack", "pytorch_model.bin", "rng_state.pth", "optimizer.pt",
        "M.GGUF", "tokenizer.model", "pytorch_model.bin.index.json", "original/tokenizer.model"}) {
    put_file(dir_ / name, "1");
  }
  const HfFolder folder = open(dir_.path());
  ASSERT_EQ(folder.shards.size(), 1u);
  EXPECT_EQ(folder.shards[0].name, "model.safetensors");
  EXPECT_EQ(names(folder.side_files),
            "config.json:2 original/params.json:1 original/tokenizer.model:1 "
            "pytorch_model.bin.index.json:1 tokenizer.model:1 ");
  EXPECT_EQ(names(folder.other_weights),
            "M.GGUF:1 adapter_config.json:1 adapter_model.safetensors:1 consolidated.safetensors:1 "
            "flax_model.msgpack:1 onnx/model.onnx:1 onnx/model.onnx_data:1 optimizer.pt:1 "
            "params.json:1 pytorch_model.bin:1 rng_state.pth:1 tf_model.h5:1 ");
}

TEST_F(HfFolderTest, FilesMayBeSymlinks) {
  put_file(dir_ / "store/weights", shard({"a"}));
  put_file(dir_ / "hf/config.json", "{}");
  put_file(dir_ / "store/merges", "12345");
  stdfs::create_directory(dir_ / "hf/sub");
  stdfs::create_symlink("../store/weights", dir_ / "hf/model.safetensors");
  stdfs::create_symlink("config.json", dir_ / "hf/again.json");
  stdfs::create_symlink(dir_ / "store/merges", dir_ / "hf/sub/merges.txt");
  stdfs::create_directory_symlink("hf", dir_ / "link");
  for (const Path& path : {dir_ / "hf", dir_ / "link"}) {
    const HfFolder folder = open(path);
    EXPECT_EQ(folder.tensors.size(), 1u);
    EXPECT_EQ(names(folder.side_files), "again.json:2 config.json:2 sub/merges.txt:5 ");
    ASSERT_EQ(folder.links_out.size(), 2u);
    EXPECT_EQ(folder.links_out[0].name, "model.safetensors");
    EXPECT_EQ(folder.links_out[0].target, dir_ / "store/weights");
    EXPECT_EQ(folder.links_out[1].name, "sub/merges.txt");
    EXPECT_EQ(folder.links_out[1].target, dir_ / "store/merges");
  }
}

TEST_F(HfFolderTest, FolderItselfMayBeASymlink) {
  make_single(dir_ / "real");
  stdfs::create_directory_symlink("real", dir_ / "link");
  EXPECT_EQ(open(dir_ / "link").tensors.size(), 1u);
  EXPECT_EQ(open(dir_ / "link/").tensors.size(), 1u);
}

TEST_F(HfFolderTest, CacheModelAndSnapshot) {
  const Path model = make_cache(dir_.path());
  for (const Path& path : {model, model / "snapshots/abc123"}) {
    const HfFolder folder = open(path);
    EXPECT_EQ(folder.path, model / "snapshots/abc123");
    EXPECT_EQ(folder.tensors.size(), 1u);
    EXPECT_EQ(names(folder.side_files), "config.json:2 figures/a.png:4 ");
    EXPECT_TRUE(looks(path));
  }
  put_file(model / "refs/main", "abc123\n");
  EXPECT_EQ(open(model).tensors.size(), 1u);
}

TEST_F(HfFolderTest, SnapshotReachedThroughASymlink) {
  make_cache(dir_.path());
  stdfs::create_directory_symlink("models--o--n/snapshots/abc123", dir_ / "mine");
  EXPECT_EQ(open(dir_ / "mine").tensors.size(), 1u);
}

TEST_F(HfFolderTest, LooksLikeIsNotFooled) {
  EXPECT_FALSE(looks(dir_ / "absent"));
  EXPECT_FALSE(looks(dir_.path()));
  put_file(dir_ / "model.safetensors", "");
  EXPECT_FALSE(looks(dir_.path()));
  EXPECT_FALSE(looks(dir_ / "model.safetensors"));
  put_file(dir_ / "megatron/metadata.json", "{}");
  put_file(dir_ / "megatron/.metadata", "");
  EXPECT_FALSE(looks(dir_ / "megatron"));
  put_file(dir_ / "config_only/config.json", "{}");
  EXPECT_FALSE(looks(dir_ / "config_only"));
  put_file(dir_ / "pickled/config.json", "{}");
  put_file(dir_ / "pickled/pytorch_model.bin", "");
  EXPECT_TRUE(looks(dir_ / "pickled"));  // refused when opened, with the remedy
}

TEST_F(HfFolderTest, ReferenceMayLackWeights) {
  put_file(dir_ / "config.json", "{}");
  put_file(dir_ / "tokenizer.json", "{}");
  HfFolder folder = open_reference(dir_.path());
  EXPECT_TRUE(folder.tensors.empty());
  EXPECT_EQ(folder.side_files.size(), 2u);
  put_file(dir_ / "pytorch_model.bin", "");
  EXPECT_TRUE(open_reference(dir_.path()).tensors.empty());
  put_file(dir_ / kIndex, index({{"a", "m-1.safetensors"}, {"b", "m-2.safetensors"}}));
  folder = open_reference(dir_.path());
  EXPECT_TRUE(folder.tensors.empty());
  EXPECT_TRUE(folder.has_index);
  put_file(dir_ / "m-1.safetensors", shard({"a"}));
  EXPECT_THROW(open_reference(dir_.path()), Error);  // half a download
  put_file(dir_ / "m-2.safetensors", shard({"b"}));
  EXPECT_EQ(open_reference(dir_.path()).tensors.size(), 2u);
}

TEST_F(HfFolderTest, OnlyWhatIsKeptStaysReserved) {
  make_sharded(dir_.path());
  const HfFolder folder = open(dir_.path());
  EXPECT_GT(budget_.used(), static_cast<int64_t>(3 * sizeof(HfTensor)));
  EXPECT_LT(budget_.used(), 2'500);
  MemoryBudget small(500);
  EXPECT_THROW(open_hf_folder(real_file_system(), dir_.path(), small), Error);
}

TEST_F(HfFolderTest, RealFolders) {
  const Path data = Path(data_dir()) / "bridge_written";
  const HfFolder dense = open(data / "qwen3_dense/hf");
  EXPECT_TRUE(dense.has_index);
  EXPECT_EQ(dense.tensors.size(), 25u);
  EXPECT_EQ(dense.side_files.size(), 4u);
  const HfTensor* embedding = dense.find("model.embed_tokens.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->dtype, Dtype::kBF16);
  const HfFolder tied = open(data / "llama_tied/hf");
  EXPECT_FALSE(tied.has_index);
  EXPECT_EQ(tied.find("lm_head.weight"), nullptr);
  EXPECT_EQ(tied.total_bytes + tied.shards[0].payload_offset, tied.shards[0].file_size);
}

struct BadCase {
  const char* name;
  std::function<void(const Path&)> make;
  const char* message;
  Code code = Code::kBadInput;
};

class HfFolderBad : public testing::TestWithParam<BadCase> {};

TEST_P(HfFolderBad, IsRefused) {
  TempDir dir;
  const Path path = dir / "hf";
  GetParam().make(path);
  MemoryBudget budget(64 << 20);
  try {
    open_hf_folder(real_file_system(), path, budget);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), GetParam().code);
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
    EXPECT_EQ(e.message().find('\n'), std::string::npos);
  }
}

// make_sharded with this text as index.
BadCase bad_index(const char* name, std::string text, const char* message) {
  return {name,
          [text](const Path& dir) {
            make_sharded(dir);
            put_file(dir / kIndex, text);
          },
          message};
}
// make_sharded with tensor a in this file.
BadCase bad_shard_name(const char* name, const std::string& escaped) {
  return bad_index(name, index({{"a", escaped}, {"b", "m-2.safetensors"}}),
                   "weight_map: tensor a: ");
}
// make_single and one thing more.
BadCase single_with(const char* name, std::function<void(const Path&)> more, const char* message,
                    Code code = Code::kBadInput) {
  return {name,
          [more](const Path& dir) {
            make_single(dir);
            more(dir);
          },
          message, code};
}
// A cache snapshot, as the path given, with one thing more done to the model's folder.
BadCase cache_with(const char* name, std::function<void(const Path&)> more, const char* message,
                   Code code = Code::kBadInput) {
  return {name,
          [more](const Path& dir) {
            const Path model = make_cache(dir.parent_path());
            more(model);
            stdfs::create_directory_symlink(model, dir);
          },
          message, code};
}
void relink(const Path& at, const char* target) {
  stdfs::remove(at);
  stdfs::create_symlink(target, at);
}

INSTANTIATE_TEST_SUITE_P(
    Folder, HfFolderBad,
    testing::Values(
        BadCase{"Absent", [](const Path&) {}, "no such file or folder", Code::kBadInput},
        BadCase{"IsAFile", [](const Path& dir) { put_file(dir, "x"); }, "not a folder"},
        BadCase{"Empty", [](const Path& dir) { stdfs::create_directory(dir); }, "no config.json"},
        BadCase{"NoConfig",
                [](const Path& dir) { put_file(dir / "model.safetensors", shard({"a"})); },
                "no config.json"},
        BadCase{"NoWeights", [](const Path& dir) { put_file(dir / "config.json", "{}"); },
                "no weights: neither"},
        BadCase{"Pickled",
                [](const Path& dir) {
                  put_file(dir / "config.json", "{}");
                  put_file(dir / "pytorch_model-00001-of-00002.bin", "");
                },
                "a form that is not read: pytorch_model-00001-of-00002.bin", Code::kUnsupported},
        BadCase{"Gguf",
                [](const Path& dir) {
                  put_file(dir / "config.json", "{}");
                  put_file(dir / "m.gguf", "");
                },
                "m.gguf", Code::kUnsupported},
        BadCase{"OneFileUnderAnotherName",
                [](const Path& dir) {
                  put_file(dir / "config.json", "{}");
                  put_file(dir / "weights.safetensors", shard({"a"}));
                },
                "not model.safetensors alone: weights.safetensors"},
        single_with(
            "ShardsWithoutIndex",
            [](const Path& dir) {
              put_file(dir / "model-00001-of-00002.safetensors", shard({"b"}));
            },
            "not model.safetensors alone: model-00001-of-00002.safetensors, model.safetensors"),
        single_with(
            "GitLfsPointer",
            [](const Path& dir) {
              put_file(dir / "model.safetensors",
                       "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n");
            },
            "model.safetensors: a git-lfs pointer, not the file itself"),
        BadCase{"IndexAndStrayModel",
                [](const Path& dir) {
                  make_sharded(dir);
                  put_file(dir / "model.safetensors", shard({"a"}));
                },
                "both model.safetensors and an index that does not list it"},
        single_with(
            "BadHeader", [](const Path& dir) { put_file(dir / "model.safetensors", "x"); },
            "model.safetensors: 1 bytes, too short"),
        single_with(
            "BadTensor",
            [](const Path& dir) {
              std::string bytes = shard({"a"});
              bytes[bytes.find("[1]") + 1] = '2';
              put_file(dir / "model.safetensors", bytes);
            },
            "model.safetensors: tensor a: data_offsets"),
        single_with(
            "Fifo", [](const Path& dir) { ASSERT_EQ(::mkfifo((dir / "p").c_str(), 0600), 0); },
            "p: not a regular file"),
        single_with(
            "ModelIsAFolder",
            [](const Path& dir) {
              stdfs::remove(dir / "model.safetensors");
              stdfs::create_directory(dir / "model.safetensors");
            },
            "no weights"),
        single_with(
            "Backslash", [](const Path& dir) { put_file(dir / "a\\b", ""); }, "a\\b: not a name"),
        single_with(
            "Newline", [](const Path& dir) { put_file(dir / "a\nb", ""); }, "a\\x0ab: not a name"),
        single_with(
            "NotUtf8", [](const Path& dir) { put_file(dir / "a\xff", ""); }, "a\\xff: not a name"),
        single_with(
            "SymlinkToDevice",
            [](const Path& dir) { stdfs::create_symlink("/dev/null", dir / "s"); },
            "s: not a regular file"),
        single_with(
            "SymlinkToFolder", [](const Path& dir) { stdfs::create_symlink("/etc", dir / "s"); },
            "s: symlink to /etc"),
        single_with(
            "BrokenSymlink", [](const Path& dir) { stdfs::create_symlink("gone", dir / "s"); },
            "s: broken symlink to gone")),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Index, HfFolderBad,
    testing::Values(
        bad_index("Empty", "", "model.safetensors.index.json: not JSON"),
        bad_index("NotJson", "{", "model.safetensors.index.json: not JSON"),
        bad_index("Array", "[]", "index.json: not a JSON object"),
        bad_index("Number", "1", "index.json: not a JSON object"),
        bad_index("NoMap", R"({"metadata":{}})", "index.json: no weight_map"),
        bad_index("MapIsNull", R"({"weight_map":null})", "weight_map is not an object"),
        bad_index("MapIsList", R"({"weight_map":["a"]})", "weight_map is not an object"),
        bad_index("MapIsText", R"({"weight_map":"a"})", "weight_map is not an object"),
        bad_index("MapIsEmpty", R"({"weight_map":{}})", "weight_map is empty"),
        bad_index("MapTwice", R"({"weight_map":{"a":"m-1.safetensors"},"weight_map":{}})",
                  "duplicate key \"weight_map\""),
        bad_index("TensorTwice", R"({"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}})",
                  "duplicate key \"a\""),
        bad_index("ShardIsNumber", R"({"weight_map":{"a":1}})", "tensor a: not a file name"),
        bad_index("ShardIsList", R"({"weight_map":{"a":["m-1.safetensors"]}})",
                  "tensor a: not a file name"),
        bad_index("ShardIsObject", R"({"weight_map":{"a":{"b":"m-1.safetensors"}}})",
                  "tensor a: not a file name"),
        bad_index("ShardIsNull", R"({"weight_map":{"a":null}})", "tensor a: not a file name"),
        bad_index("TooDeep", fmt::format("{{\"metadata\":{}", std::string(100, '[')),
                  "nested more than 64 deep"),
        bad_shard_name("ShardEmpty", ""), bad_shard_name("ShardDot", "."),
        bad_shard_name("ShardDotDot", ".."), bad_shard_name("ShardParent", "../x.safetensors"),
        bad_shard_name("ShardAbsolute", "/etc/passwd"),
        bad_shard_name("ShardSubfolder", "sub/x.safetensors"),
        bad_shard_name("ShardThroughParent", "a/../m-1.safetensors"),
        bad_shard_name("ShardBackslash", R"(..\\x.safetensors)"),
        bad_shard_name("ShardNul", R"(m-1.safetensors\u0000x)"),
        bad_shard_name("ShardNewline", R"(m\n)"),
        bad_shard_name("ShardTooLong", std::string(256, 'x')),
        bad_shard_name("ShardNotAscii", "m\xc3\xa9.safetensors"),
        bad_index(
            "ShardMissing",
            index({{"a", "m-1.safetensors"}, {"b", "m-3.safetensors"}, {"c", "m-4.safetensors"}}),
            "2 of 3 shards of the index are missing: m-3.safetensors, m-4.safetensors"),
        bad_index("TensorNotInShard",
                  index({{"a", "m-1.safetensors"},
                         {"b", "m-2.safetensors"},
                         {"c", "m-1.safetensors"},
                         {"d", "m-2.safetensors"}}),
                  "1 tensors that it lists are not in their shard: d (m-2.safetensors)"),
        bad_index(
            "TensorInAnotherShard",
            index({{"a", "m-2.safetensors"}, {"b", "m-2.safetensors"}, {"c", "m-1.safetensors"}}),
            "1 tensors are in another shard than it says: a (m-1.safetensors, not "
            "m-2.safetensors)"),
        bad_index("TensorNotListed", index({{"a", "m-1.safetensors"}, {"b", "m-2.safetensors"}}),
                  "1 tensors of the shards are not listed: c"),
        BadCase{"ManyTensorsNotListed",
                [](const Path& dir) {
                  make_sharded(dir);
                  put_file(dir / "m-2.safetensors",
                           shard({"b", "t7", "t6", "t5", "t4", "t3", "t2", "t1"}));
                },
                "7 tensors of the shards are not listed: t1, t2, t3, t4, t5 and 2 more"},
        BadCase{"TensorInTwoShards",
                [](const Path& dir) {
                  make_sharded(dir);
                  put_file(dir / "m-2.safetensors", shard({"a", "b"}));
                },
                "tensor a is in m-1.safetensors and in m-2.safetensors"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Cache, HfFolderBad,
    testing::Values(
        cache_with(
            "NoRef", [](const Path& model) { stdfs::remove(model / "refs/main"); }, "no refs/main"),
        cache_with(
            "RefIsASymlink",
            [](const Path& model) { relink(model / "refs/main", "/etc/hostname"); },
            "no refs/main"),
        cache_with(
            "RefLeadsOut", [](const Path& model) { put_file(model / "refs/main", "../blobs"); },
            "refs/main names \"../blobs\", which is not a snapshot"),
        cache_with(
            "RefIsEmpty", [](const Path& model) { put_file(model / "refs/main", ""); },
            "refs/main names \"\""),
        cache_with(
            "RefUnknown", [](const Path& model) { put_file(model / "refs/main", "ffff"); },
            "refs/main names \"ffff\""),
        cache_with(
            "RefTooLong",
            [](const Path& model) { put_file(model / "refs/main", std::string(300, 'a')); },
            "300 bytes, at most 256"),
        cache_with(
            "LinkToPasswd",
            [](const Path& model) {
              relink(model / "snapshots/abc123/model.safetensors", "/etc/passwd");
            },
            "model.safetensors: symlink to /etc/passwd, which is not in the blobs"),
        cache_with(
            "LinkToOtherModel",
            [](const Path& model) {
              put_file(model.parent_path() / "models--o--other/blobs/h2", shard({"a"}));
              relink(model / "snapshots/abc123/model.safetensors",
                     "../../../models--o--other/blobs/h2");
            },
            "not in the blobs folder of this model"),
        cache_with(
            "LinkBelowBlobs",
            [](const Path& model) {
              put_file(model / "blobs/sub/h2", shard({"a"}));
              relink(model / "snapshots/abc123/model.safetensors", "../../blobs/sub/h2");
            },
            "not in the blobs folder of this model"),
        cache_with(
            "BlobIsALinkOut", [](const Path& model) { relink(model / "blobs/h2", "/etc/passwd"); },
            "not in the blobs folder of this model"),
        cache_with(
            "BlobsIsALinkOut",
            [](const Path& model) {
              stdfs::rename(model / "blobs", model.parent_path() / "moved");
              stdfs::create_directory_symlink("../moved", model / "blobs");
            },
            "not in the blobs folder of this model"),
        cache_with(
            "BlobIsMissing", [](const Path& model) { stdfs::remove(model / "blobs/h2"); },
            "model.safetensors: broken symlink to ../../blobs/h2"),
        cache_with(
            "BlobIsAFolder",
            [](const Path& model) {
              stdfs::remove(model / "blobs/h2");
              stdfs::create_directory(model / "blobs/h2");
            },
            "model.safetensors: not a regular file"),
        cache_with(
            "BlobIsAFifo",
            [](const Path& model) {
              stdfs::remove(model / "blobs/h2");
              ASSERT_EQ(::mkfifo((model / "blobs/h2").c_str(), 0600), 0);
            },
            "model.safetensors: not a regular file"),
        cache_with(
            "SymlinkLoop",
            [](const Path& model) {
              relink(model / "snapshots/abc123/model.safetensors", "model.safetensors");
            },
            "model.safetensors", Code::kIo)),
    [](const auto& test) { return test.param.name; });

TEST(HfNames, SafeFileNames) {
  for (const char* name : {"model-00001-of-00002.safetensors", "a", ".hidden", "-", "..."}) {
    EXPECT_TRUE(is_safe_file_name(name)) << name;
  }
  EXPECT_TRUE(is_safe_file_name(std::string(255, 'a')));
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a b"),
        std::string("a\0b", 3), std::string("\xc3\xa9"), std::string(256, 'a'),
        std::string("a\\b")}) {
    EXPECT_FALSE(is_safe_file_name(name)) << name;
  }
}

TEST(HfNames, SafeRelativePaths) {
  for (const char* name : {"a", "a/b c/d.txt", ".gitattributes", "\xc3\xa9/x", "..."}) {
    EXPECT_TRUE(is_safe_relative_path(name)) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("../a"), std::string("a/./b"), std::string("a/.."), std::string("a\0b", 3),
        std::string("a\nb"), std::string("a\x7f"), std::string("a\\b"), std::string("\xff"),
        std::string(256, 'a')}) {
    EXPECT_FALSE(is_safe_relative_path(name)) << name;
  }
}

}  // namespace
}  // namespace bridge
