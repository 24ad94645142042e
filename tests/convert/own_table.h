// Round trips of models that have a mapping table of their own: dir_/source there and back.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "bridge/convert/verify_hash.h"
#include "tests/convert/fixtures.h"

namespace bridge {

class OwnTableTest : public testing::Test {
 protected:
  explicit OwnTableTest(const std::string& table) { put_file(dir_ / "table.jsonc", table); }

  ConvertOptions convert_options(const std::string& target, int threads, int64_t memory) const {
    auto options = run_options<ConvertOptions>(dir_ / "source", dir_ / target);
    options.mapping = dir_ / "table.jsonc";
    options.threads = threads;
    options.memory = memory;
    return options;
  }

  Report export_again(const std::string& source, const std::string& target, int threads = 1,
                      int64_t memory = 64 << 20, const Path& reference = {}) {
    auto options = run_options<ExportOptions>(dir_ / source, dir_ / target);
    options.mapping = dir_ / "table.jsonc";
    options.threads = threads;
    options.memory = memory;
    options.reference = reference;
    return export_to_hf(fs_, options);
  }

  // Exports dir_/megatron to dir_/hf in another dtype and returns the tensors, as hf_tensors does.
  std::map<std::string, std::string> exported_as(Dtype dtype) {
    auto options = run_options<ExportOptions>(dir_ / "megatron", dir_ / "hf");
    options.mapping = dir_ / "table.jsonc";
    options.dtype = dtype;
    export_to_hf(fs_, options);
    return hf_tensors(dir_ / "hf");
  }

  bool differs(const std::string& converted) {
    VerifyOptions options;
    options.mapping = dir_ / "table.jsonc";
    options.a = dir_ / "source";
    options.b = dir_ / converted;
    options.quiet = true;
    options.threads = 1;
    options.progress = ProgressMode::kNever;
    return verify_hash(fs_, options).difference;
  }

  std::string difference(const std::string& a, const std::string& b) const {
    return first_difference(tree(dir_ / a), tree(dir_ / b));
  }

  // Exports of dir_/root give back dir_/source: with its sidecar, which is then removed, and with
  // the scales of dir_/source. Returns the report of the first.
  Report expect_the_source(const std::string& root, int threads = 1, int64_t memory = 64 << 20) {
    const Report report = export_again(root, "hf", threads, memory);
    EXPECT_EQ(difference("source", "hf"), "");
    std::filesystem::remove_all(dir_ / root / "causeway");
    export_again(root, "hf_reference", threads, memory, dir_ / "source");
    EXPECT_EQ(difference("source", "hf_reference"), "");
    for (const char* folder : {"hf", "hf_reference"}) std::filesystem::remove_all(dir_ / folder);
    return report;
  }

  // dir_/one and dir_/four, which other threads and another memory made of dir_/source, are equal,
  // verify finds no difference, and both come back without new blocks. Returns the report of one.
  Report expect_one_and_four() {
    EXPECT_EQ(difference("one", "four"), "");
    EXPECT_FALSE(differs("one"));
    const Report report = expect_the_source("one");
    EXPECT_EQ(report.json["blocks"]["new"], 0);
    expect_the_source("four", 4, 4 << 20);
    return report;
  }

  // The payload of one item of a checkpoint.
  std::string payload(const std::string& root, const std::string& key, size_t chunk = 0) const {
    std::string found;
    edit_item(dir_ / root, key, chunk, [&](std::string& data) { found = data; });
    return found;
  }

  // Renames a key in place by one of the same length.
  void rename_key(const std::string& root, const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    const Path path = open_checkpoint(dir_ / root).dist_dir / ".metadata";
    std::string bytes = file_content(path);
    size_t found = 0;
    for (size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at + 1)) {
      bytes.replace(at, from.size(), to);
      ++found;
    }
    ASSERT_GT(found, 0U);
    put_file(path, bytes);
  }

  TempDir dir_;
  FastFileSystem fs_;
};

}  // namespace bridge
