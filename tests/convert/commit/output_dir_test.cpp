// Tests the crash-safety protocol. A small output is written with a stop, and with an error, at
// every single operation. Whatever happened, the final name shows nothing, the old output or the
// new one, complete.
#include "bridge/convert/commit/output_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;
const Tree kNew = {{"iter_0000000", "/"},
                   {"iter_0000000/__0_0.distcp", "data of the new output"},
                   {"iter_0000000/.metadata", "metadata"},
                   {"latest_checkpointed_iteration.txt", "release"},
                   {"release", "-> iter_0000000"}};
const Tree kOld = {{"iter_0000007", "/"}, {"iter_0000007/.metadata", "old"}, {"tracker", "7"}};

// Allows to replace any target; replaceable_test.cpp tests what must not be replaced.
CheckReplaceable anything(bool overwrite) {
  if (!overwrite) return {};
  return [](const Path&) {};
}

void write_new(FileSystem& fs, const Path& target, bool overwrite,
               const std::vector<Path>& inputs = {}) {
  OutputDir out(fs, target, anything(overwrite), inputs);
  fs.make_dir(out.path() / "iter_0000000");
  {
    const auto file = fs.create(out.path() / "iter_0000000/__0_0.distcp");
    const std::string& data = kNew.at("iter_0000000/__0_0.distcp");
    file->allocate(static_cast<int64_t>(data.size()));
    file->write_at(0, std::as_bytes(std::span(data)));
    file->sync();
  }
  write_whole_file(fs, out.path() / "iter_0000000/.metadata", "metadata");
  fs.symlink("iter_0000000", out.path() / "release");
  write_whole_file(fs, out.path() / "latest_checkpointed_iteration.txt", "release");
  out.commit();
}

void put_old(const Path& target) {
  put_file(target / "iter_0000007/.metadata", "old");
  put_file(target / "tracker", "7");
}

class OutputDirTest : public testing::Test {
 protected:
  TempDir dir_;
  FileSystem& fs_ = real_file_system();
  const Path target_ = dir_ / "out";
};

TEST_F(OutputDirTest, CommitLeavesTheOutputAndNothingElse) {
  write_new(fs_, target_, false);
  EXPECT_EQ(tree(target_), kNew);
  EXPECT_EQ(fs_.list(dir_.path()), std::vector<std::string>{"out"});
}

TEST_F(OutputDirTest, NothingShowsUnderTheFinalNameBeforeCommit) {
  OutputDir out(fs_, target_, anything(false), {});
  put_file(out.path() / "f", "x");
  EXPECT_FALSE(stdfs::exists(target_));
  EXPECT_EQ(out.path(), dir_ / ".out.partial");
  EXPECT_EQ(out.target(), target_);
}

TEST_F(OutputDirTest, WithoutCommitNothingIsLeft) {
  {
    OutputDir out(fs_, dir_ / "new/parents/out", anything(false), {});
    put_file(out.path() / "d/f", "x");
    EXPECT_TRUE(stdfs::exists(dir_ / "new/parents/.out.causeway.lock"));
  }
  EXPECT_EQ(tree(dir_.path()), Tree{});
}

TEST_F(OutputDirTest, ParentsThatWereThereStay) {
  stdfs::create_directory(dir_ / "there");
  { OutputDir out(fs_, dir_ / "there/new/out", anything(false), {}); }
  EXPECT_EQ(tree(dir_.path()), (Tree{{"there", "/"}}));
}

TEST_F(OutputDirTest, MissingParentsAreMade) {
  write_new(fs_, dir_ / "a/b/out", false);
  EXPECT_EQ(tree(dir_ / "a/b/out"), kNew);
}

TEST_F(OutputDirTest, AnEmptyFolderIsFree) {
  stdfs::create_directory(target_);
  write_new(fs_, target_, false);
  EXPECT_EQ(tree(target_), kNew);
}

TEST_F(OutputDirTest, AnEmptyFolderFilledMeanwhileIsNotReplaced) {
  stdfs::create_directory(target_);
  OutputDir out(fs_, target_, anything(false), {});
  put_file(target_ / "theirs", "x");
  EXPECT_THROW(out.commit(), Error);
  EXPECT_EQ(tree(target_), (Tree{{"theirs", "x"}}));
}

TEST_F(OutputDirTest, OverwriteReplacesAFolder) {
  put_old(target_);
  write_new(fs_, target_, true);
  EXPECT_EQ(tree(target_), kNew);
  EXPECT_EQ(fs_.list(dir_.path()), std::vector<std::string>{"out"});
}

TEST_F(OutputDirTest, OverwriteReplacesAFile) {
  for (const bool exchange : {true, false}) {
    stdfs::remove_all(target_);
    put_file(target_, "a file");
    FaultFileSystem fs(fs_);
    if (!exchange) fs.without_exchange();
    write_new(fs, target_, true);
    EXPECT_EQ(tree(target_), kNew);
  }
}

TEST_F(OutputDirTest, OverwriteOfNothingIsFine) {
  write_new(fs_, target_, true);
  EXPECT_EQ(tree(target_), kNew);
}

TEST_F(OutputDirTest, OverwriteDoesNotFollowSymlinksInTheOldOutput) {
  put_file(dir_ / "elsewhere/precious", "x");
  put_old(target_);
  stdfs::create_directory_symlink(dir_ / "elsewhere", target_ / "link");
  write_new(fs_, target_, true);
  EXPECT_EQ(file_content(dir_ / "elsewhere/precious"), "x");
}

TEST_F(OutputDirTest, ASymlinkToAFolderKeepsPointingToIt) {
  put_old(dir_ / "disk2/real");
  stdfs::create_directory_symlink("disk2/real", target_);
  write_new(fs_, target_, true);
  EXPECT_EQ(stdfs::read_symlink(target_), "disk2/real");
  EXPECT_EQ(tree(dir_ / "disk2/real"), kNew);
}

TEST_F(OutputDirTest, RelativeAndTrailingNames) {
  const Path before = stdfs::current_path();
  stdfs::current_path(dir_.path());
  write_new(fs_, "bare", false);
  write_new(fs_, "slash/", false);
  write_new(fs_, "./dot/.", false);
  stdfs::create_directory("empty");
  write_new(fs_, "empty/../empty/.", false);
  stdfs::current_path(before);
  for (const char* name : {"bare", "slash", "dot", "empty"}) EXPECT_EQ(tree(dir_ / name), kNew);
  EXPECT_EQ(fs_.list(dir_.path()), (std::vector<std::string>{"bare", "dot", "empty", "slash"}));
}

TEST_F(OutputDirTest, TheLockKeepsASecondRunOut) {
  OutputDir out(fs_, target_, anything(false), {});
  put_file(out.path() / "f", "first run");
  try {
    OutputDir second(fs_, target_, anything(true), {});
    FAIL() << "two runs at once";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kIo);
    EXPECT_EQ(e.message(), target_.native() + ": another run is writing it");
    EXPECT_NE(e.hint(), "");
  }
  EXPECT_EQ(file_content(out.path() / "f"), "first run");
  EXPECT_TRUE(stdfs::exists(dir_ / ".out.causeway.lock"));
}

TEST_F(OutputDirTest, TheCommitSyncsFoldersBeforeTheRename) {
  FaultFileSystem fs(fs_, dir_.path());
  write_new(fs, dir_ / "p/out", false);
  const std::vector<std::string> log = fs.log();
  const auto at = [&](const std::string& entry) {
    const auto found = std::find(log.begin(), log.end(), entry);
    EXPECT_NE(found, log.end()) << entry;
    return found - log.begin();
  };
  EXPECT_LT(at("sync_dir p/.out.partial/iter_0000000"), at("sync_dir p/.out.partial"));
  EXPECT_LT(at("sync_dir p/.out.partial"), at("rename p/.out.partial -> p/out"));
  EXPECT_LT(at("sync_dir ."), at("rename p/.out.partial -> p/out"));
  EXPECT_LT(at("rename p/.out.partial -> p/out"), at("sync_dir p"));
  EXPECT_EQ(std::count(log.begin(), log.end(), "sync_dir p/.out.partial/release"), 0)
      << "followed a symlink";
}

// If the user has since emptied the target, the leftover old output beside it is the only copy.
TEST_F(OutputDirTest, AnOldOutputWithoutATargetIsBroughtBack) {
  for (const bool empty_folder : {false, true}) {
    stdfs::remove_all(target_);
    put_old(dir_ / ".out.old");
    put_file(dir_ / ".out.causeway.lock", "");  // as the killed run left it
    if (empty_folder) stdfs::create_directory(target_);
    EXPECT_THROW(OutputDir(fs_, target_, anything(false), {}), Error);
    EXPECT_EQ(tree(target_), kOld);
    EXPECT_EQ(fs_.list(dir_.path()), std::vector<std::string>{"out"});
  }
}

// A target that cannot be moved is detected before anything is copied, and the partial folder is
// removed again.
TEST_F(OutputDirTest, ATargetThatCannotBeMoved) {
  class Unmovable : public FaultFileSystem {
   public:
    explicit Unmovable(int error_number)
        : FaultFileSystem(real_file_system()), error_number_(error_number) {}
    int rename_onto_full(const Path&, const Path&) override { return error_number_; }

   private:
    const int error_number_;
  };
  const auto refuse = [&](int error_number, Code code, const std::string& part) {
    Unmovable fs(error_number);
    expect_error(code, part, [&] { OutputDir(fs, target_, anything(true), {}); });
    EXPECT_EQ(fs_.list(dir_.path()), std::vector<std::string>{"out"});
  };
  put_old(target_);
  refuse(EBUSY, Code::kUsage, "out: is a mount point");
  refuse(EXDEV, Code::kUsage, "lower layer of an overlay");
  refuse(EACCES, Code::kIo, "out: rename: Permission denied");
  EXPECT_EQ(tree(target_), kOld);
  stdfs::remove_all(target_);
  stdfs::create_directory(target_);
  refuse(EBUSY, Code::kUsage, "out: is a mount point");
  Unmovable overlay(EXDEV);  // the empty folder is removed, which works there
  OutputDir(overlay, target_, anything(true), {});
}

TEST_F(OutputDirTest, TheSystemSaysWhatCannotBeMoved) {
  put_file(dir_ / "full/x", "x");
  stdfs::create_directory(dir_ / "folder");
  const int error_number = fs_.rename_onto_full(dir_ / "folder", dir_ / "full");
  EXPECT_TRUE(error_number == ENOTEMPTY || error_number == EEXIST) << error_number;
}

// The target is checked under the lock and again at the commit, since training may have added to
// it.
TEST_F(OutputDirTest, WhatMayBeReplacedIsAskedAtTheCommitToo) {
  put_old(target_);
  const CheckReplaceable check = [&](const Path& there) {
    if (stdfs::exists(there / "iter_0001000")) usage_error("iter_0001000 was added");
  };
  OutputDir out(fs_, target_, check, {});
  put_file(out.path() / "f", "new");
  put_file(target_ / "iter_0001000/f", "of training");
  expect_error(Code::kUsage, "iter_0001000", [&] { out.commit(); });
  EXPECT_EQ(file_content(target_ / "iter_0001000/f"), "of training");
  expect_error(Code::kUsage, "iter_0001000", [&] { OutputDir(fs_, dir_ / "out", check, {}); });
}

// The run can neither make the output durable nor undo it. It must not delete the old output, which
// is in the partial folder then.
TEST_F(OutputDirTest, AFailureDuringUndoLosesNothing) {
  class Failing : public FaultFileSystem {
   public:
    using FaultFileSystem::FaultFileSystem;
    bool exchange(const Path& a, const Path& b) override {
      if (++exchanges_ == 2) io_error(a.native(), "exchange", EIO);
      return FaultFileSystem::exchange(a, b);
    }
    void sync_dir(const Path& path) override {
      if (exchanges_ > 0) io_error(path.native(), "sync folder", EIO);
    }

   private:
    int exchanges_ = 0;
  };
  put_old(target_);
  Failing fs(fs_);
  EXPECT_THROW(write_new(fs, target_, true), Error);
  EXPECT_EQ(tree(target_), kNew);
  EXPECT_EQ(tree(dir_ / ".out.partial"), kOld);
}

// How a run ends at each operation.
struct Mode {
  std::string name;
  bool overwrite;     // there is an old output, and --overwrite is given
  bool exchange;      // the file system supports it
  bool empty_folder;  // the target is an empty folder
};

class OutputDirCrashTest : public testing::TestWithParam<Mode> {
 protected:
  void prepare(const Path& parent) {
    target_ = parent / "p/out";
    put_file(parent / "input/f", "input");
    if (GetParam().overwrite) put_old(target_);
    if (GetParam().empty_folder) stdfs::create_directories(target_);
  }

  void set_up(FaultFileSystem& fs) {
    if (!GetParam().exchange) fs.without_exchange();
  }

  void run(FaultFileSystem& fs, const Path& parent) {
    write_new(fs, target_, GetParam().overwrite, {parent / "input"});
  }

  Tree before() const { return GetParam().overwrite ? kOld : Tree{}; }

  Path target_;
};

TEST_P(OutputDirCrashTest, StoppedAtEveryOperation) {
  int stops = 0;
  bool done = false;
  for (int64_t k = 1; !done; ++k) {
    const TempDir dir;
    prepare(dir.path());
    FaultFileSystem fs(real_file_system(), dir.path());
    set_up(fs);
    fs.stop_at(k);
    fs.drop_unsynced();
    try {
      run(fs, dir.path());
    } catch (const FaultFileSystem::Stopped&) {
    }
    done = !fs.stopped();
    stops += done ? 0 : 1;
    SCOPED_TRACE("operation " + std::to_string(k) + ": " + fs.log().back());

    const Tree shown = tree(target_);
    const bool between_renames = !GetParam().exchange && shown.empty() && GetParam().overwrite;
    if (between_renames) {
      EXPECT_EQ(tree(dir / "p/.out.old"), kOld);
      EXPECT_THROW(OutputDir(real_file_system(), target_, anything(false), {}), Error);
      EXPECT_EQ(tree(target_), kOld) << "the next run brings the old output back";
    } else {
      EXPECT_TRUE(shown == before() || shown == kNew);
    }
    EXPECT_TRUE(!done || shown == kNew);

    // Now the next run.
    if (shown == kNew && !GetParam().overwrite) {
      EXPECT_THROW(OutputDir(real_file_system(), target_, anything(false), {}), Error);
    } else {
      FaultFileSystem next(real_file_system());  // does not wait for the disk
      write_new(next, target_, GetParam().overwrite);
    }
    EXPECT_EQ(tree(target_), kNew);
    if (shown != kNew || GetParam().overwrite) {
      EXPECT_EQ(real_file_system().list(dir / "p"), std::vector<std::string>{"out"});
    }
    EXPECT_EQ(file_content(dir / "input/f"), "input");
  }
  EXPECT_GT(stops, 40);
}

TEST_P(OutputDirCrashTest, FailedAtEveryOperation) {
  bool done = false;
  for (int64_t k = 1; !done; ++k) {
    for (const int error_number : {EIO, ENOSPC}) {
      const TempDir dir;
      prepare(dir.path());
      const Tree all_before = tree(dir.path());
      FaultFileSystem fs(real_file_system(), dir.path());
      set_up(fs);
      fs.fail_at(k, error_number);
      std::string message;
      try {
        run(fs, dir.path());
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kIo);
        message = e.message();
      }
      done = fs.count() < k;
      SCOPED_TRACE("operation " + std::to_string(k) + ": " +
                   fs.log()[static_cast<size_t>(std::min(k, fs.count())) - 1]);
      EXPECT_EQ(message.find('\n'), std::string::npos);
      if (message.empty()) {
        // Nothing failed, or only the removal of the lock file at the very end.
        EXPECT_EQ(tree(target_), kNew);
      } else if (message.starts_with("the new output is in place")) {
        EXPECT_TRUE(GetParam().overwrite);
        EXPECT_EQ(tree(target_), kNew);
      } else {
        EXPECT_EQ(tree(dir.path()), all_before) << message;
        FaultFileSystem next(real_file_system());
        write_new(next, target_, GetParam().overwrite);
        EXPECT_EQ(tree(target_), kNew);
      }
    }
  }
}

const Mode kModes[] = {{"Plain", false, true, false},
                       {"EmptyFolder", false, true, true},
                       {"Overwrite", true, true, false},
                       {"OverwriteWithoutExchange", true, false, false}};
INSTANTIATE_TEST_SUITE_P(Modes, OutputDirCrashTest, testing::ValuesIn(kModes),
                         [](const auto& test) { return test.param.name; });

// One case for each refusal; a refusal changes nothing.
struct Refusal {
  std::string name;
  std::function<void(const TempDir&)> prepare;
  std::string target;
  bool overwrite;
  std::vector<std::string> inputs;
  Code code;
  std::string message;  // a part of it
};

class OutputDirRefusalTest : public testing::TestWithParam<Refusal> {};

const std::function<void(const TempDir&)> kSource = [](const TempDir& dir) {
  put_file(dir / "src/sub/f", "x");
};

const Refusal kRefusals[] = {
    {"FolderExists",
     [](auto& dir) { put_file(dir / "out/f", "x"); },
     "out",
     false,
     {},
     Code::kUsage,
     "out: already exists"},
    {"FileExists",
     [](auto& dir) { put_file(dir / "out", "x"); },
     "out",
     false,
     {},
     Code::kUsage,
     "out: already exists"},
    {"DanglingSymlinkExists",
     [](auto& dir) { stdfs::create_symlink("nowhere", dir / "out"); },
     "out",
     false,
     {},
     Code::kUsage,
     "out: already exists"},
    {"FifoExists",
     [](auto& dir) { ::mkfifo((dir / "out").c_str(), 0666); },
     "out",
     false,
     {},
     Code::kUsage,
     "out: already exists"},
    {"LinkToFullFolder",
     [](auto& dir) {
       put_file(dir / "real/f", "x");
       stdfs::create_directory_symlink("real", dir / "out");
     },
     "out",
     false,
     {},
     Code::kUsage,
     "real: already exists"},
    {"OutputIsTheSource", kSource, "src", true, {"src"}, Code::kUsage, "lies inside"},
    {"OutputInsideTheSource",
     kSource,
     "src/out",
     true,
     {"src"},
     Code::kUsage,
     "src/out: the output lies inside the input"},
    {"OutputDeepInsideTheSource",
     kSource,
     "src/new/deep/out",
     true,
     {"src"},
     Code::kUsage,
     "the output lies inside the input"},
    {"SourceInsideTheOutput",
     kSource,
     "src",
     true,
     {"src/sub"},
     Code::kUsage,
     "src/sub lies inside the output"},
    {"SourceFileInsideTheOutput",
     kSource,
     "src",
     true,
     {"src/sub/f"},
     Code::kUsage,
     "src/sub/f lies inside the output"},
    {"SecondInputInsideTheOutput",
     [](auto& dir) {
       kSource(dir);
       put_file(dir / "out/reference/f", "x");
     },
     "out",
     true,
     {"src", "out/reference"},
     Code::kUsage,
     "reference lies inside the output"},
    {"OutputInsideTheSourceThroughALink",
     [](auto& dir) {
       kSource(dir);
       stdfs::create_directory_symlink("src/sub", dir / "link");
     },
     "link/out",
     false,
     {"src"},
     Code::kUsage,
     "the output lies inside the input"},
    {"SourceIsALinkIntoTheOutput",
     [](auto& dir) {
       put_file(dir / "out/f", "x");
       stdfs::create_directory_symlink("out", dir / "link");
     },
     "out",
     true,
     {"link"},
     Code::kUsage,
     "lies inside"},
    {"OutputLinkIsTheSource",
     [](auto& dir) {
       kSource(dir);
       stdfs::create_directory_symlink("src", dir / "out");
     },
     "out",
     true,
     {"src"},
     Code::kUsage,
     "lies inside"},
    {"SourceIsTheLeftoverPartialFolder",
     [](auto& dir) { put_file(dir / ".out.partial/f", "x"); },
     "out",
     true,
     {".out.partial"},
     Code::kUsage,
     "lies inside the output"},
    {"SourceIsTheLeftoverOldFolder",
     [](auto& dir) { put_file(dir / ".out.old/f", "x"); },
     "out",
     true,
     {".out.old"},
     Code::kUsage,
     "lies inside the output"},
    {"ParentIsAFile",
     [](auto& dir) { put_file(dir / "f", "x"); },
     "f/out",
     false,
     {},
     Code::kUsage,
     "f is not a folder"},
    {"DotDotAfterAMissingFolder",
     [](auto&) {},
     "new/../out",
     false,
     {},
     Code::kUsage,
     "'..' after a folder that does not exist"},
    {"EndsInDotDot", [](auto&) {}, "new/..", false, {}, Code::kUsage, "cannot be an output folder"},
    {"InputIsMissing",
     [](auto&) {},
     "out",
     false,
     {"nowhere"},
     Code::kIo,
     "nowhere: resolve: No such file"},
    {"ParentIsADanglingSymlink",
     [](auto& dir) { stdfs::create_symlink("nowhere", dir / "p"); },
     "p/out",
     false,
     {},
     Code::kIo,
     "p: create folder: File exists"},
    {"NameTooLong",
     [](auto&) {},
     "p/" + std::string(250, 'n'),
     false,
     {},
     Code::kIo,
     "File name too long"},
};

TEST_P(OutputDirRefusalTest, ThrowsAndChangesNothing) {
  const TempDir dir;
  GetParam().prepare(dir);
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : stdfs::recursive_directory_iterator(dir.path()))
      found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  };
  const std::vector<std::string> before = names();
  std::vector<Path> inputs;
  for (const std::string& input : GetParam().inputs) inputs.push_back(dir / input);
  try {
    const OutputDir out(real_file_system(), dir / GetParam().target, anything(GetParam().overwrite),
                        inputs);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), GetParam().code) << e.message();
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
    EXPECT_EQ(e.message().find('\n'), std::string::npos);
  }
  EXPECT_EQ(names(), before);
}

INSTANTIATE_TEST_SUITE_P(Table, OutputDirRefusalTest, testing::ValuesIn(kRefusals),
                         [](const auto& test) { return test.param.name; });

TEST_F(OutputDirTest, RefusesNamesThatAreNoFolderOfTheirOwn) {
  EXPECT_THROW(OutputDir(fs_, "", anything(false), {}), Error);
  EXPECT_THROW(OutputDir(fs_, "/", anything(true), {}), Error);
}

TEST_F(OutputDirTest, NeighboursWithALikeNameAreNoOverlap) {
  put_file(dir_ / "model/f", "x");
  write_new(fs_, dir_ / "model-out", false, {dir_ / "model"});
  write_new(fs_, dir_ / "mod", false, {dir_ / "model"});
  EXPECT_EQ(tree(dir_ / "mod"), kNew);
  EXPECT_EQ(file_content(dir_ / "model/f"), "x");
}

}  // namespace
}  // namespace bridge
