// Conversions and exports of tiny models, a dense one cast to FP16 and one with experts in FP8, for
// tests that stop or fail them. dir_/whole is the output of an undisturbed run, dir_/p a folder for
// outputs.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "tests/convert/tiny_moe.h"

namespace bridge {

// The values are small, so that FP16 loses bits of them but never overflows.
inline void write_dense(const Path& folder) {
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
inline const Model kDense = {write_dense, Dtype::kF16};  // this one also writes witnesses
inline const Model kQuantized = {write_qwen3_moe_fp8, {}};

// The options of a conversion of kDense from dir/hf, which is written here, to dir/p/out, with its
// sidecar in dir/s/side.
inline ConvertOptions dense_with_sidecar_elsewhere(const TempDir& dir) {
  kDense.write(dir / "hf");
  auto options = run_options<ConvertOptions>(dir / "hf", dir / "p/out");
  options.dtype = kDense.dtype;
  options.sidecar = dir / "s/side";
  return options;
}

struct Command {
  std::string name;
  const Model* model;
  bool exports;
};

using Change = std::function<void(OutputOptions&)>;

class CommandTest : public testing::TestWithParam<Command> {
 protected:
  CommandTest() {
    FastFileSystem fs;
    GetParam().model->write(dir_ / "hf");
    source_ = dir_ / "hf";
    if (GetParam().exports) {
      convert(fs, dir_ / "megatron");
      source_ = dir_ / "megatron";
    }
    run(fs, dir_ / "whole");
    whole_ = tree(dir_ / "whole");
    if (GetParam().exports) {
      EXPECT_EQ(first_difference(tree(dir_ / "hf"), whole_), "");
    }
  }

  void clear() const {
    std::filesystem::remove_all(dir_ / "p");
    std::filesystem::create_directory(dir_ / "p");
  }

  void convert(FileSystem& fs, const Path& target, const Change& change = {}) const {
    auto options = run_options<ConvertOptions>(source_, target);
    options.dtype = GetParam().model->dtype;
    if (change) change(options);
    convert_hf(fs, options);
  }
  // change: of the options.
  void run(FileSystem& fs, const Path& target, const Change& change = {}) const {
    if (!GetParam().exports) return convert(fs, target, change);
    auto options = run_options<ExportOptions>(source_, target);
    if (change) change(options);
    export_to_hf(fs, options);
  }

  std::string shown() const { return first_difference(tree(target_), whole_); }
  std::vector<std::string> names() const { return real_file_system().list(dir_ / "p"); }

  TempDir dir_;
  Path source_;
  Path target_ = dir_ / "p/out";
  Tree whole_;
};

// All of them, for a test suite derived from CommandTest.
inline auto all_commands() {
  return testing::Values(Command{"Convert", &kDense, false}, Command{"Export", &kDense, true},
                         Command{"ConvertQuantized", &kQuantized, false},
                         Command{"ExportQuantized", &kQuantized, true});
}
inline std::string command_name(const testing::TestParamInfo<Command>& test) {
  return test.param.name;
}

}  // namespace bridge
