// Several processes write one output, which must have the bytes of one process's. Threads stand for
// processes that live, forked processes for those that die. Watermarks lie 300 bytes apart and
// files are small, so that the tiny models have several of both.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <future>
#include <optional>
#include <random>
#include <set>

#include "bridge/convert/verify_hash.h"
#include "tests/convert/commands.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;

constexpr int64_t kFile = 300;

Change as_rank(int index, int count, bool resume = false, int timeout = 60) {
  return [=](OutputOptions& options) {
    options.watermark_bytes = 300;
    options.resume = resume;
    options.rank.index = index;
    options.rank.count = count;
    options.rank.timeout = std::chrono::seconds(timeout);
  };
}

// A disk that fails when a journal begins.
class NoJournals : public FastFileSystem {
 public:
  std::unique_ptr<File> create(const Path& path) override {
    if (path.native().find(".causeway.journal") != std::string::npos) {
      io_error(path.native(), "create", EIO);
    }
    return FastFileSystem::create(path);
  }
};

class RanksTest : public CommandTest {
 protected:
  RanksTest() {
    FastFileSystem fs;
    stdfs::remove_all(dir_ / "whole");
    run_small(fs, dir_ / "whole", as_rank(0, 1));
    whole_ = tree(dir_ / "whole");
    clear();
  }

  // As run(), into files of kFile bytes.
  void run_small(FileSystem& fs, const Path& target, const Change& change) const {
    if (GetParam().exports) {
      auto options = run_options<ExportOptions>(source_, target);
      options.max_shard_size = kFile;
      change(options);
      export_to_hf(fs, options);
    } else {
      auto options = run_options<ConvertOptions>(source_, target);
      options.dtype = GetParam().model->dtype;
      options.file_size = kFile;
      change(options);
      convert_hf(fs, options);
    }
  }

  // Runs all ranks at once. Throws what rank 0 throws, or else the first other one.
  void run_all(int count, bool resume) const {
    std::vector<std::future<void>> ranks;
    for (int i = 0; i < count; ++i) {
      ranks.push_back(std::async(std::launch::async, [this, i, count, resume] {
        FastFileSystem fs;
        run_small(fs, target_, as_rank(i, count, resume));
      }));
    }
    std::exception_ptr error;
    for (std::future<void>& rank : ranks) {
      try {
        rank.get();
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }

  void expect_complete(const std::string& what) const {
    EXPECT_EQ(shown(), "") << what;
    EXPECT_EQ(names(), std::vector<std::string>{"out"}) << what;
  }

  void stop_one_process_in_the_middle() const {
    FaultFileSystem whole(real_file_system(), dir_.path());
    run_small(whole, target_, as_rank(0, 1));
    clear();
    std::vector<int64_t> watermarks;  // operations by which they became durable
    const std::vector<std::string> log = whole.log();
    for (size_t i = 0; i < log.size(); ++i) {
      if (log[i] != "sync p/.out.causeway.journal") continue;
      watermarks.push_back(static_cast<int64_t>(i) + 1);
    }
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.stop_at(watermarks.at(watermarks.size() / 2) + 1);
    EXPECT_THROW(run_small(fs, target_, as_rank(0, 1)), FaultFileSystem::Stopped);
  }

  // Starts each rank as a process of its own; `dies` stops at that operation as by kill -9. Returns
  // how many ranks came to their end.
  int run_processes(int count, int dies, int64_t operation, bool resume) const {
    std::vector<pid_t> children;
    for (int i = 0; i < count; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        FaultFileSystem fs(real_file_system(), dir_.path());
        try {
          if (i == dies) fs.stop_at(operation);
          run_small(fs, target_, as_rank(i, count, resume, dies < 0 ? 60 : 2));
        } catch (...) {
          ::_exit(1);
        }
        ::_exit(0);
      }
      children.push_back(child);
    }
    int ended = 0;
    for (const pid_t child : children) {
      int status = 0;
      ::waitpid(child, &status, 0);
      ended += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
    }
    return ended;
  }
};

TEST_P(RanksTest, TheBytesAreThoseOfOneProcess) {
  for (const int count : {2, 3, 4, 7}) {
    clear();
    run_all(count, false);
    expect_complete(std::to_string(count) + " ranks");
    if (HasFailure()) return;
  }
}

TEST_P(RanksTest, EachRankWritesFilesOfItsOwn) {
  constexpr int kCount = 3;
  std::vector<std::future<std::set<std::string>>> ranks;
  for (int i = 0; i < kCount; ++i) {
    ranks.push_back(std::async(std::launch::async, [this, i] {
      FaultFileSystem fs(real_file_system(), dir_.path());
      run_small(fs, target_, as_rank(i, kCount));
      std::set<std::string> written;
      bool has_begun = false;  // rank 0 writes the heads of all files before
      for (const std::string& operation : fs.log()) {
        has_begun = has_begun || operation.ends_with("p/.out.causeway.launch");
        if (!has_begun || !operation.starts_with("write ")) continue;
        const std::string name = operation.substr(6, operation.find(' ', 6) - 6);
        if (name.ends_with(".distcp") || name.ends_with(".safetensors")) written.insert(name);
      }
      return written;
    }));
  }
  std::set<std::string> all;
  size_t count = 0;
  size_t busy = 0;
  for (auto& rank : ranks) {
    const std::set<std::string> written = rank.get();
    all.insert(written.begin(), written.end());
    count += written.size();
    busy += written.empty() ? 0 : 1;
  }
  EXPECT_EQ(all.size(), count) << "two ranks wrote into one file";
  EXPECT_GT(busy, 1U);
}

// A rank dies at any of its operations. Another number of ranks goes on.
TEST_P(RanksTest, AnyNumberGoesOnAfterARankDied) {
  std::mt19937 random(7);
  int resumed = 0;
  for (int attempt = 0; attempt < 8; ++attempt) {
    clear();
    const int count = 2 + attempt % 3;
    const int dies = attempt % count;
    const auto operation = static_cast<int64_t>(30 + random() % 250);
    SCOPED_TRACE("rank " + std::to_string(dies) + " of " + std::to_string(count) +
                 " dies at operation " + std::to_string(operation));
    const int ended = run_processes(count, dies, operation, false);
    if (stdfs::exists(target_)) {
      EXPECT_EQ(shown(), "");
      continue;
    }
    EXPECT_LT(ended, count);
    resumed += stdfs::exists(dir_ / "p/.out.partial") ? 1 : 0;
    const int next = 1 + attempt % 4;
    if (next == 1) {
      FastFileSystem fs;
      run_small(fs, target_, as_rank(0, 1, true));
    } else {
      EXPECT_EQ(run_processes(next, -1, 0, true), next);
    }
    expect_complete(std::to_string(next) + " go on");
    if (HasFailure()) return;
  }
  EXPECT_GT(resumed, 2);
}

// The first part is missing: what is left is one portion, and still not all that there is to know.
TEST_P(RanksTest, OneGoesOnWithoutTheFirstJournal) {
  auto first = std::async(std::launch::async, [this] {
    NoJournals fs;
    run_small(fs, target_, as_rank(0, 2));
  });
  auto second = std::async(std::launch::async, [this] {
    FastFileSystem fs;
    run_small(fs, target_, as_rank(1, 2));
  });
  EXPECT_THROW(first.get(), Error);
  try {
    second.get();
  } catch (const Error&) {  // it may see in time that the first has failed
  }
  FastFileSystem next;
  run_small(next, target_, as_rank(0, 1, true));
  expect_complete("one goes on");
}

TEST_P(RanksTest, SeveralGoOnWithWhatOneLeft) {
  stop_one_process_in_the_middle();
  ASSERT_TRUE(stdfs::exists(dir_ / "p/.out.causeway.journal"));
  run_all(3, true);
  expect_complete("three go on");
}

TEST_P(RanksTest, WithoutResumeEachSaysThatItCouldBe) {
  stop_one_process_in_the_middle();
  const Tree before = tree(dir_ / "p");
  expect_error(Code::kUsage, "an earlier run got to ", [&] { run_all(2, false); });
  EXPECT_EQ(first_difference(before, tree(dir_ / "p")), "");
}

// A disk that fails for one rank leaves what can be resumed.
TEST_P(RanksTest, AFailureOfAnotherRankEndsAll) {
  constexpr int kCount = 2;
  auto other = std::async(std::launch::async, [this] {
    NoJournals fs;
    run_small(fs, target_, as_rank(1, kCount));
  });
  std::optional<Error> seen;
  FastFileSystem fs;
  try {
    run_small(fs, target_, as_rank(0, kCount));
  } catch (const Error& e) {
    seen = e;
  }
  expect_error(Code::kIo, ".causeway.journal", [&] { other.get(); });
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->code(), Code::kIo);
  EXPECT_NE(seen->message().find("rank 1 of 2: "), std::string::npos) << seen->message();
  EXPECT_FALSE(stdfs::exists(target_));
  FastFileSystem next;
  run_small(next, target_, as_rank(0, 1, true));
  expect_complete("one goes on");
}

TEST_P(RanksTest, AnotherPlanIsRefused) {
  auto other = std::async(std::launch::async, [this] {
    FastFileSystem fs;
    run_small(fs, target_, [](OutputOptions& options) {
      as_rank(1, 2)(options);
      options.version = "newer";
    });
  });
  const std::string message = "makes another plan than rank 0: version: was test, is newer";
  expect_error(Code::kUsage, message, [&] {
    FastFileSystem fs;
    run_small(fs, target_, as_rank(0, 2));
  });
  expect_error(Code::kUsage, message, [&] { other.get(); });
  EXPECT_FALSE(stdfs::exists(target_));
}

TEST_P(RanksTest, OverwritesLikeOneProcess) {
  FastFileSystem fs;
  run_small(fs, target_, as_rank(0, 1));
  std::vector<std::future<void>> ranks;
  for (int i = 0; i < 2; ++i) {
    ranks.push_back(std::async(std::launch::async, [this, i] {
      FastFileSystem own;
      run_small(own, target_, [i](OutputOptions& options) {
        as_rank(i, 2)(options);
        options.overwrite = true;
      });
    }));
  }
  for (auto& rank : ranks) rank.get();
  expect_complete("overwritten");
}

INSTANTIATE_TEST_SUITE_P(Commands, RanksTest, all_commands(), command_name);

// --- verify --------------------------------------------------------------------------------------

class VerifyRanksTest : public testing::Test {
 protected:
  VerifyRanksTest() {
    write_qwen3_moe_fp8(dir_ / "hf");
    FastFileSystem fs;
    convert_hf(fs, run_options<ConvertOptions>(dir_ / "hf", dir_ / "megatron"));
  }

  HashSummary verify(int index, int count) const {
    VerifyOptions options;
    options.a = dir_ / "hf";
    options.b = dir_ / "megatron";
    options.threads = 1;
    options.quiet = true;
    options.progress = ProgressMode::kNever;
    options.report = dir_ / "r/report.json";
    options.rank.index = index;
    options.rank.count = count;
    options.rank.timeout = std::chrono::seconds(60);
    return verify_hash(real_file_system(), options);
  }

  // The reports of all ranks.
  std::vector<std::string> verify_all(int count) const {
    stdfs::create_directories(dir_ / "r");
    std::vector<std::future<HashSummary>> ranks;
    for (int i = 0; i < count; ++i) {
      ranks.push_back(
          std::async(std::launch::async, [this, i, count] { return verify(i, count); }));
    }
    std::vector<std::string> reports;
    for (auto& rank : ranks) reports.push_back(rank.get().json.dump());
    EXPECT_TRUE(stdfs::is_empty(dir_ / "r")) << "files of the meeting are left";
    return reports;
  }

  TempDir dir_;
};

TEST_F(VerifyRanksTest, TheReportIsThatOfOneProcess) {
  const std::string expected = verify(0, 1).json.dump();
  EXPECT_NE(expected.find("\"identical\":true"), std::string::npos) << expected;
  for (const int count : {2, 3}) EXPECT_EQ(verify_all(count)[0], expected) << count;
}

TEST_F(VerifyRanksTest, DifferencesOfAllRanksAreReported) {
  const MegatronFolder folder = open_checkpoint(dir_ / "megatron");
  for (const DcpTensor& tensor : folder.metadata.tensors) {
    edit_item(dir_ / "megatron", tensor.key, 0,
              [](std::string& payload) { payload[0] = static_cast<char>(payload[0] ^ 1); });
  }
  const HashSummary whole = verify(0, 1);
  ASSERT_TRUE(whole.difference);
  ASSERT_GT(whole.forward.value().different.size(), 5U);
  for (const std::string& report : verify_all(3)) EXPECT_EQ(report, whole.json.dump());
}

TEST_F(VerifyRanksTest, NeedsAPlaceToMeet) {
  VerifyOptions options;
  options.a = dir_ / "hf";
  options.b = dir_ / "megatron";
  options.rank.count = 2;
  expect_error(Code::kUsage, "needs --report", [&] { verify_hash(real_file_system(), options); });
}

// --- two renames ---------------------------------------------------------------------------------

// Converts once, and then again as a run that is killed between the renames of the checkpoint and
// of its sidecar elsewhere.
class TwoRenamesTest : public testing::Test {
 protected:
  void SetUp() override {
    FaultFileSystem whole(real_file_system(), dir_.path());
    convert_hf(whole, options_);
    expected_ = tree(dir_ / "p/out");
    expected_sidecar_ = tree(dir_ / "s/side");
    const std::vector<std::string> log = whole.log();
    const auto second = std::find_if(log.begin(), log.end(), [](const std::string& operation) {
      return operation.starts_with("rename s/");
    });
    ASSERT_NE(second, log.end());
    stdfs::remove_all(dir_ / "p");
    stdfs::remove_all(dir_ / "s");
    FaultFileSystem stopped(real_file_system(), dir_.path());
    stopped.stop_at(second - log.begin() + 1);
    EXPECT_THROW(convert_hf(stopped, options_), FaultFileSystem::Stopped);
  }

  const TempDir dir_;
  ConvertOptions options_ = dense_with_sidecar_elsewhere(dir_);
  Tree expected_;
  Tree expected_sidecar_;
};

// It is completed by --resume, without --overwrite and without copying anything.
TEST_F(TwoRenamesTest, TheSecondIsDoneByTheNextRun) {
  ASSERT_TRUE(stdfs::exists(dir_ / "p/out"));
  ASSERT_FALSE(stdfs::exists(dir_ / "s/side"));

  FastFileSystem fs;
  expect_error(Code::kUsage, "already exists", [&] { convert_hf(fs, options_); });
  options_.resume = true;
  FaultFileSystem next(real_file_system(), dir_.path());
  convert_hf(next, options_);
  EXPECT_EQ(first_difference(expected_, tree(dir_ / "p/out")), "");
  EXPECT_EQ(first_difference(expected_sidecar_, tree(dir_ / "s/side")), "");
  EXPECT_EQ(real_file_system().list(dir_ / "p"), std::vector<std::string>{"out"});
  EXPECT_EQ(real_file_system().list(dir_ / "s"), std::vector<std::string>{"side"});
  EXPECT_EQ(std::ranges::count_if(
                next.log(),
                [](const std::string& operation) { return operation.starts_with("create "); }),
            0)
      << "it wrote more than names";
}

// A folder that somebody else put under the name is refused, not completed.
TEST_F(TwoRenamesTest, AnotherFolderIsNotTakenForTheNewOne) {
  stdfs::copy(dir_ / "p/out", dir_ / "copy",
              stdfs::copy_options::recursive | stdfs::copy_options::copy_symlinks);
  stdfs::remove_all(dir_ / "p/out");
  stdfs::rename(dir_ / "copy", dir_ / "p/out");
  options_.resume = true;
  expect_error(Code::kUsage, "already exists", [&] {
    FastFileSystem fs;
    convert_hf(fs, options_);
  });
}

}  // namespace
}  // namespace bridge
