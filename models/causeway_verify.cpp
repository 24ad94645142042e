// causeway-verify: the forward pass, as a program of its own so that `causeway` starts without LibTorch.
//
//   causeway-verify A B                       two checkpoints of one model: configuration, tensors, forward pass
//   causeway-verify A --reference-logits F    one checkpoint's forward pass against recorded logits
// Forward passes of equal models are equal bit for bit; where configuration or tensors differ already, what they differ
// by is judged like a difference from recorded logits.
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "bridge/io/error.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/torch_dist.h"
#include "models/forward.h"
#include "models/hf_weights.h"
#include "models/megatron_weights.h"
#include "models/reference_check.h"
#include "models/view_comparison.h"

namespace {

constexpr int64_t kHeaderMemory = 1 << 30;
constexpr int kMostThreads = 1024;
constexpr int64_t kLongestPrompt = 1 << 20;
constexpr size_t kShownDifferences = 20;
constexpr const char* kReport = "this is a bug of causeway: please report it with the command line";

struct Options {
  std::string a;
  std::string b;
  std::string reference;
  std::string iteration;
  int threads = 1;
  int64_t prompt_length = 32;
  uint64_t seed = 1;
};

std::unique_ptr<models::Weights> open_weights(const std::string& path, const Options& options,
                                              bridge::FileSystem& fs,
                                              bridge::MemoryBudget& budget) {
  if (bridge::looks_like_megatron(fs, path)) {
    return models::open_megatron_weights(fs, path, options.iteration, budget);
  }
  if (bridge::looks_like_hf_folder(fs, path)) return models::open_hf_weights(fs, path, budget);
  bridge::usage_error(fmt::format("{}: neither a Hugging Face folder nor a Megatron checkpoint",
                                  bridge::printable(path)));
}

bool check_reference(models::Weights& weights, const models::ReferenceLogits& reference) {
  bool passes = true;
  fmt::print("{:<16} {:>12} {:>12} {:>12}\n", "compared", "max |d|", "allowed", "top-1");
  for (const models::Difference& found : models::check_against(weights, {}, reference)) {
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
  return passes;
}

// Prints one line each, the first ones only.
template <typename Items, typename Line>
void print_some(const Items& items, const Line& line) {
  for (size_t i = 0; i < std::min(items.size(), kShownDifferences); ++i) line(items[i]);
  if (items.size() > kShownDifferences) {
    fmt::print("  and {} more\n", items.size() - kShownDifferences);
  }
}

bool same_configuration(const models::Weights& a, const models::Weights& b) {
  const std::vector<models::FieldDifference> fields =
      models::compare_configurations(a.config(), b.config());
  fmt::print("configuration  {}\n", fields.empty() ? "equal" : "DIFFERENT");
  print_some(fields, [](const models::FieldDifference& found) {
    fmt::print("  {}: {} and {}\n", found.field, found.a.empty() ? "nothing" : found.a,
               found.b.empty() ? "nothing" : found.b);
  });
  return fields.empty();
}

bool same_tensors(models::Weights& a, models::Weights& b) {
  const models::TensorVerdict tensors = models::compare_tensors(a, b);
  fmt::print("tensors        {}: {} of {} differ\n",
             tensors.differences.empty() ? "equal" : "DIFFERENT", tensors.differences.size(),
             tensors.compared);
  print_some(tensors.permutations, [](const std::string& line) { fmt::print("  {}\n", line); });
  print_some(tensors.differences, [](const models::TensorDifference& found) {
    fmt::print("  {}: {}\n", found.name, found.what);
  });
  return tensors.differences.empty();
}

bool same_forward(models::Weights& a, models::Weights& b, const at::Tensor& ids, bool same_model) {
  const models::ForwardVerdict forward = models::compare_forward(a, b, {}, ids);
  if (!forward.not_comparable.empty()) {
    fmt::print("forward        DIFFERENT: not comparable ({})\n", forward.not_comparable);
    return false;
  }
  const auto passes = [&](const models::StateDifference& found) {
    return found.identical || (!same_model && found.largest <= found.allowed);
  };
  const auto first = std::find_if_not(forward.states.begin(), forward.states.end(), passes);
  bool equal = first == forward.states.end();
  bool identical = true;
  for (const models::HeadDifference& head : forward.heads) {
    equal = equal && passes(head);
    identical = identical && head.identical;
  }
  fmt::print("forward        {}{}\n", equal ? "equal" : "DIFFERENT",
             identical ? ", bit for bit" : "");
  if (first != forward.states.end()) {
    fmt::print("  first in {}: by {:.3g}, {:.3g} allowed\n", first->name, first->largest,
               first->allowed);
  }
  fmt::print("  {:<14} {:>12} {:>12} {:>12} {:>12} {:>9} {:>9}\n", "head", "max |d|", "mean |d|",
             "allowed", "KL", "top-1", "top-5");
  for (const models::HeadDifference& head : forward.heads) {
    fmt::print("  {:<14} {:>12.3g} {:>12.3g} {:>12.3g} {:>12.3g} {:>9} {:>9}\n", head.name,
               head.largest, head.mean, head.allowed, head.divergence,
               fmt::format("{}/{}", head.top1, head.rows),
               fmt::format("{}/{}", head.top5, head.rows));
  }
  return equal;
}

bool compare(models::Weights& a, models::Weights& b, const at::Tensor& ids) {
  const bool configuration = same_configuration(a, b);
  const bool tensors = same_tensors(a, b);
  const bool forward = same_forward(a, b, ids, configuration && tensors);
  return configuration && tensors && forward;
}

int verify(const Options& options) {
  if (options.b.empty() && options.reference.empty()) {
    bridge::usage_error("one checkpoint, and nothing to compare it with",
                        "name a second one, or --reference-logits FILE");
  }
  bridge::FileSystem& fs = bridge::real_file_system();
  bridge::MemoryBudget budget(kHeaderMemory);
  models::make_deterministic(options.threads);
  std::unique_ptr<models::ReferenceLogits> reference;
  if (!options.reference.empty()) {
    reference = std::make_unique<models::ReferenceLogits>(fs, options.reference, budget);
  }
  const auto a = open_weights(options.a, options, fs, budget);
  bool passes = true;
  if (!options.b.empty()) {
    const auto b = open_weights(options.b, options, fs, budget);
    const at::Tensor ids =
        reference ? reference->ids()
                  : models::seeded_prompt(a->config().vocab, options.prompt_length, options.seed);
    passes = compare(*a, *b, ids);
    if (reference) passes = check_reference(*b, *reference) && passes;
  }
  if (reference) passes = check_reference(*a, *reference) && passes;
  return passes ? 0 : static_cast<int>(bridge::Code::kMismatch);
}

int run(int argc, char** argv) {
  CLI::App app(
      "Runs checkpoints' forward pass: two of one model against each other, or against recorded "
      "logits.",
      "causeway-verify");
  app.set_version_flag("--version", "causeway-verify " CAUSEWAY_VERSION);
  Options options;
  app.add_option("DIR", options.a, "Hugging Face folder or Megatron checkpoint")->required();
  app.add_option("OTHER", options.b, "What should be the same model");
  app.add_option("--reference-logits", options.reference, "safetensors with input_ids and logits")
      ->type_name("FILE");
  app.add_option("--prompt-length", options.prompt_length, "Tokens of the prompt (default 32)")
      ->check(CLI::Range(int64_t{1}, kLongestPrompt))
      ->type_name("N");
  app.add_option("--seed", options.seed, "Which prompt (default 1)")->type_name("S");
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

bridge::Error out_of_memory() {
  return {bridge::Code::kIo, "out of memory", "a shorter prompt needs less"};
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
    return print_error(out_of_memory());
  } catch (const c10::Error& error) {
    // The CPU's allocator has no error type of its own.
    const std::string text = error.what_without_backtrace();
    if (text.find("can't allocate memory") != std::string::npos)
      return print_error(out_of_memory());
    return print_error({bridge::Code::kInternal, bridge::printable(text), kReport});
  } catch (const std::exception& error) {
    return print_error({bridge::Code::kInternal, error.what(), kReport});
  }
}
