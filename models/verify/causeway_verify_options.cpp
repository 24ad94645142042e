#include "models/verify/causeway_verify_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/launch/rank.h"
#include "models/forward/prompt.h"
#include "models/model/model_config.h"

namespace {

constexpr int kMostThreads = 1024;

constexpr const char* kFooter =
    "Examples:\n"
    "  causeway-verify Qwen3-8B megatron/qwen3-8b                  is it the same model?\n"
    "  causeway-verify Qwen3-8B Qwen3-8B-exported --layers 0:4     two of one kind, some layers\n"
    "  causeway-verify megatron/run7 --reference-logits rec.safetensors\n"
    "  srun -N4 causeway-verify DeepSeek-V3 megatron/v3 --report verify.json\n"
    "Exit status: 0 equal, 1 something differs, 2 usage, 3 bad input, 4 I/O, 5 unsupported, 70 a "
    "bug "
    "of ours.\n"
    "docs/verification.md says what is compared and what the report holds.";

std::string refuse_nothing(const std::string& value) {
  return value.empty() ? "nothing given" : "";
}

// Adds an option whose value is a non-empty text.
CLI::Option* add_text(CLI::App& app, const char* name, std::string& target, const char* type,
                      const char* help) {
  return app.add_option(name, target, help)->type_name(type)->check(refuse_nothing, "", "");
}

void add_pass_options(CLI::App& app, models::VerificationOptions& options) {
  add_text(app, "--tokens", options.tokens, "FILE|IDS",
           "The prompt: numbers with commas between, or a file of them, a prompt a line");
  app.add_option("--prompt-length", options.prompt_length,
                 "Tokens of a prompt made from --seed (default 32)")
      ->check(CLI::Range(int64_t{1}, models::kMostTokens))
      ->type_name("N");
  app.add_option("--seed", options.seed, "Which prompt (default 1)")->type_name("S");
  add_text(app, "--layers", options.layers, "A:B",
           "Only the decoder layers A to B - 1; the verdict says PARTIAL");
  app.add_option_function<std::string>(
         "--layers-input",
         [&options](const std::string& what) { options.seeded_layers = what == "seeded"; },
         "What a layer reads: computed (by the layers before it), or seeded: numbers from --seed "
         "for "
         "each layer, so that several processes need not wait for each other; the verdict says "
         "'layer by layer' (default computed)")
      ->check(CLI::IsMember({"computed", "seeded"}))
      ->type_name("WHAT");
  app.add_option("--compute", options.compute,
                 "Numbers of the forward pass: fp32, bf16 (default fp32)")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->type_name("DTYPE");
  add_text(app, "--device", options.device, "DEVICE",
           "auto (a GPU that can be used, else the CPU), cpu, cuda, cuda:N (default auto)");
  add_text(app, "--cuda-libraries", options.cuda_libraries, "DIR",
           "Where pip put torch/ and nvidia/ (default: CAUSEWAY_CUDA_LIBRARIES, else beside the "
           "linked LibTorch and in the Python environment)");
  app.add_option("--device-memory", options.device_memory,
                 "Hard cap on weights, states and workspaces on the GPU, on top of the driver's "
                 "context (default: what is free there)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->type_name("SIZE");
  app.add_option("--dtype", options.dtype,
                 "What the conversion rounded weights to: source (nothing), bf16, fp16, fp32; "
                 "another rounding is then a difference (default: not known)")
      ->check(CLI::IsMember({"source", "bf16", "fp16", "fp32"}))
      ->type_name("DTYPE");
  app.add_option_function<std::string>(
         "--mtp", [&options](const std::string& what) { options.drop_mtp = what == "drop"; },
         "keep, or drop: leave multi-token prediction out, of the Hugging Face side or of a "
         "training "
         "step (default keep)")
      ->check(CLI::IsMember({"keep", "drop"}))
      ->type_name("WHAT");
  app.add_option_function<std::string>(
         "--parts", [&options](const std::string& what) { options.text_only = what == "text"; },
         "all, or text: the other side was made without the vision tower of one (default all)")
      ->check(CLI::IsMember({"all", "text"}))
      ->type_name("WHAT");
}

void add_training_options(CLI::App& app, models::VerificationOptions& options) {
  app.add_option("--mode", options.mode,
                 "logits (forward pass), train-step (losses and gradients of one checkpoint, or of "
                 "two) (default logits)")
      ->check(CLI::IsMember({"logits", "train-step"}))
      ->type_name("MODE");
  add_text(app, "--dump", options.dump, "FILE",
           "train-step: write losses and gradients (safetensors); the first of two checkpoints "
           "goes to FILE.first");
  app.add_option("--context-parallel", options.ranks,
                 "train-step: shift and count targets on N ranks, in this process (default 1)")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->type_name("N");
  app.add_option("--mhc-recompute-layers", options.mhc_block,
                 "train-step: drop results of hyper-connections after every N layers and compute "
                 "them again (default: as the checkpoint's recompute_modules say)")
      ->check(CLI::Range(int64_t{1}, models::kMostLayers))
      ->type_name("N");
  app.add_flag("--aux-loss", options.router_loss,
               "train-step: add the losses of routers, as the checkpoint configures them");
  add_text(
      app, "--recompute", options.recompute, "MODE",
      "train-step: what the backward pass computes again: none, full[:N] (N layers at a time), "
      "block:N (the first N layers), selective[:PARTS] (of core_attn, mlp, moe, "
      "shared_experts); one checkpoint is also compared with none (default none)");
  app.add_option(
         "--fp8", options.fp8,
         "train-step: linears in emulated FP8: none, delayed, current, block (default none)")
      ->check(CLI::IsMember({"none", "delayed", "current", "block"}))
      ->type_name("RECIPE");
}

void add_rank_options(CLI::App& app, models::VerificationOptions& options) {
  app.add_option_function<std::string>(
         "--rank", [&options](const std::string& text) { bridge::set_rank(options.rank, text); },
         "Which of N processes that share the comparison this is, from 0 (default: as Slurm, MPI "
         "or "
         "torchrun say); they meet beside --report; 0/1: the only one")
      ->type_name("i/N");
  app.add_option_function<int>(
         "--rank-timeout",
         [&options](const int& seconds) { options.rank.timeout = std::chrono::seconds(seconds); },
         "How long to wait for processes that never come (default 600)")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("SECONDS");
}

void add_run_options(CLI::App& app, models::VerificationOptions& options) {
  add_text(app, "--iteration", options.iteration, "N",
           "Of a Megatron checkpoint: a number, release or latest (default: the tracker)");
  add_text(app, "--run-config", options.run_config, "FILE",
           "run_config.yaml for a Megatron checkpoint that has none");
  app.add_option("--threads", options.threads, "Threads (default: one a core, at most 16)")
      ->check(CLI::Range(1, kMostThreads))
      ->type_name("N");
  app.add_option("--memory", options.memory,
                 "Hard cap on headers, metadata and weights, on top of LibTorch and what a prompt "
                 "needs (default: 256MiB for headers, and as much as the largest tensor takes)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->type_name("SIZE");
  add_text(app, "--report", options.report, "FILE", "Write a machine-readable result to this file");
  app.add_option_function<std::string>(
         "--progress",
         [&options](const std::string& mode) { options.progress = bridge::progress_mode(mode); },
         "Progress on stderr: auto, always, never (default auto)")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("MODE");
  app.add_flag("--quiet,-q", options.quiet, "Only errors and warnings");
}

}  // namespace

std::optional<models::VerificationOptions> parse_command_line(int argc, char** argv) {
  CLI::App app(
      "Runs the forward pass of checkpoints: two of one model against each other, or against\n"
      "recorded logits. `causeway verify` runs it.",
      "causeway-verify");
  app.set_version_flag("--version", "causeway-verify " CAUSEWAY_VERSION);
  app.footer(kFooter);
  app.get_formatter()->column_width(34);
  // causeway passes its version, because two builds may disagree about options and reports.
  std::string caller = CAUSEWAY_VERSION;
  models::VerificationOptions options;
  options.version = CAUSEWAY_VERSION;
  app.add_option("--called-by-version", caller)->group("");
  app.add_option("--called-by-process", options.caller)->group("");
  app.add_option("--called-for-report", options.meeting)->group("");
  app.add_flag("--called-to-check", options.only_checks)->group("");
  app.add_option("DIR", options.a, "Hugging Face folder or Megatron checkpoint")->required();
  app.add_option("OTHER", options.b, "What should be the same model");
  add_text(app, "--reference-logits", options.reference, "FILE",
           "Recorded logits: safetensors with input_ids, logits, mtp_logits.K");
  add_pass_options(app, options);
  add_training_options(app, options);
  add_rank_options(app, options);
  add_run_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked_for = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    if (asked_for) {
      app.exit(error);
      return std::nullopt;
    }
    bridge::usage_error(bridge::printable(error.what()), "see causeway-verify --help");
  }
  if (caller != CAUSEWAY_VERSION) {
    bridge::usage_error(fmt::format("this is version {}, causeway is {}", CAUSEWAY_VERSION,
                                    bridge::printable(caller)),
                        "build both: scripts/build.sh release");
  }
  // causeway has said already which rank this is.
  bridge::settle_rank(options.rank, options.quiet || options.caller > 0);
  return options;
}
