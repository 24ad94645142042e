// Stops and fails a conversion and an export of tiny models, a dense one cast to FP16 and one with
// experts in FP8, at every operation of the file system. Whatever happened, the target's name shows
// nothing or the whole output. After a failure that the process survives, nothing else is left. The
// next run succeeds.
#include <gtest/gtest.h>

#include <cerrno>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "tests/convert/tiny_moe.h"

namespace bridge {
namespace {

// The values are small, so that FP16 loses bits of them but never overflows.
void write_dense(const Path& folder) {
  const auto bytes = [random = std::mt19937(2)](size_t size) mutable {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; i += 2) {
      text[i] = static_cast<char>(random());
      text[i + 1] = 0x36;
    }
    return text;
  };
  write_hf_folder(folder, tiny_config(1, true, "bfloat16"),
                  tiny_tensors(1, true, Dtype::kBF16, bytes));
}

struct Model {
  std::function<void(const Path&)> write;
  std::optional<Dtype> dtype;
};
const Model kDense = {write_dense, Dtype::kF16};  // this one also writes witnesses
const Model kQuantized = {write_qwen3_moe_fp8, {}};

struct Command {
  std::string name;
  const Model* model;
  bool exports;
};

class CrashTest : public testing::TestWithParam<Command> {
 protected:
  CrashTest() {
    FastFileSystem fs;
    GetParam().model->write(dir_ / "hf");
    source_ = dir_ / "hf";
    if (GetParam().exports) {
      convert(fs, dir_ / "megatron", false);
      source_ = dir_ / "megatron";
    }
    run(fs, dir_ / "whole", false);
    whole_ = tree(dir_ / "whole");
    if (GetParam().exports) {
      EXPECT_EQ(first_difference(tree(dir_ / "hf"), whole_), "");
    }
  }

  void clear() const {
    std::filesystem::remove_all(dir_ / "p");
    std::filesystem::create_directory(dir_ / "p");
  }

  void convert(FileSystem& fs, const Path& target, bool overwrite) const {
    auto options = run_options<ConvertOptions>(source_, target);
    options.overwrite = overwrite;
    options.dtype = GetParam().model->dtype;
    convert_hf(fs, options);
  }
  void run(FileSystem& fs, const Path& target, bool overwrite) const {
    if (!GetParam().exports) return convert(fs, target, overwrite);
    auto options = run_options<ExportOptions>(source_, target);
    options.overwrite = overwrite;
    export_to_hf(fs, options);
  }

  std::string shown() const { return first_difference(tree(target_), whole_); }
  std::vector<std::string> names() const { return real_file_system().list(dir_ / "p"); }

  TempDir dir_;
  Path source_;
  Path target_ = dir_ / "p/out";
  Tree whole_;
};

TEST_P(CrashTest, StoppedAtEveryOperation) {
  int64_t absent = 0;
  int64_t complete = 0;
  for (int64_t k = 1;; ++k) {
    clear();
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.stop_at(k);
    fs.drop_unsynced();
    try {
      run(fs, target_, false);
    } catch (const FaultFileSystem::Stopped&) {
    }
    SCOPED_TRACE("operation " + std::to_string(k) + ": " + fs.log().back());
    const bool there = std::filesystem::exists(target_);
    if (there) {
      EXPECT_EQ(shown(), "");
    }
    if (!fs.stopped()) {
      EXPECT_TRUE(there);
      break;
    }
    ++(there ? complete : absent);

    FastFileSystem next;
    run(next, target_, there);
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(names(), std::vector<std::string>{"out"});
    if (HasFailure()) return;
  }
  EXPECT_GT(absent, 140);
  EXPECT_GT(complete, 0) << "after the commit";
}

TEST_P(CrashTest, FailedAtEveryOperation) {
  int64_t failed = 0;
  int64_t ignored = 0;
  for (int64_t k = 1;; ++k) {
    clear();
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.fail_at(k, k % 2 == 0 ? EIO : ENOSPC);
    std::string message;
    try {
      run(fs, target_, false);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kIo) << e.message();
      message = e.message();
    }
    const bool done = fs.count() < k;
    SCOPED_TRACE("operation " + std::to_string(k) + ": " +
                 fs.log()[static_cast<size_t>(std::min(k, fs.count())) - 1]);
    if (message.empty()) {
      EXPECT_EQ(shown(), "");
    } else {
      EXPECT_EQ(names(), std::vector<std::string>{}) << message;
    }
    if (done || HasFailure()) break;
    ++(message.empty() ? ignored : failed);
  }
  EXPECT_GT(failed, 140);
  EXPECT_LE(ignored, 4) << "only the clean-up after the commit may be";
}

INSTANTIATE_TEST_SUITE_P(Commands, CrashTest,
                         testing::Values(Command{"Convert", &kDense, false},
                                         Command{"Export", &kDense, true},
                                         Command{"ConvertQuantized", &kQuantized, false},
                                         Command{"ExportQuantized", &kQuantized, true}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
