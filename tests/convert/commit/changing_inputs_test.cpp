// Tests inputs that change while they are read: any change between planning and commit ends the run
// with a kBadInput that names the input, and nothing is committed.
#include <gtest/gtest.h>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "bridge/io/file/sha256.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;

// Runs a function once, before a file of this name is created: when reading is over, or has not
// begun.
class Meddling : public FaultFileSystem {
 public:
  Meddling(std::string name, std::function<void()> meddle)
      : FaultFileSystem(real_file_system()), name_(std::move(name)), meddle_(std::move(meddle)) {}
  std::unique_ptr<File> create(const Path& path) override {
    if (path.filename() == name_ && meddle_) std::exchange(meddle_, nullptr)();
    return FaultFileSystem::create(path);
  }
  bool has_meddled() const { return !meddle_; }

 private:
  const std::string name_;
  std::function<void()> meddle_;
};

void write_model(const Path& folder, unsigned seed) {
  const auto bytes = [random = std::mt19937(seed)](size_t size) mutable {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random() & 0x3f);
    return text;
  };
  write_hf_folder(folder, tiny_config(1, true, "bfloat16"),
                  tiny_tensors(1, true, Dtype::kBF16, bytes));
  // The clock of file systems ticks every few milliseconds; a file that is written and changed
  // within one tick looks unchanged.
  for (const auto& file : stdfs::directory_iterator(folder)) {
    stdfs::last_write_time(file, stdfs::file_time_type::clock::now() - std::chrono::hours(1));
  }
}

void replace(const Path& path) {
  stdfs::copy_file(path, path.native() + ".new");
  stdfs::rename(path.native() + ".new", path);
}

void scribble(const Path& path) {
  const std::string content = file_content(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(content.back() ^ 1));
}

struct Change {
  std::string name;
  std::string file;
  std::function<void(const Path&)> make;
};
const Change kChanges[] = {
    {"ShardScribbled", "model.safetensors", scribble},
    {"ShardReplacedByTheSameBytes", "model.safetensors", replace},
    {"ShardRemoved", "model.safetensors", [](const Path& path) { stdfs::remove(path); }},
    {"ConfigReplaced", "config.json", replace},
    {"TokenizerScribbled", "tokenizer.json", scribble},
};

class ChangingInputTest : public testing::TestWithParam<Change> {
 protected:
  TempDir dir_;
};

// Changes inputs before the first byte is written, and after the last tensor.
TEST_P(ChangingInputTest, EndsAConversion) {
  for (const char* when : {"__0_0.distcp", ".metadata", "manifest.json"}) {
    stdfs::remove_all(dir_ / "hf");
    write_model(dir_ / "hf", 1);
    const Path changed = dir_ / "hf" / GetParam().file;
    Meddling fs(when, [&] { GetParam().make(changed); });
    try {
      convert_hf(fs, run_options<ConvertOptions>(dir_ / "hf", dir_ / "p/out"));
      ADD_FAILURE() << "no error: " << when;
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == Code::kBadInput || e.code() == Code::kIo) << e.message();
      EXPECT_NE(e.message().find(GetParam().file), std::string::npos) << e.message();
    }
    EXPECT_TRUE(fs.has_meddled());
    EXPECT_FALSE(stdfs::exists(dir_ / "p")) << when;
  }
}

INSTANTIATE_TEST_SUITE_P(Changes, ChangingInputTest, testing::ValuesIn(kChanges),
                         [](const auto& test) { return test.param.name; });

// Another run exchanges the checkpoint for one of the same shapes. The export would read .metadata
// from the old checkpoint and tensors from the new one, and every CRC would be right.
TEST(ChangingCheckpointTest, AnExportNeverMixesTwo) {
  const TempDir dir;
  for (const unsigned seed : {1U, 2U}) {
    const std::string number = std::to_string(seed);
    write_model(dir / ("hf" + number), seed);
    convert_hf(real_file_system(),
               run_options<ConvertOptions>(dir / ("hf" + number), dir / ("root" + number)));
  }
  for (const char* when : {"model.safetensors", "config.json", "tokenizer.json"}) {
    Meddling fs(when, [&] { real_file_system().exchange(dir / "root1", dir / "root2"); });
    expect_error(Code::kBadInput, "the file changed while it was being read", [&] {
      export_to_hf(fs, run_options<ExportOptions>(dir / "root1", dir / "p/out"));
    });
    EXPECT_TRUE(fs.has_meddled());
    EXPECT_FALSE(stdfs::exists(dir / "p"));
  }
}

// --expect covers the bytes that were copied: it detects a faulty read although the file is right.
class OneWrongRead : public FaultFileSystem {
 public:
  explicit OneWrongRead(int64_t wrong) : FaultFileSystem(real_file_system()), wrong_(wrong) {}

  std::unique_ptr<File> open_read(const Path& path) override {
    auto file = FaultFileSystem::open_read(path);
    if (path.filename() != "model.safetensors") return file;
    return std::make_unique<Reader>(std::move(file), *this);
  }
  bool has_happened() const { return reads_ >= wrong_; }

 private:
  class Reader : public File {
   public:
    Reader(std::unique_ptr<File> inner, OneWrongRead& fs) : inner_(std::move(inner)), fs_(fs) {}
    const Path& path() const override { return inner_->path(); }
    int64_t size() const override { return inner_->size(); }
    Stat stat() const override { return inner_->stat(); }
    void read_at(int64_t offset, std::span<std::byte> out) const override {
      inner_->read_at(offset, out);
      if (out.empty()) return;
      if (++fs_.reads_ == fs_.wrong_) out.back() ^= std::byte{1};
    }
    void write_at(int64_t, std::span<const std::byte>) override { internal_error("read only"); }
    void allocate(int64_t) override { internal_error("read only"); }
    void sync() override { internal_error("read only"); }

   private:
    std::unique_ptr<File> inner_;
    OneWrongRead& fs_;
  };

  const int64_t wrong_;
  mutable std::atomic<int64_t> reads_ = 0;
};

TEST(ExpectTest, OneBitInAnyReadIsFound) {
  const TempDir dir;
  write_model(dir / "hf", 1);
  Sha256 sha;
  sha.add(file_content(dir / "hf/model.safetensors"));
  put_file(dir / "sums", sha.hex() + "  model.safetensors\n");
  auto options = run_options<ConvertOptions>(dir / "hf", dir / "p/out");
  options.expect = dir / "sums";
  options.threads = 1;
  int64_t found = 0;
  for (int64_t k = 1;; ++k) {
    OneWrongRead fs(k);
    try {
      convert_hf(fs, options);
      EXPECT_FALSE(fs.has_happened()) << "read " << k;
      break;
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == Code::kBadInput || e.code() == Code::kUnsupported) << e.message();
      ++found;
    }
    EXPECT_FALSE(stdfs::exists(dir / "p"));
  }
  EXPECT_GT(found, 10);
}

}  // namespace
}  // namespace bridge
