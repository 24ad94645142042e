#include "models/verify/option_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/file/stream_file.h"
#include "models/forward/recompute.h"

namespace models {
namespace {

// Refuses combinations of options that name two prompts.
void check_prompt_options(const VerificationOptions& options) {
  const std::pair<std::string_view, bool> given[] = {
      {"--reference-logits", !options.reference.empty()},
      {"--tokens", !options.tokens.empty()},
      {"--prompt-length", options.prompt_length.has_value()},
      {"--seed", options.seed.has_value()}};
  const auto is_given = [](const auto& option) { return option.second; };
  const auto* const first = std::find_if(std::begin(given), std::end(given), is_given);
  if (first == std::end(given) || first->first == "--prompt-length") return;
  const auto* const second = std::find_if(first + 1, std::end(given), is_given);
  if (second == std::end(given)) return;
  bridge::usage_error(
      fmt::format("{} with {}: one of them says which tokens", second->first, first->first),
      "--prompt-length and --seed make a prompt where neither --tokens nor "
      "--reference-logits has one");
}

void check_processes(const VerificationOptions& options) {
  if (options.rank.count == 1) return;
  if (options.mode == "train-step" || !options.reference.empty()) {
    bridge::usage_error(
        fmt::format("{} with {} processes: one does it all",
                    options.reference.empty() ? "--mode train-step" : "--reference-logits",
                    options.rank.count),
        "--rank 0/1 says that a process is alone");
  }
  const std::string& place = options.meeting.empty() ? options.report : options.meeting;
  if (place.empty() || bridge::is_stream(place)) {
    bridge::usage_error("verify with several processes needs --report FILE",
                        "they meet beside that file, in a folder that all of them see");
  }
}

void check_train_step(const VerificationOptions& options) {
  const std::pair<std::string_view, bool> others[] = {
      {"--reference-logits", !options.reference.empty()},
      {"--layers", !options.layers.empty()},
      {"--layers-input seeded", options.seeded_layers},
      {"--device-memory", options.device_memory.has_value()},
      {"--compute bf16", options.compute != "fp32"}};
  for (const auto& [name, given] : others) {
    if (given) bridge::usage_error(fmt::format("{} with --mode train-step", name), "leave it out");
  }
  if (!options.recompute.empty()) parse_recompute(options.recompute);
  check_prompt_options(options);
}

// Where "auto" takes the CPU, a cap on the device holds, and the line `prompt` names the CPU.
void check_device_memory(const VerificationOptions& options) {
  if (!options.device_memory || options.device != "cpu") return;
  bridge::usage_error("--device-memory with --device cpu: the CPU has the memory of --memory",
                      "leave one of them out");
}

}  // namespace

void check_together(const VerificationOptions& options) {
  check_processes(options);
  check_device_memory(options);
  if (options.mode == "train-step") return check_train_step(options);
  const std::pair<std::string_view, bool> of_training[] = {
      {"--dump", !options.dump.empty()},
      {"--context-parallel", options.ranks != 1},
      {"--aux-loss", options.router_loss},
      {"--mhc-recompute-layers", options.mhc_block != 0},
      {"--recompute", !options.recompute.empty()},
      {"--fp8", options.fp8 != "none"}};
  for (const auto& [name, given] : of_training) {
    if (given) bridge::usage_error(fmt::format("{} is for --mode train-step", name));
  }
  if (options.b.empty() && options.reference.empty()) {
    bridge::usage_error("one checkpoint, and nothing to compare it with",
                        "name a second one, or --reference-logits FILE");
  }
  if (!options.reference.empty() && options.seeded_layers) {
    bridge::usage_error("--layers-input seeded with --reference-logits: such layers give others",
                        "leave one of them out");
  }
  if (!options.reference.empty() && !options.layers.empty()) {
    bridge::usage_error("--layers with --reference-logits: some layers have no logits",
                        "leave one of them out");
  }
  check_prompt_options(options);
}

}  // namespace models
