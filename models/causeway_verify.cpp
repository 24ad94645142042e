// causeway-verify: the forward pass, as a program of its own so that `causeway` starts without LibTorch.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "bridge/io/error.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/torch_dist.h"
#include "models/forward.h"
#include "models/hf_weights.h"
#include "models/megatron_weights.h"
#include "models/reference_check.h"

namespace {

constexpr int64_t kHeaderMemory = 1 << 30;
constexpr int kMostThreads = 1024;

struct Options {
  std::string model;
  std::string reference;
  std::string iteration;
  int threads = 1;
};

std::unique_ptr<models::Weights> open_weights(const Options& options, bridge::FileSystem& fs,
                                              bridge::MemoryBudget& budget) {
  if (bridge::looks_like_megatron(fs, options.model)) {
    return models::open_megatron_weights(fs, options.model, options.iteration, budget);
  }
  if (bridge::looks_like_hf_folder(fs, options.model)) {
    return models::open_hf_weights(fs, options.model, budget);
  }
  bridge::usage_error(fmt::format("{}: neither a Hugging Face folder nor a Megatron checkpoint",
                                  bridge::printable(options.model)));
}

int verify(const Options& options) {
  bridge::FileSystem& fs = bridge::real_file_system();
  bridge::MemoryBudget budget(kHeaderMemory);
  models::make_deterministic(options.threads);
  const models::ReferenceLogits reference(fs, options.reference, budget);
  const std::unique_ptr<models::Weights> weights = open_weights(options, fs, budget);
  bool passes = true;
  fmt::print("{:<16} {:>12} {:>12} {:>12}\n", "compared", "max |d|", "allowed", "top-1");
  for (const models::Difference& found : models::check_against(*weights, {}, reference)) {
    const std::string top1 = found.top1 < 0 ? "" : fmt::format("{}/{}", found.top1, found.rows);
    fmt::print("{:<16} {:>12.3g} {:>12.3g} {:>12}{}\n", found.name, found.largest, found.allowed,
               top1, found.passes() ? "" : "  DIFFERENT");
    passes = passes && found.passes();
  }
  const int64_t rows = reference.ids().size(1);
  if (reference.judged_rows() < rows) {
    fmt::print("{} of {} rows follow a near-tie and were not judged\n",
               rows - reference.judged_rows(), rows);
  }
  fmt::print("{}\n", passes ? "the forward pass meets the reference"
                            : "the forward pass differs from the reference");
  return passes ? 0 : static_cast<int>(bridge::Code::kMismatch);
}

int run(int argc, char** argv) {
  CLI::App app("Runs a checkpoint's forward pass and compares its logits with recorded ones.",
               "causeway-verify");
  app.set_version_flag("--version", "causeway-verify " CAUSEWAY_VERSION);
  Options options;
  app.add_option("DIR", options.model, "Hugging Face folder or Megatron checkpoint")->required();
  app.add_option("--reference-logits", options.reference, "safetensors with input_ids and logits")
      ->type_name("FILE")
      ->required();
  app.add_option("--iteration", options.iteration, "Of a Megatron checkpoint: N, release or latest")
      ->type_name("N");
  app.add_option("--threads", options.threads, "Threads (default 1)")
      ->check(CLI::Range(1, kMostThreads))
      ->type_name("N");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked_for = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    if (asked_for) return app.exit(error);
    bridge::usage_error(bridge::printable(error.what()), "see causeway-verify --help");
  }
  return verify(options);
}

int print_error(const bridge::Error& error) {
  fmt::print(stderr, "causeway-verify: {}\n", error.message());
  if (!error.hint().empty()) fmt::print(stderr, "  {}\n", error.hint());
  return error.exit_status();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const bridge::Error& error) {
    return print_error(error);
  } catch (const std::bad_alloc&) {
    return print_error({bridge::Code::kIo, "out of memory"});
  } catch (const std::exception& error) {
    return print_error({bridge::Code::kInternal, error.what(),
                        "this is a bug of causeway: please report it with the command line"});
  }
}
