// Runs that stopped or failed after a watermark are resumed, and the output is the same to the
// byte. Watermarks lie 300 bytes apart here, so that the tiny models have several.
#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <string>

#include "tests/convert/commands.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;

constexpr int64_t kWatermark = 300;
const std::string kJournal = ".out.causeway.journal";

Change with(bool resume, int threads = 1, bool restart = false) {
  return [=](OutputOptions& options) {
    options.watermark_bytes = kWatermark;
    options.resume = resume;
    options.restart = restart;
    options.threads = threads;
  };
}

bool is_write(const std::string& operation) {
  return operation.starts_with("write ") && operation.find(".partial") != std::string::npos;
}

class ResumeTest : public CommandTest {
 protected:
  // Stops a run at operation k. Whether it came to its end before.
  bool stop_at(int64_t k, const Change& change) const {
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.stop_at(k);
    fs.drop_unsynced();
    try {
      run(fs, target_, change);
    } catch (const FaultFileSystem::Stopped&) {
    }
    return !fs.stopped();
  }

  bool has_journal() const { return stdfs::exists(dir_ / "p" / kJournal); }

  // Stops a run in the middle of its copying, with a journal.
  void stop_in_the_middle() {
    if (middle_ == 0) middle_ = operation_after_the_third_watermark();
    clear();
    ASSERT_FALSE(stop_at(middle_, with(false)));
    ASSERT_TRUE(has_journal());
  }

  int64_t operation_after_the_third_watermark() const {
    clear();
    FaultFileSystem whole(real_file_system(), dir_.path());
    run(whole, target_, with(false));
    int64_t operation = 0;
    for (int64_t watermarks = 0; watermarks < 3; ++operation) {
      watermarks += whole.log().at(static_cast<size_t>(operation)) == "sync p/" + kJournal ? 1 : 0;
    }
    return operation + 1;
  }

  void resume_to_the_end() const {
    FastFileSystem fs;
    run(fs, target_, with(true));
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(names(), std::vector<std::string>{"out"});
  }

  int64_t middle_ = 0;
};

TEST_P(ResumeTest, StoppedAtEveryOperation) {
  int64_t resumed = 0;
  for (int64_t k = 1;; ++k) {
    clear();
    SCOPED_TRACE("operation " + std::to_string(k));
    if (stop_at(k, with(false))) break;
    if (!stdfs::exists(target_)) {
      FaultFileSystem fs(real_file_system(), dir_.path());
      run(fs, target_, with(true));
      resumed += std::ranges::count_if(fs.log(), is_write) > 0 ? 1 : 0;
    } else {
      FastFileSystem fs;
      run(fs, target_, [](OutputOptions& options) { options.overwrite = options.resume = true; });
    }
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(names(), std::vector<std::string>{"out"});
    if (HasFailure()) return;
  }
  EXPECT_GT(resumed, 200);
}

// The run that goes on is stopped too, at every of its operations, and a third one goes on.
TEST_P(ResumeTest, StoppedAgainAtEveryOperation) {
  for (int64_t k = 1;; ++k) {
    stop_in_the_middle();
    SCOPED_TRACE("operation " + std::to_string(k));
    if (HasFailure() || stop_at(k, with(true))) break;
    FastFileSystem fs;
    run(fs, target_, [&](OutputOptions& options) {
      with(true)(options);
      options.overwrite = stdfs::exists(target_);
    });
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(names(), std::vector<std::string>{"out"});
    if (HasFailure()) return;
  }
}

TEST_P(ResumeTest, FailedAtEveryOperation) {
  int64_t kept = 0;
  for (int64_t k = 1;; ++k) {
    clear();
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.fail_at(k, k % 2 == 0 ? EIO : ENOSPC);
    bool failed = false;
    try {
      run(fs, target_, with(false));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kIo) << e.message();
      failed = true;
      const bool offered = e.hint().find("--resume goes on from") != std::string::npos;
      EXPECT_EQ(offered, has_journal()) << e.message() << "\n" << e.hint();
    }
    SCOPED_TRACE("operation " + std::to_string(k) + ": " +
                 fs.log()[static_cast<size_t>(std::min(k, fs.count())) - 1]);
    if (failed && !has_journal()) {
      EXPECT_EQ(names(), std::vector<std::string>{});
    }
    if (failed && has_journal()) {
      ++kept;
      FastFileSystem next;
      run(next, target_, with(true));
    }
    if (!failed || has_journal()) {
      EXPECT_EQ(shown(), "");
    }
    if (fs.count() < k || HasFailure()) break;
  }
  EXPECT_GT(kept, 50);
}

// The swap is undone then, and what was copied is still worth going on with.
TEST_P(ResumeTest, AFailureOfTheSwapKeepsEverything) {
  const auto overwrite = [](bool resume) {
    return [=](OutputOptions& options) {
      with(resume)(options);
      options.overwrite = true;
    };
  };
  const auto with_an_earlier_output = [&] {
    clear();
    FastFileSystem fs;
    run(fs, target_);
  };
  with_an_earlier_output();
  FaultFileSystem whole(real_file_system(), dir_.path());
  run(whole, target_, overwrite(false));
  const std::vector<std::string> log = whole.log();
  const auto swap = std::ranges::find_if(
      log, [](const std::string& operation) { return operation.starts_with("exchange "); });
  ASSERT_NE(swap, log.end());
  const auto number = static_cast<int64_t>(swap - log.begin()) + 1;
  for (const int64_t k : {number, number + 1}) {  // the swap, and the sync that follows it
    SCOPED_TRACE(log[static_cast<size_t>(k) - 1]);
    with_an_earlier_output();
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.fail_at(k, EIO);
    const Error e = expect_error(Code::kIo, "", [&] { run(fs, target_, overwrite(false)); });
    EXPECT_NE(e.hint().find("--resume goes on from"), std::string::npos) << e.hint();
    EXPECT_TRUE(has_journal());
    EXPECT_TRUE(stdfs::exists(dir_ / "p/.out.partial"));
    EXPECT_EQ(shown(), "");

    FaultFileSystem rest(real_file_system(), dir_.path());
    run(rest, target_, overwrite(true));
    EXPECT_LT(std::ranges::count_if(rest.log(), is_write), std::ranges::count_if(log, is_write));
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(names(), std::vector<std::string>{"out"});
  }
}

TEST_P(ResumeTest, GoesOnAndDoesNotBeginAnew) {
  stop_in_the_middle();
  FaultFileSystem whole(real_file_system(), dir_.path());
  FaultFileSystem rest(real_file_system(), dir_.path());
  run(whole, dir_ / "p/other", with(false));
  run(rest, target_, with(true));
  EXPECT_EQ(shown(), "");
  const auto writes = [](const FaultFileSystem& fs) {
    return std::ranges::count_if(fs.log(), [](const std::string& operation) {
      return is_write(operation) && (operation.find(".distcp") != std::string::npos ||
                                     operation.find(".safetensors") != std::string::npos);
    });
  };
  EXPECT_LT(writes(rest), writes(whole));
  EXPECT_GT(writes(rest), 0);
  for (const std::string& operation : rest.log()) {
    EXPECT_FALSE(operation.starts_with("create ") && operation.ends_with(".distcp")) << operation;
  }
}

TEST_P(ResumeTest, OtherThreadsAndMemoryGoOn) {
  stop_in_the_middle();
  FastFileSystem fs;
  run(fs, target_, [](OutputOptions& options) {
    with(true, 3)(options);
    options.memory = 64 << 20;
    options.watermark_bytes = 1000;
  });
  EXPECT_EQ(shown(), "");
}

TEST_P(ResumeTest, ThreadsSyncBesideTheWork) {
  for (int64_t k = 60; k < 260; k += 7) {
    clear();
    if (stop_at(k, with(false, 3)) || stdfs::exists(target_)) break;
    FastFileSystem fs;
    run(fs, target_, with(true, 2));
    EXPECT_EQ(shown(), "") << k;
    if (HasFailure()) return;
  }
}

TEST_P(ResumeTest, WithoutTheOptionItSaysHowFarItGot) {
  stop_in_the_middle();
  const Tree before = tree(dir_ / "p");
  const Error e = expect_error(Code::kUsage, "an earlier run got to ", [&] {
    FastFileSystem fs;
    run(fs, target_, with(false));
  });
  EXPECT_EQ(e.hint(), "--resume goes on from there, --restart starts over");
  EXPECT_EQ(first_difference(before, tree(dir_ / "p")), "");
  resume_to_the_end();
}

TEST_P(ResumeTest, RestartStartsOver) {
  stop_in_the_middle();
  FaultFileSystem fs(real_file_system(), dir_.path());
  run(fs, target_, with(false, 1, true));
  EXPECT_EQ(shown(), "");
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
  EXPECT_TRUE(std::ranges::any_of(fs.log(), [](const std::string& operation) {
    return operation.starts_with("remove_file p/" + kJournal);
  }));
}

TEST_P(ResumeTest, NothingToResumeStartsFromTheBeginning) {
  clear();
  resume_to_the_end();
}

// What an interrupt, a stop and an error have left is the same: a second error leaves it too.
TEST_P(ResumeTest, AFailureOfTheRunThatGoesOnKeepsEverything) {
  stop_in_the_middle();
  for (int64_t k = 1;; ++k) {
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.fail_at(k, EIO);
    try {
      run(fs, target_, with(true));
      break;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kIo) << e.message();
    }
    ASSERT_TRUE(has_journal()) << fs.log().back();
  }
  EXPECT_EQ(shown(), "");
}

// Bytes of the last stretch before the watermark are read again; damage there is not built upon.
TEST_P(ResumeTest, DamagedFilesAreFoundAndNothingIsLeft) {
  stop_in_the_middle();
  for (const auto& entry : stdfs::recursive_directory_iterator(dir_ / "p/.out.partial")) {
    const Path& path = entry.path();
    if (path.extension() != ".distcp" && path.extension() != ".safetensors") continue;
    std::string content = file_content(path);
    for (char& c : content) c = static_cast<char>(c ^ 1);
    put_file(path, content);
  }
  expect_error(Code::kBadInput, ".out.partial", [&] {
    FastFileSystem fs;
    run(fs, target_, with(true));
  });
  EXPECT_EQ(names(), std::vector<std::string>{});
  resume_to_the_end();
}

TEST_P(ResumeTest, AJournalOfAnotherFolderStartsOver) {
  stop_in_the_middle();
  stdfs::rename(dir_ / "p/.out.partial", dir_ / "p/moved");
  stdfs::create_directory(dir_ / "p/.out.partial");
  stdfs::remove_all(dir_ / "p/moved");
  FastFileSystem fs;
  run(fs, target_, with(false));
  EXPECT_EQ(shown(), "");
}

TEST_P(ResumeTest, ATornJournalGoesOnFromTheWatermarkBefore) {
  stop_in_the_middle();
  const Path path = dir_ / "p" / kJournal;
  stdfs::resize_file(path, stdfs::file_size(path) - 5);
  resume_to_the_end();
}

TEST_P(ResumeTest, AnotherVersionIsRefusedWithTheReason) {
  stop_in_the_middle();
  const auto newer = [](bool resume) {
    return [resume](OutputOptions& options) {
      with(resume)(options);
      options.version = "newer";
    };
  };
  expect_error(Code::kUsage, "cannot be resumed: version: was test, is newer", [&] {
    FastFileSystem fs;
    run(fs, target_, newer(true));
  });
  ASSERT_TRUE(has_journal());
  FastFileSystem fs;
  run(fs, target_, newer(false));  // starts over
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
}

INSTANTIATE_TEST_SUITE_P(Commands, ResumeTest, all_commands(), command_name);

// --- what is refused, by name --------------------------------------------------------------------

class ChangedPlanTest : public testing::Test {
 protected:
  ChangedPlanTest() {
    kDense.write(dir_ / "hf");
    FaultFileSystem fs(real_file_system(), dir_.path());
    convert_hf(fs, options(false));
    int64_t k = 0;
    const std::vector<std::string> log = fs.log();
    for (size_t appended = 0; appended < 2; ++k) {
      appended += log.at(static_cast<size_t>(k)).starts_with("sync p/" + kJournal) ? 1 : 0;
    }
    stdfs::remove_all(dir_ / "p/out");
    FaultFileSystem stopped(real_file_system(), dir_.path());
    stopped.stop_at(k + 1);
    EXPECT_THROW(convert_hf(stopped, options(false)), FaultFileSystem::Stopped);
  }

  ConvertOptions options(bool resume) const {
    auto options = run_options<ConvertOptions>(dir_ / "hf", dir_ / "p/out");
    options.dtype = kDense.dtype;
    with(resume)(options);
    return options;
  }

  void expect_refused(const std::string& reason, const ConvertOptions& changed) {
    const Tree before = tree(dir_ / "p");
    expect_error(Code::kUsage, "cannot be resumed: " + reason, [&] {
      FastFileSystem fs;
      convert_hf(fs, changed);
    });
    EXPECT_EQ(first_difference(before, tree(dir_ / "p")), "");
  }

  void touch(const Path& path) const {
    stdfs::last_write_time(path, stdfs::last_write_time(path) + std::chrono::seconds(1));
  }

  TempDir dir_;
};

TEST_F(ChangedPlanTest, EachInputIsNamed) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    touch(dir_ / "hf" / name);
    expect_refused(std::string(name) + ": was ", options(true));
    stdfs::last_write_time(dir_ / "hf" / name,
                           stdfs::last_write_time(dir_ / "hf" / name) - std::chrono::seconds(1));
  }
  // The same bytes under another inode are another file.
  stdfs::copy_file(dir_ / "hf/tokenizer.json", dir_ / "hf/copy");
  stdfs::last_write_time(dir_ / "hf/copy", stdfs::last_write_time(dir_ / "hf/tokenizer.json"));
  stdfs::rename(dir_ / "hf/copy", dir_ / "hf/tokenizer.json");
  expect_refused("tokenizer.json: was ", options(true));
}

TEST_F(ChangedPlanTest, AFileMoreOrLessIsNamed) {
  put_file(dir_ / "hf/added.txt", "x");
  expect_refused("added.txt: was not used before", options(true));
  stdfs::remove(dir_ / "hf/added.txt");
  stdfs::remove(dir_ / "hf/tokenizer.json");
  expect_refused("tokenizer.json: is not used any more", options(true));
}

TEST_F(ChangedPlanTest, EachOptionIsNamed) {
  using Edit = std::function<void(ConvertOptions&)>;
  const std::vector<std::pair<std::string, Edit>> changes = {
      {"--dtype: was fp16, is fp32", [](auto& o) { o.dtype = Dtype::kF32; }},
      {"--layer-keys: was auto, is per-layer",
       [](auto& o) { o.layer_keys = LayerKeys::kPerLayer; }},
      {"--spec: was te, is local", [](auto& o) { o.spec = Spec::kLocal; }},
      {"--name-prefix: was by architecture, is 'language_model.'",
       [](auto& o) { o.name_prefix = "language_model."; }},
      {"--vocab-rows: was 0, is 12", [](auto& o) { o.vocab_rows = 12; }},
      {"--file-size: was 5000000000, is 1000", [](auto& o) { o.file_size = 1000; }},
      {"--mtp: was keep, is drop", [](auto& o) { o.keep_mtp = false; }},
      {"--layout hybrid: was 0, is 1", [](auto& o) { o.layout = Layout::kHybrid; }},
      {"--parts: was all, is text", [](auto& o) { o.text_only = true; }},
  };
  for (const auto& [reason, edit] : changes) {
    ConvertOptions changed = options(true);
    edit(changed);
    expect_refused(reason, changed);
  }
}

TEST_F(ChangedPlanTest, OptionsThatDecideNoByteAreNone) {
  ConvertOptions changed = options(true);
  changed.threads = 2;
  changed.memory = 100 << 20;
  changed.overwrite = true;
  changed.report = dir_ / "report.json";
  FastFileSystem fs;
  convert_hf(fs, changed);
  EXPECT_TRUE(stdfs::exists(dir_ / "p/out/release"));
}

TEST_F(ChangedPlanTest, WithoutTheOptionAnotherPlanStartsOver) {
  touch(dir_ / "hf/config.json");
  FastFileSystem fs;
  convert_hf(fs, options(false));
  EXPECT_EQ(real_file_system().list(dir_ / "p"), std::vector<std::string>{"out"});
}

// An input that is found to be wrong after a watermark: what was made of it is worthless.
TEST_F(ChangedPlanTest, BadInputLeavesNothing) {
  put_file(dir_ / "sums", std::string(64, '0') + "  model.safetensors\n");
  ConvertOptions changed = options(false);
  changed.restart = true;
  changed.expect = dir_ / "sums";
  expect_error(Code::kBadInput, "model.safetensors", [&] {
    FastFileSystem fs;
    convert_hf(fs, changed);
  });
  EXPECT_EQ(tree(dir_ / "p"), Tree{});
}

// --- other places --------------------------------------------------------------------------------

// Converts until the power fails at operation k, and returns that operation. Returns nullopt if the
// run ended before it.
std::optional<std::string> convert_until(int64_t k, const Path& root,
                                         const ConvertOptions& options) {
  FaultFileSystem fs(real_file_system(), root);
  fs.stop_at(k);
  fs.drop_unsynced();
  try {
    convert_hf(fs, options);
    return std::nullopt;
  } catch (const FaultFileSystem::Stopped&) {
    return "operation " + std::to_string(k) + ": " + fs.log().back();
  }
}

// The sidecar elsewhere has a partial folder of its own, which the journal is about as well.
TEST(ResumeElsewhereTest, ASidecarElsewhereGoesOnToo) {
  const TempDir dir;
  auto options = dense_with_sidecar_elsewhere(dir);
  with(false)(options);
  const auto whole = [&] {
    Tree all = tree(dir / "p/out");
    for (const auto& [name, content] : tree(dir / "s/side")) all["side " + name] = content;
    return all;
  };
  {
    FastFileSystem fs;
    convert_hf(fs, options);
  }
  const Tree expected = whole();
  int64_t resumed = 0;
  for (int64_t k = 1;; k += 2) {
    stdfs::remove_all(dir / "p");
    stdfs::remove_all(dir / "s");
    const std::optional<std::string> stopped = convert_until(k, dir.path(), options);
    if (!stopped) break;
    SCOPED_TRACE(*stopped);
    auto again = options;
    again.resume = true;
    again.overwrite = stdfs::exists(dir / "p/out") || stdfs::exists(dir / "s/side");
    resumed += stdfs::exists(dir / "p" / kJournal) ? 1 : 0;
    FastFileSystem next;
    convert_hf(next, again);
    EXPECT_EQ(first_difference(expected, whole()), "");
    EXPECT_EQ(real_file_system().list(dir / "p"), std::vector<std::string>{"out"});
    EXPECT_EQ(real_file_system().list(dir / "s"), std::vector<std::string>{"side"});
    if (HasFailure()) return;
  }
  EXPECT_GT(resumed, 25);
}

// With --overwrite-iteration the iteration and the sidecar are two outputs in a root that stays.
TEST(ResumeElsewhereTest, AnIterationAloneGoesOnToo) {
  const TempDir dir;
  kDense.write(dir / "hf");
  auto options = run_options<ConvertOptions>(dir / "hf", dir / "whole");
  with(false)(options);
  FastFileSystem plain;
  options.dtype = Dtype::kF32;
  convert_hf(plain, options);
  stdfs::copy(dir / "whole", dir / "other",
              stdfs::copy_options::recursive | stdfs::copy_options::copy_symlinks);
  options.overwrite_iteration = true;
  options.dtype = kDense.dtype;
  convert_hf(plain, options);
  const Tree expected = tree(dir / "whole");

  options.target = dir / "root";
  int64_t resumed = 0;
  for (int64_t k = 1;; k += 3) {
    stdfs::remove_all(dir / "root");
    stdfs::copy(dir / "other", dir / "root",
                stdfs::copy_options::recursive | stdfs::copy_options::copy_symlinks);
    put_file(dir / "root/iter_0000010/.metadata", "of training");
    const std::optional<std::string> stopped = convert_until(k, dir.path(), options);
    if (!stopped) break;
    SCOPED_TRACE(*stopped);
    resumed += stdfs::exists(dir / "root/.iter_0000000.causeway.journal") ? 1 : 0;
    auto again = options;
    again.resume = true;
    FastFileSystem next;
    convert_hf(next, again);
    EXPECT_EQ(file_content(dir / "root/iter_0000010/.metadata"), "of training");
    stdfs::remove_all(dir / "root/iter_0000010");
    EXPECT_EQ(first_difference(expected, tree(dir / "root")), "");
    if (HasFailure()) return;
  }
  EXPECT_GT(resumed, 20);
}

}  // namespace
}  // namespace bridge
