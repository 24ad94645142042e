// Tests how a checkpoint is found: its folder, its iteration, its kind, and that all its files
// exist.
#include "bridge/io/torch_dist/torch_dist.h"

#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "bridge/io/torch_dist/megatron_location.h"
#include "tests/data_dir.h"
#include "tests/io/torch_dist/dcp_builder.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;

const Path kData = data_dir();
constexpr const char* kTracker = "latest_checkpointed_iteration.txt";

MegatronFolder open(const Path& path, std::string_view iteration = "") {
  // Nodes of the common state stay charged to the budget.
  static MemoryBudget budget(int64_t{1} << 40);
  return open_megatron(real_file_system(), path, iteration, budget);
}

TEST(TorchDist, CommonStateInAFile) {
  const MegatronFolder folder = open(kData / "megatron_written/dense");
  EXPECT_EQ(folder.root, kData / "megatron_written/dense");
  EXPECT_EQ(folder.dist_dir, kData / "megatron_written/dense/iter_0000000");
  EXPECT_EQ(folder.iteration, "0");
  EXPECT_FALSE(folder.has_run_config);
  ASSERT_NE(folder.common, nullptr);
  EXPECT_EQ(folder.common->get("checkpoint_version")->real, 3.0);
  EXPECT_EQ(folder.common->get("iteration")->integer, 0);
  ASSERT_NE(folder.find("output_layer.weight"), nullptr);
  EXPECT_EQ(folder.find("output_layer.weight")->shape, (Shape{128, 64}));
  EXPECT_EQ(folder.find("output_layer"), nullptr);
  EXPECT_EQ(folder.find("zzz"), nullptr);
}

TEST(TorchDist, CommonStateInsideTheData) {
  for (const char* name : {"qwen3_dense", "llama_tied"}) {
    const MegatronFolder folder = open(kData / "bridge_written" / name / "megatron");
    EXPECT_TRUE(folder.has_run_config);
    ASSERT_NE(folder.common, nullptr);
    EXPECT_EQ(folder.common->get("checkpoint_version")->real, 3.0);
  }
}

TEST(TorchDist, EveryRealFolderOpens) {
  for (const char* name : {"dense_pp3_resave", "dense_singleton", "dense_tied_qknorm",
                           "dense_tp2_resave", "moe_homog_ep2_resave"}) {
    EXPECT_NE(open(kData / "megatron_written" / name).common, nullptr) << name;
  }
}

// Builds synthetic folders, with a checkpoint of one tensor wherever a test wants it.
class MegatronLocationTest : public testing::Test {
 protected:
  MegatronLocationTest() { builder_.add("w", Dtype::kI16, {2}, {{{0}, {2}}}, "abcd"); }

  void checkpoint(const Path& name) { builder_.write(root() / name); }
  Path root() const { return dir_.path() / "root"; }
  void tracker(std::string_view content) { put_file(root() / kTracker, content); }

  void expect_error(std::string_view iteration, Code code, const std::string& message,
                    const std::string& hint = "", const Path& path = "") {
    try {
      open(path.empty() ? root() : path, iteration);
      ADD_FAILURE() << "no error; expected " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_NE(e.message().find(message), std::string::npos) << e.what();
      EXPECT_NE(e.hint().find(hint), std::string::npos) << e.hint();
      EXPECT_EQ(e.message().find('\n'), std::string::npos);
    }
  }

  TempDir dir_;
  FolderBuilder builder_;
};

TEST_F(MegatronLocationTest, TheTrackerDecides) {
  checkpoint("iter_0000100");
  checkpoint("iter_0000200");
  checkpoint("iter_12345678");
  checkpoint("release");
  for (const auto& [content, folder] :
       std::vector<std::pair<std::string, std::string>>{{"100", "iter_0000100"},
                                                        {" 200 \r\n", "iter_0000200"},
                                                        {"12345678", "iter_12345678"},
                                                        {"release\n", "release"}}) {
    tracker(content);
    EXPECT_EQ(open(root()).dist_dir, root() / folder);
    EXPECT_EQ(open(root()).root, root());
  }
}

TEST_F(MegatronLocationTest, TheOptionOverridesTheTracker) {
  checkpoint("iter_0000100");
  checkpoint("iter_0000200");
  checkpoint("release");
  tracker("100");
  EXPECT_EQ(open(root(), "200").iteration, "200");
  EXPECT_EQ(open(root(), "0000200").dist_dir, root() / "iter_0000200");
  EXPECT_EQ(open(root(), "latest").iteration, "200");
  EXPECT_EQ(open(root(), "release").dist_dir, root() / "release");
  expect_error("300", Code::kBadInput, "there is no iteration 300; it has 100, 200, release",
               "--iteration");
  expect_error("-1", Code::kUsage, "'-1' is not a number");
  expect_error("newest", Code::kUsage, "'newest'");
  expect_error("99999999999999999999", Code::kUsage, "is not a number");
}

TEST_F(MegatronLocationTest, WithoutATrackerTheLatestIteration) {
  checkpoint("iter_0000100");
  EXPECT_EQ(open(root()).iteration, "100");
  checkpoint("iter_0000020");
  EXPECT_EQ(open(root()).iteration, "100");
  put_file(root() / "iter_0000999", "a file");
  put_file(root() / "iter_abc/x", "");
  put_file(root() / "iter_500/x", "");
  EXPECT_EQ(open(root()).iteration, "100");
  stdfs::remove_all(root() / "iter_0000100");
  stdfs::remove_all(root() / "iter_0000020");
  checkpoint("release");
  EXPECT_EQ(open(root()).iteration, "release");
  EXPECT_EQ(open(root(), "latest").iteration, "release");
}

TEST_F(MegatronLocationTest, BadTrackers) {
  checkpoint("iter_0000100");
  for (const char* content : {"", " \n", "ten", "-5", "1.5", "100 200", "99999999999999999999"}) {
    tracker(content);
    expect_error("", Code::kBadInput, "latest_checkpointed_iteration.txt: says '", "--iteration");
    EXPECT_EQ(open(root(), "100").iteration, "100");
  }
  tracker("7");
  expect_error("", Code::kBadInput, "there is no iteration 7; it has 100", "--iteration");
  tracker(std::string(5000, ' '));
  expect_error("", Code::kBadInput, kTracker);
}

TEST_F(MegatronLocationTest, AnIterationFolderKnowsItsRoot) {
  checkpoint("iter_0000100");
  checkpoint("release");
  const Path iter = root() / "iter_0000100";
  EXPECT_EQ(open(iter).root, root());
  EXPECT_EQ(open(iter).iteration, "100");
  EXPECT_EQ(open(iter / "").root, root());
  EXPECT_EQ(open(root() / "release").iteration, "release");
  EXPECT_EQ(open(iter, "100").iteration, "100");
  EXPECT_EQ(open(iter, "latest").iteration, "100");
  expect_error("200", Code::kUsage, "is an iteration folder itself", "--iteration", iter);

  const Path here = stdfs::current_path();
  stdfs::current_path(iter);
  EXPECT_EQ(open(".").root, root());
  EXPECT_EQ(open(".").iteration, "100");
  stdfs::current_path(root());
  EXPECT_EQ(open("iter_0000100").root, ".");
  EXPECT_EQ(open(".").iteration, "100");
  stdfs::current_path(here);
}

TEST_F(MegatronLocationTest, ABareFolderIsItsOwnRootUnlessTheParentIsOne) {
  checkpoint("dist_ckpt");
  const Path bare = root() / "dist_ckpt";
  EXPECT_EQ(open(bare).root, bare);
  EXPECT_EQ(open(bare).iteration, "");
  EXPECT_EQ(open(bare).common, nullptr);
  put_file(root() / "causeway/manifest.json", "{}");
  EXPECT_EQ(open(bare).root, root());
}

TEST_F(MegatronLocationTest, ReleaseMayBeASymlinkInsideTheRootOnly) {
  checkpoint("iter_0000100");
  tracker("release");
  stdfs::create_directory_symlink("iter_0000100", root() / "release");
  EXPECT_EQ(open(root()).dist_dir, root() / "release");
  EXPECT_EQ(open(root() / "release").root, root());
  stdfs::remove(root() / "release");
  builder_.write(dir_ / "elsewhere");
  stdfs::create_directory_symlink("../elsewhere", root() / "release");
  expect_error("", Code::kBadInput, "release: a symlink that leads out of the checkpoint");
}

TEST_F(MegatronLocationTest, KindsThatAreRefusedByName) {
  const Path iter = root() / "iter_0000100";
  const auto refused = [&](const std::string& message, const std::string& hint,
                           const Path& path = "") {
    expect_error("", Code::kUnsupported, message, hint, path);
    EXPECT_TRUE(looks_like_megatron(real_file_system(), path.empty() ? root() : path));
  };
  put_file(iter / "mp_rank_00/model_optim_rng.pt", "");
  refused("iter_0000100: holds mp_rank_00, a legacy 'torch' checkpoint",
          "--ckpt-format torch_dist");
  refused("legacy", "torch_dist", iter);
  refused("legacy", "torch_dist", kData / "megatron_written/legacy_dense_tp2");
  stdfs::remove_all(iter);

  checkpoint("iter_0000100");
  put_file(iter / "modelopt_state/metadata.json", "{}");
  refused("holds modelopt_state", "ModelOpt");
  stdfs::remove_all(iter / "modelopt_state");

  stdfs::remove(iter / "metadata.json");
  refused("iter_0000100: .metadata without metadata.json", "--ckpt-format torch_dist");

  for (const char* backend : {"zarr", "fsdp_dtensor"}) {
    put_file(iter / "metadata.json", std::string(R"({"sharded_backend": ")") + backend + "\"}");
    refused(std::string("metadata.json: sharded_backend is '") + backend + "'", "torch_dist");
  }
  stdfs::remove(iter / ".metadata");
  refused("sharded_backend is 'fsdp_dtensor'", "torch_dist");

  put_file(dir_ / "model.nemo", "tar");
  refused("model.nemo: a NeMo archive", "NeMo", dir_ / "model.nemo");
}

TEST_F(MegatronLocationTest, FoldersThatAreNoCheckpoint) {
  stdfs::create_directories(root());
  expect_error("", Code::kBadInput, "root: not a Megatron checkpoint");
  expect_error("", Code::kBadInput, "nowhere: no such file or folder", "", dir_ / "nowhere");
  put_file(dir_ / "file", "");
  expect_error("", Code::kBadInput, "file: not a folder", "", dir_ / "file");
  put_file(root() / "pytorch_model.bin", "");
  expect_error("", Code::kUnsupported, "holds pytorch_model.bin", "safetensors");
  put_file(root() / "llama.nemo", "");
  expect_error("", Code::kUnsupported, "holds llama.nemo", "NeMo");
  stdfs::remove_all(root());

  const Path iter = root() / "iter_0000100";
  stdfs::create_directories(iter);
  expect_error("", Code::kBadInput, "iter_0000100: not a Megatron checkpoint");
  put_file(iter / "metadata.json", R"({"sharded_backend": "torch_dist"})");
  expect_error("", Code::kBadInput, "iter_0000100: .metadata is missing");
  checkpoint("iter_0000100");
  for (const char* json : {"", "[]", "{}", "{\"sharded_backend\": 1}", "nonsense", "\"text\""}) {
    put_file(iter / "metadata.json", json);
    expect_error("", Code::kBadInput, "metadata.json: ");
  }
}

TEST_F(MegatronLocationTest, WhatLooksLikeMegatron) {
  FileSystem& fs = real_file_system();
  EXPECT_TRUE(looks_like_megatron(fs, kData / "megatron_written/dense"));
  EXPECT_TRUE(looks_like_megatron(fs, kData / "megatron_written/dense/iter_0000000"));
  EXPECT_FALSE(looks_like_megatron(fs, kData / "bridge_written/qwen3_dense/hf"));
  EXPECT_FALSE(looks_like_megatron(fs, dir_ / "nowhere"));
  put_file(root() / "config.json", "{}");
  put_file(root() / "metadata.json", R"({"of": "something else"})");
  EXPECT_FALSE(looks_like_megatron(fs, root()));
  checkpoint("release");
  EXPECT_TRUE(looks_like_megatron(fs, root()));
}

// Tests what is in the folder.
class TorchDistFolder : public MegatronLocationTest {
 protected:
  const Path iter_ = root() / "iter_0000100";
};

TEST_F(TorchDistFolder, EveryItemMustLieInsideItsFile) {
  checkpoint("iter_0000100");
  put_file(iter_ / "__0_0.distcp", builder_.data.substr(0, builder_.data.size() - 1));
  expect_error("", Code::kBadInput, "__0_0.distcp: w: the item ends at byte ");
  stdfs::remove(iter_ / "__0_0.distcp");
  expect_error("", Code::kBadInput, "__0_0.distcp: named in .metadata, but not there");
  stdfs::create_directory(iter_ / "__0_0.distcp");
  expect_error("", Code::kBadInput, "__0_0.distcp: not a regular file");
  stdfs::remove(iter_ / "__0_0.distcp");
  put_file(dir_ / "secret", builder_.data);
  stdfs::create_symlink("../../secret", iter_ / "__0_0.distcp");
  expect_error("", Code::kBadInput, "__0_0.distcp: leads out of the checkpoint");
  put_file(root() / "shared/__0_0.distcp", builder_.data);
  stdfs::remove(iter_ / "__0_0.distcp");
  stdfs::create_symlink("../shared/__0_0.distcp", iter_ / "__0_0.distcp");
  EXPECT_NE(open(root()).find("w"), nullptr);
}

TEST_F(TorchDistFolder, ErrorsInMetadataNameTheFile) {
  checkpoint("iter_0000100");
  put_file(iter_ / ".metadata", builder_.metadata().substr(0, 400));
  expect_error("", Code::kBadInput, "iter_0000100/.metadata: ");
  put_file(iter_ / ".metadata", "");
  expect_error("", Code::kBadInput, "iter_0000100/.metadata: ");
}

std::string pickled_dict() {
  PickleWriter p(2);
  p.empty_dict().mark().string("iteration").integer(7).set_items();
  return p.finish();
}

TEST_F(TorchDistFolder, CommonState) {
  checkpoint("iter_0000100");
  EXPECT_EQ(open(root()).common, nullptr);

  PickleWriter list(2);
  list.empty_list().mark().empty_dict().mark().string("iteration").integer(9).set_items().appends();
  builder_.add_object("common_state/shard_0_1", list.finish());
  checkpoint("iter_0000100");
  EXPECT_EQ(open(root()).common->get("iteration")->integer, 9);

  // It comes first, as in core.
  put_file(iter_ / "common.pt", object_item(pickled_dict(), "common"));
  EXPECT_EQ(open(root()).common->get("iteration")->integer, 7);
}

TEST_F(TorchDistFolder, DamagedCommonState) {
  checkpoint("iter_0000100");
  put_file(iter_ / "common.pt", object_item(PickleWriter(2).empty_list().finish(), "common"));
  expect_error("", Code::kBadInput, "common.pt: the common state is not a dict");
  std::string damaged = object_item(pickled_dict(), "common");
  damaged[damaged.find("iteration")] = 'I';
  put_file(iter_ / "common.pt", damaged);
  expect_error("", Code::kBadInput, "common.pt: ");
  stdfs::remove(iter_ / "common.pt");

  builder_.add_object("common_state/shard_0_1", pickled_dict());
  checkpoint("iter_0000100");
  expect_error("", Code::kBadInput,
               "__0_0.distcp: common_state/shard_0_1: the object is not a list of one");
}

}  // namespace
}  // namespace bridge
