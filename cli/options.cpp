#include "cli/options.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "bridge/io/launch/rank.h"

namespace cli {

namespace {

std::optional<int64_t> size_of(const std::string& text) {
  constexpr std::array<std::pair<std::string_view, int64_t>, 10> kUnits = {{
      {"", 1},
      {"B", 1},
      {"KB", 1'000},
      {"MB", 1'000'000},
      {"GB", 1'000'000'000},
      {"TB", 1'000'000'000'000},
      {"KiB", 1LL << 10},
      {"MiB", 1LL << 20},
      {"GiB", 1LL << 30},
      {"TiB", 1LL << 40},
  }};
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const auto& [spelling, factor] : kUnits) {
    int64_t size = 0;
    if (error == std::errc() && unit == spelling && number > 0 &&
        !__builtin_mul_overflow(number, factor, &size)) {
      return size;
    }
  }
  return std::nullopt;
}

// "" if it is one.
std::string refuse_no_size(const std::string& text) {
  if (size_of(text)) return "";
  return fmt::format("'{}' is not a size; write for example 256MiB, 5GB or a number of bytes",
                     text);
}

}  // namespace

int64_t parse_size(const std::string& name, const std::string& text) {
  const std::string problem = refuse_no_size(text);
  if (!problem.empty()) throw CLI::ValidationError(fmt::format("{}: {}", name, problem));
  return *size_of(text);
}

CLI::Option* add_size_option(CLI::App& app, const std::string& name, int64_t& target,
                             const std::string& help) {
  return app
      .add_option_function<std::string>(
          name, [name, &target](const std::string& text) { target = parse_size(name, text); }, help)
      ->type_name("SIZE");
}

void add_resource_options(CLI::App& app, bridge::CommonOptions& options) {
  add_size_option(app, "--memory", options.memory,
                  "Hard cap on memory, plan and headers included (default 256MiB)");
  app.add_option("--threads", options.threads, "Threads (default: one a core, at most 16)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void add_run_options(CLI::App& app, bridge::CommonOptions& options) {
  app.add_option("--report", options.report, "Write a machine-readable result to this file")
      ->type_name("FILE");
  app.add_option_function<std::string>(
         "--progress",
         [&options](const std::string& mode) { options.progress = bridge::progress_mode(mode); },
         "Progress on stderr: auto, always, never (default auto)")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("MODE");
  app.add_flag("--quiet,-q", options.quiet, "Only errors and warnings");
  app.add_option("--mapping", options.mapping, "Use this mapping table instead of a built-in one")
      ->type_name("FILE");
  app.add_option("--arch", options.arch,
                 "Architecture, when config.json does not say it (see `causeway mappings list`)")
      ->type_name("NAME");
  app.add_option(
         "--sidecar", options.sidecar,
         "Where the sidecar of the conversion lies (default: causeway/ in the checkpoint's root)")
      ->type_name("DIR");
}

void add_rank_options(CLI::App& app, bridge::Rank& rank) {
  app.add_option_function<std::string>(
         "--rank", [&rank](const std::string& text) { bridge::set_rank(rank, text); },
         "Which of N processes with one output or report this is, from 0 (default: as Slurm, MPI "
         "or torchrun "
         "say); 0/1: the only one")
      ->type_name("i/N");
  app.add_option_function<int>(
         "--rank-timeout",
         [&rank](const int& seconds) { rank.timeout = std::chrono::seconds(seconds); },
         "How long to wait for processes that never come (default 600)")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("SECONDS");
}

CLI::Option* add_html_option(CLI::App& app, bridge::Path& html) {
  return app
      .add_option("--html", html, "Write a page for a browser to this file, which needs no network")
      ->type_name("FILE");
}

void add_iteration_option(CLI::App& app, bridge::CommonOptions& options) {
  app.add_option(
         "--iteration", options.iteration,
         "Which iteration of the checkpoint: a number, release, latest (default: the tracker)")
      ->type_name("N");
}

namespace {

std::string refuse_nothing(const std::string& value) {
  return value.empty() ? "nothing given" : "";
}

std::string refuse_no_seed(const std::string& value) {
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seed);
  if (error == std::errc() && end == value.data() + value.size()) return "";
  return fmt::format("'{}' is not a number from 0 to {}", value, UINT64_MAX);
}

}  // namespace

void add_forward_options(CLI::App& app, std::vector<std::pair<std::string, std::string>>& given) {
  const auto add = [&](const char* name, const char* type, const char* help) {
    return app
        .add_option_function<std::string>(
            name, [&given, name](const std::string& value) { given.emplace_back(name, value); },
            help)
        ->type_name(type)
        ->check(refuse_nothing, "", "")
        ->group("Forward pass (--mode logits, both)");
  };
  add("--tokens", "FILE|IDS",
      "The prompt: numbers with commas between, or a file of them, a prompt a line");
  add("--prompt-length", "N", "Tokens of a prompt made from --seed (default 32)")
      ->check(CLI::Range(int64_t{1}, kLongestPrompt));
  add("--seed", "S", "Which prompt (default 1)")->check(refuse_no_seed, "", "");
  add("--reference-logits", "FILE",
      "Also compare both sides with recorded logits: safetensors with input_ids, logits, "
      "mtp_logits.K");
  add("--run-config", "FILE", "run_config.yaml for a Megatron checkpoint that has none");
  add("--layers", "A:B", "Only the decoder layers A to B - 1; the verdict says PARTIAL");
  add("--layers-input", "WHAT",
      "What a layer reads: computed (by the layers before it), or seeded: numbers from --seed for "
      "each layer, so that several processes need not wait for each other; the verdict says 'layer "
      "by layer' (default computed)")
      ->check(CLI::IsMember({"computed", "seeded"}));
  add("--compute", "DTYPE", "Numbers of the forward pass: fp32, bf16 (default fp32)")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  add("--device", "DEVICE",
      "auto (a GPU that can be used, else the CPU), cpu, cuda, cuda:N (default auto)");
  add("--device-memory", "SIZE",
      "Hard cap on weights, states and workspaces on the GPU, on top of the driver's context "
      "(default: what is free there)")
      ->check(refuse_no_size, "", "");
  add("--cuda-libraries", "DIR",
      "Where pip put torch/ and nvidia/ of the CUDA libraries (default: CAUSEWAY_CUDA_LIBRARIES, "
      "else beside the linked LibTorch and in the Python environment)");
  constexpr const char* kTraining = "Training step (--mode train-step)";
  add("--dump", "FILE",
      "Write losses and gradients (safetensors); those of SOURCE go to FILE.first where there are "
      "two checkpoints")
      ->group(kTraining);
  add("--context-parallel", "N", "Shift and count targets on N ranks, in one process (default 1)")
      ->group(kTraining)
      ->check(CLI::Range(int64_t{1}, int64_t{1024}));
  add("--mhc-recompute-layers", "N",
      "Drop results of hyper-connections after every N layers and compute them again (default: as "
      "the checkpoint's recompute_modules say)")
      ->group(kTraining)
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  add("--mtp", "WHAT", "keep, or drop: leave multi-token prediction out of the step (default keep)")
      ->group(kTraining)
      ->check(CLI::IsMember({"keep", "drop"}));
  add("--recompute", "MODE",
      "What the backward pass computes again: none, full[:N] (N layers at a time), block:N (the "
      "first "
      "N layers), selective[:PARTS] (of core_attn, mlp, moe, shared_experts); one checkpoint is "
      "also "
      "compared with none (default none)")
      ->group(kTraining);
  add("--fp8", "RECIPE", "Linears in emulated FP8: none, delayed, current, block (default none)")
      ->group(kTraining)
      ->check(CLI::IsMember({"none", "delayed", "current", "block"}));
  app.add_flag_callback(
         "--aux-loss", [&given] { given.emplace_back("--aux-loss", "true"); },
         "Add the losses of routers, as the Megatron checkpoint configures them (default: not)")
      ->group(kTraining);
}

namespace {

void add_dtype_option(CLI::App& app, bridge::OutputOptions& options) {
  static const std::map<std::string, std::optional<bridge::Dtype>> kDtypes = {
      {"source", std::nullopt},
      {"bf16", bridge::Dtype::kBF16},
      {"fp16", bridge::Dtype::kF16},
      {"fp32", bridge::Dtype::kF32}};
  app.add_option_function<std::string>(
         "--dtype",
         [&options](const std::string& name) {
           options.dtype = kDtypes.at(name);
           options.dtype_asked = true;
         },
         "Dtype of floating weights: source, bf16, fp16, fp32 (default source; quantized "
         "sources become bf16 on the Megatron side, and themselves again on export)")
      ->check(CLI::IsMember({"source", "bf16", "fp16", "fp32"}))
      ->type_name("DTYPE");
}

void add_key_options(CLI::App& app, bridge::OutputOptions& options) {
  app.add_option_function<std::string>(
         "--spec",
         [&spec = options.spec](const std::string& name) {
           spec = name == "te" ? bridge::Spec::kTe : bridge::Spec::kLocal;
         },
         "Layer spec whose names count: te (TransformerEngine) or local (default te)")
      ->check(CLI::IsMember({"te", "local"}))
      ->type_name("SPEC");
  app.add_option_function<std::string>(
         "--layer-keys",
         [&layer_keys = options.layer_keys](const std::string& name) {
           layer_keys = name == "auto"      ? bridge::LayerKeys::kAuto
                        : name == "stacked" ? bridge::LayerKeys::kStacked
                                            : bridge::LayerKeys::kPerLayer;
         },
         "Keys of layers: auto (the model's own), stacked, per-layer (default auto)")
      ->check(CLI::IsMember({"auto", "stacked", "per-layer"}))
      ->type_name("KEYS");
  app.add_option_function<std::string>(
         "--name-prefix",
         [&prefix = options.name_prefix](const std::string& name) {
           prefix = name == "none" ? "" : name;
         },
         "What keys of the text model begin with: none or language_model. (default: "
         "language_model. "
         "for multimodal models, none for others and with --parts text; an export finds it in the "
         "keys)")
      ->check(CLI::IsMember({"none", "language_model."}))
      ->type_name("PREFIX");
  app.add_option("--glu-interleave", options.glu_interleave,
                 "Gate and up rows of experts interleaved in blocks of N (default: not)")
      ->check(CLI::Range(int64_t{0}, kLargestNumber))
      ->type_name("N");
}

void add_parts_option(CLI::App& app, bool& text_only) {
  app.add_option_function<std::string>(
         "--parts", [&text_only](const std::string& value) { text_only = value == "text"; },
         "Parts of a multimodal model: all or text (default all). Converting, text leaves the "
         "vision "
         "tower to the sidecar, and an export puts it back from there or from --reference. "
         "Exporting, text writes the text model as a model of its own")
      ->check(CLI::IsMember({"all", "text"}))
      ->type_name("WHAT");
}

}  // namespace

CLI::Option* add_mtp_option(CLI::App& app, bool& keep_mtp) {
  return app
      .add_option_function<std::string>(
          "--mtp", [&keep_mtp](const std::string& value) { keep_mtp = value == "keep"; },
          "Multi-token-prediction layers: keep or drop (default keep)")
      ->check(CLI::IsMember({"keep", "drop"}))
      ->type_name("WHAT");
}

void add_output_options(CLI::App& app, bridge::OutputOptions& options) {
  app.add_flag(
      "--overwrite", options.overwrite,
      "Replace an existing output, atomically; what causeway did not write there is refused");
  app.add_flag("--resume", options.resume,
               "Go on with what an earlier run left that was killed or failed");
  app.add_flag("--restart", options.restart, "Remove what an earlier run left and start over")
      ->excludes("--resume");
  // For tests: a small model has no gigabyte between two records.
  add_size_option(app, "--watermark-every", options.watermark_bytes, "")->group("");
  app.add_flag("--dry-run", options.dry_run, "Plan and account for every tensor; write nothing");
  add_dtype_option(app, options);
  add_mtp_option(app, options.keep_mtp)->each([&options](const std::string&) {
    options.mtp_asked = true;
  });
  add_parts_option(app, options.text_only);
  add_key_options(app, options);
}

}  // namespace cli
