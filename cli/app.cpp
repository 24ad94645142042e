#include "cli/app.h"

#include <fmt/format.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/launch/rank.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/version.h"

namespace cli {
namespace {

constexpr const char* kAbout =
    "Causeway carries model checkpoints between Hugging Face and Megatron-Core, byte-exactly,\n"
    "in bounded memory, without Python or a GPU.";

constexpr const char* kExitCodes =
    "Exit status: 0 ok, 1 verify found a difference, 2 usage, 3 bad input, 4 I/O, 5 unsupported, "
    "70 a bug of ours.\n"
    "`causeway COMMAND --help` shows options and examples.";

constexpr const char* kConvertExamples =
    "Examples:\n"
    "  causeway convert-hf Qwen3-8B megatron/qwen3-8b\n"
    "  causeway convert-hf Qwen3-8B megatron/qwen3-8b --dry-run       what would be written\n"
    "  causeway convert-hf Llama-3.1-8B out --vocab-rows 128512       rows padded for TP\n"
    "  causeway convert-hf Qwen3-8B out --expect SHA256SUMS           check the download on the "
    "way\n"
    "  causeway convert-hf DeepSeek-V3 out --mtp drop                 FP8, without its MTP layer\n"
    "  causeway convert-hf DeepSeek-V3 out --mtp drop --resume        goes on after a kill\n"
    "  srun -N4 causeway convert-hf DeepSeek-V3 out --resume          four nodes, one output\n"
    "  causeway convert-hf Qwen3.5-27B out --parts text               no vision tower, no "
    "language_model.\n"
    "Then: torchrun pretrain_gpt.py --load megatron/qwen3-8b --use-checkpoint-args FLAGS ..., with "
    "the flags\n"
    "that `causeway inspect megatron/qwen3-8b --megatron-args` prints.";

constexpr const char* kExportExamples =
    "Examples:\n"
    "  causeway export-to-hf megatron/qwen3-8b exported               back to the same files\n"
    "  causeway export-to-hf megatron/run7 exported --iteration 1000 --reference Qwen3-8B\n"
    "  causeway export-to-hf megatron/run7 exported --reference Qwen3-8B --dtype bf16\n"
    "  causeway export-to-hf megatron/v3/iter_0001000 exported        FP8 again: blocks that did "
    "not "
    "change keep their bytes\n"
    "  causeway export-to-hf megatron/v3/iter_0001000 exported --resume   after it was killed\n"
    "  srun -N4 causeway export-to-hf megatron/v3 exported            four nodes, one output\n"
    "  causeway export-to-hf megatron/qwen3.5-text exported           its vision tower as it was\n"
    "  causeway export-to-hf megatron/qwen3.5-text text --parts text  the text model alone\n"
    "  causeway export-to-hf megatron/mine exported --arch llama --tokenizer Llama-3.2-1B\n"
    "A checkpoint without our causeway/ folder takes --reference (config.json, tokenizer, shard "
    "map, FP8\n"
    "scales), or its config.json is made of what it says of itself.";

constexpr const char* kVerifyExamples =
    "Examples:\n"
    "  causeway verify Qwen3-8B megatron/qwen3-8b                     either order\n"
    "  causeway verify Qwen3-8B megatron/qwen3-8b --mode hash --report verify.json\n"
    "  srun -N4 causeway verify DeepSeek-V3 megatron/v3 --mode hash --report verify.json\n"
    "  causeway verify Qwen3-8B megatron/qwen3-8b --html verify.html  the result as a page\n"
    "  causeway verify DeepSeek-V4-Flash megatron/v4 --mode logits --device cuda --layers 0:4\n"
    "  causeway verify Qwen3-8B megatron/qwen3-8b --mode logits --tokens prompts.txt\n"
    "  causeway verify megatron/v3 --mode train-step --tokens packed.safetensors --dump "
    "grad.safetensors\n"
    "Exit status 1 means: compared, and something differs. --mapping, --arch and --sidecar are for "
    "hash\n"
    "mode; --mode logits runs causeway-verify, which lies beside this program.";

void add_convert(CLI::App& app, bridge::ConvertOptions& options, int& status) {
  CLI::App* command =
      app.add_subcommand("convert-hf", "Hugging Face folder -> Megatron checkpoint");
  command->footer(kConvertExamples);
  command->add_option("HF_DIR", options.source, "Model folder or Hugging Face cache snapshot")
      ->required();
  command->add_option("MEGATRON_DIR", options.target, "Checkpoint root to create")->required();
  add_output_options(*command, options);
  command
      ->add_option("--vocab-rows", options.vocab_rows,
                   "Rows of embedding and output layer, padded with zeros (default: the source's)")
      ->check(CLI::Range(int64_t{1}, kLargestNumber))
      ->type_name("N");
  add_size_option(*command, "--file-size", options.file_size, "Largest .distcp file (default 5GB)");
  command
      ->add_option("--expect", options.expect,
                   "Published checksums, lines 'sha256  shard': checked before commit")
      ->type_name("FILE");
  command
      ->add_option_function<std::string>(
          "--head", [&options](const std::string&) { options.no_head = true; },
          "none: convert a model that has no output layer without one")
      ->check(CLI::IsMember({"none"}))
      ->type_name("WHAT");
  command
      ->add_option_function<std::string>(
          "--layout",
          [&layout = options.layout](const std::string& name) {
            layout = name == "hybrid" ? bridge::Layout::kHybrid : bridge::Layout::kGpt;
          },
          "Model class whose keys are written: gpt (GPTModel) or hybrid (HybridModel, a layer for "
          "each attention and each MLP; an export tells them apart itself) (default gpt)")
      ->check(CLI::IsMember({"gpt", "hybrid"}))
      ->type_name("CLASS");
  command
      ->add_flag("--overwrite-iteration", options.overwrite_iteration,
                 "Replace only iter_0000000 and causeway/ of an earlier conversion; the tracker "
                 "and the iterations that training added stay")
      ->excludes("--overwrite");
  add_run_options(*command, options);
  add_rank_options(*command, options.rank);
  add_resource_options(*command, options);
  command->callback([&options, &status] {
    bridge::settle_rank(options.rank, options.quiet);
    status = convert_hf(options);
  });
}

void add_export(CLI::App& app, bridge::ExportOptions& options, int& status) {
  CLI::App* command =
      app.add_subcommand("export-to-hf", "Megatron checkpoint -> Hugging Face folder");
  command->footer(kExportExamples);
  command
      ->add_option("MEGATRON_DIR", options.source,
                   "Checkpoint root, iteration folder, or torch_dist folder")
      ->required();
  command->add_option("HF_DIR", options.target, "Model folder to create")->required();
  add_output_options(*command, options);
  command
      ->add_option("--reference", options.reference,
                   "Hugging Face folder that gives config, tokenizer and shard map")
      ->type_name("HF_DIR");
  command
      ->add_option("--tokenizer", options.tokenizer,
                   "Folder whose tokenizer, chat template and generation_config.json are written, "
                   "in place of those of sidecar or reference")
      ->type_name("DIR");
  command
      ->add_option("--vocab-rows", options.vocab_rows,
                   "Rows of embedding and head to write (default: config.json's vocab_size)")
      ->check(CLI::Range(int64_t{1}, kLargestNumber))
      ->type_name("N");
  add_size_option(*command, "--max-shard-size", options.max_shard_size,
                  "Largest shard; overrides the source's shard map (default: keep it, else 5GB)");
  add_iteration_option(*command, options);
  add_run_options(*command, options);
  add_rank_options(*command, options.rank);
  add_resource_options(*command, options);
  command->callback([&options, &status] {
    bridge::settle_rank(options.rank, options.quiet);
    status = export_to_hf(options);
  });
}

void add_verify(CLI::App& app, VerifyCommand& verify_command, int& status) {
  CLI::App* command =
      app.add_subcommand("verify", "Compare a Hugging Face folder and a Megatron checkpoint");
  command->footer(kVerifyExamples);
  command->add_option("SOURCE", verify_command.options.a, "Either of the two")->required();
  command->add_option("CONVERTED", verify_command.options.b,
                      "The other one; a training step can do without");
  command
      ->add_option(
          "--mode", verify_command.mode,
          "hash (bytes), logits (forward pass), both, train-step (losses and gradients of one "
          "checkpoint, or of both) (default both)")
      ->check(CLI::IsMember({"hash", "logits", "both", "train-step"}))
      ->type_name("MODE")
      ->default_val("both");
  command->add_flag("--dry-run", verify_command.options.dry_run,
                    "Match tensors by name, shape and dtype; compare no bytes");
  add_iteration_option(*command, verify_command.options);
  add_forward_options(*command, verify_command.forward_options);
  add_run_options(*command, verify_command.options);
  add_html_option(*command, verify_command.html);
  add_rank_options(*command, verify_command.options.rank);
  add_resource_options(*command, verify_command.options);
  command->callback([command, &verify_command, &status] {
    verify_command.memory_is_given = command->count("--memory") > 0;
    bridge::settle_rank(verify_command.options.rank, verify_command.options.quiet);
    status = verify(verify_command);
  });
}

void add_inspect(CLI::App& app, InspectCommand& inspect_command, int& status) {
  CLI::App* command = app.add_subcommand("inspect", "Show what a checkpoint of either kind holds");
  command->footer(
      "Examples:\n  causeway inspect Qwen3-8B\n  causeway inspect megatron/qwen3-8b --all\n"
      "  causeway inspect megatron/qwen3-8b --html qwen3.html           tensors, bytes and files "
      "for a browser\n"
      "  causeway inspect megatron/qwen3-8b --megatron-args             flags for pretrain_gpt.py\n"
      "--use-checkpoint-args takes the sizes of a model from the checkpoint and not, among others, "
      "the\nepsilon and the norms of queries and keys: Megatron-LM loads without them and computes "
      "another model.");
  bridge::InspectOptions& options = inspect_command.options;
  command->add_option("DIR", options.path, "Any checkpoint")->required();
  command->add_flag("--all", options.every_tensor, "One line a tensor instead of one a family");
  CLI::Option* json = command->add_flag("--json", options.as_json, "Print JSON");
  CLI::Option* html = add_html_option(*command, inspect_command.html)->excludes(json);
  command
      ->add_flag("--megatron-args", inspect_command.megatron_args,
                 "The flags that Megatron-LM needs beside --use-checkpoint-args, on one line, and "
                 "the same as fields of Megatron-Bridge's provider")
      ->excludes(html);
  add_iteration_option(*command, options);
  add_resource_options(*command, options);
  command->callback([&inspect_command, &status] { status = inspect(inspect_command); });
}

void add_mappings(CLI::App& app, MappingsCommand& mappings_command, int& status) {
  CLI::App* command = app.add_subcommand("mappings", "The mapping tables");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n  causeway mappings list\n  causeway mappings show Qwen3ForCausalLM --layer 0\n"
      "  causeway mappings show LlamaForCausalLM --source > my_model.jsonc\n"
      "  causeway mappings check my_model.jsonc my-model-folder");
  CLI::App* list = command->add_subcommand("list", "Architectures there are tables for");
  list->add_flag("--json", mappings_command.as_json, "Print JSON");
  list->callback([&mappings_command, &status] { status = mappings_list(mappings_command); });
  CLI::App* show = command->add_subcommand("show", "The rows of a table");
  show->add_option("ARCH", mappings_command.arch, "Architecture or table name")->required();
  show->add_option("--layer", mappings_command.layer, "With this layer's names")
      ->check(CLI::Range(int64_t{0}, kLargestNumber))
      ->type_name("N");
  CLI::Option* full = show->add_flag("--full", mappings_command.full,
                                     "One self-contained table, with the fragments that it uses");
  show->add_flag("--source", mappings_command.source,
                 "The table as it is written, to copy; or a fragment, common/NAME")
      ->excludes(full);
  show->callback([&mappings_command, &status] { status = mappings_show(mappings_command); });
  CLI::App* check = command->add_subcommand("check", "Does this table fit that model folder?");
  check->add_option("FILE", mappings_command.check.mapping, "Table to check")->required();
  check->add_option("HF_DIR", mappings_command.check.hf_dir, "Model folder")->required();
  add_mtp_option(*check, mappings_command.check.keep_mtp);
  add_resource_options(*check, mappings_command.check);
  check->callback([&mappings_command, &status] { status = mappings_check(mappings_command); });
}

}  // namespace

int run(int argc, char** argv) {
  CLI::App app(kAbout, "causeway");
  app.require_subcommand(1);
  app.footer(kExitCodes);
  app.set_version_flag("--version", version_text());
  app.get_formatter()->column_width(34);

  int status = 0;
  bridge::ConvertOptions convert_options;
  bridge::ExportOptions export_options;
  VerifyCommand verify_command;
  InspectCommand inspect_command;
  MappingsCommand mappings_command;
  convert_options.version = export_options.version = CAUSEWAY_VERSION;
  verify_command.options.version = CAUSEWAY_VERSION;
  add_convert(app, convert_options, status);
  add_export(app, export_options, status);
  add_verify(app, verify_command, status);
  add_inspect(app, inspect_command, status);
  add_mappings(app, mappings_command, status);
  try {
    const auto is_asked_for = [&](const CLI::App* command) {
      return command->get_name() == argv[1];
    };
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(is_asked_for).empty()) {
      throw CLI::ParseError("there is no command " + bridge::printable(argv[1]),
                            CLI::ExitCodes::ExtrasError);
    }
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked_for = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    if (asked_for) return app.exit(error);
    bridge::print_message(fmt::format(
        "causeway: {}\n  see causeway {}--help\n", bridge::printable(error.what()),
        app.get_subcommands().empty() ? "" : app.get_subcommands()[0]->get_name() + " "));
    return static_cast<int>(bridge::Code::kUsage);
  }
  return status;
}

}  // namespace cli
