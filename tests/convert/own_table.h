// Round trips of models that have a mapping table of their own: dir_/source there and back.
#pragma once

#include <gtest/gtest.h>

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
