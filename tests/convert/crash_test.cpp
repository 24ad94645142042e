// A conversion and an export of a tiny model, stopped and failed at every operation of the file
// system. Whatever happened, the target's name shows nothing or the whole output; after a failure
// that the process lives through nothing else is left either; and the next run succeeds.
#include <gtest/gtest.h>

#include <cerrno>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

struct Command {
  std::string name;
  std::function<void(FileSystem&, const Path& source, const Path& target, bool overwrite)> run;
};

const Command kConvert = {
    "Convert", [](FileSystem& fs, const Path& source, const Path& target, bool overwrite) {
      auto options = run_options<ConvertOptions>(source, target);
      options.overwrite = overwrite;
      options.dtype = Dtype::kF16;  // witnesses are written too
      convert_hf(fs, options);
    }};
const Command kExport = {
    "Export", [](FileSystem& fs, const Path& source, const Path& target, bool overwrite) {
      auto options = run_options<ExportOptions>(source, target);
      options.overwrite = overwrite;
      export_to_hf(fs, options);
    }};

class CrashTest : public testing::TestWithParam<Command> {
 protected:
  CrashTest() {
    // Small values: FP16 loses bits of them and overflows on none.
    const auto bytes = [random = std::mt19937(2)](size_t size) mutable {
      std::string text(size, '\0');
      for (size_t i = 0; i < size; i += 2) {
        text[i] = static_cast<char>(random());
        text[i + 1] = 0x36;
      }
      return text;
    };
    write_hf_folder(dir_ / "hf", tiny_config(1, true, "bfloat16"),
                    tiny_tensors(1, true, Dtype::kBF16, bytes));
    source_ = dir_ / "hf";
    if (GetParam().name == "Export") {
      FastFileSystem fs;
      kConvert.run(fs, source_, dir_ / "megatron", false);
      source_ = dir_ / "megatron";
    }
    FastFileSystem fs;
    run(fs, dir_ / "whole", false);
    whole_ = tree(dir_ / "whole");
  }

  void clear() const {
    std::filesystem::remove_all(dir_ / "p");
    std::filesystem::create_directory(dir_ / "p");
  }

  void run(FileSystem& fs, const Path& target, bool overwrite) const {
    GetParam().run(fs, source_, target, overwrite);
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
  EXPECT_LE(ignored, 2) << "only the clean-up after the commit may be";
}

INSTANTIATE_TEST_SUITE_P(Commands, CrashTest, testing::Values(kConvert, kExport),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
