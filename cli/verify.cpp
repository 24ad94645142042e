#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/convert/commit/report_place.h"
#include "bridge/convert/conversion_facts.h"
#include "bridge/convert/verify_hash.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/json_file.h"
#include "bridge/io/launch/rank.h"
#include "cli/commands.h"
#include "cli/html_page.h"
#include "cli/lines.h"
#include "cli/stopwatch.h"
#include "cli/verify_logits.h"

namespace cli {
namespace {

constexpr const char* kInstall =
    "`scripts/libtorch.sh && scripts/build.sh release` builds it; --mode hash compares bytes";

// Returns the status that says more: an error over a difference over success.
int worst(int hash, int logits) {
  return std::max(hash, logits);
}

void add(Lines& lines, const std::vector<bridge::HashSummary::Difference>& differences,
         size_t most) {
  for (size_t i = 0; i < std::min(differences.size(), most); ++i) {
    lines.push_back(fmt::format("differs  {}: {}", differences[i].name, differences[i].what));
  }
}

void add(Lines& lines, const char* name, const bridge::HashSummary::Direction& direction,
         bool dry_run) {
  constexpr size_t kShown = 20;
  const std::string what = fmt::format("{}  {} tensors, {}: ", name, direction.tensors,
                                       bridge::size_text(direction.bytes));
  lines.push_back(what + (dry_run ? "match by name, shape and dtype"
                                  : fmt::format("{} differ", direction.different.size())));
  add(lines, direction.different, kShown);
}

Lines lines_of(const bridge::HashSummary& summary) {
  Lines lines;
  if (!summary.own_table.empty()) {
    lines.push_back(fmt::format("table    {} is not built in: no independent check of it exists",
                                summary.own_table));
  }
  if (summary.without_mtp) {
    lines.emplace_back("MTP      not compared: the sidecar says --mtp drop");
  }
  if (summary.without_head) lines.emplace_back("head     none: the model has no output layer");
  if (summary.text_only) {
    lines.emplace_back("parts    the text model only is in the checkpoint, and compared");
  }
  if (summary.statement.empty()) lines.emplace_back(kConfigNotChecked);
  add(lines, summary.different_fields, summary.different_fields.size());
  if (!summary.misfit.empty()) {
    lines.push_back("forward  tensors do not fit the table: " + summary.misfit);
  }
  if (summary.forward) add(lines, "forward", *summary.forward, summary.dry_run);
  if (!summary.inverse_not_checked.empty()) {
    lines.push_back("inverse  not checked: " + summary.inverse_not_checked);
  }
  if (summary.inverse) add(lines, "inverse", *summary.inverse, summary.dry_run);
  add(lines, summary.different_files, summary.different_files.size());
  lines.emplace_back(summary.difference ? "result   DIFFERENT"
                     : summary.dry_run  ? "result   no bytes compared (dry run)"
                                        : "result   identical");
  return lines;
}

// Refuses what has no effect in the mode.
void check_training_options(const VerifyCommand& command) {
  if (command.mode == "train-step") return;
  if (command.options.b.empty()) {
    bridge::usage_error("CONVERTED is required",
                        "only --mode train-step takes one checkpoint; see causeway verify --help");
  }
  for (const auto& [option, value] : command.forward_options) {
    for (const std::string_view name :
         {"--dump", "--context-parallel", "--aux-loss", "--mhc-recompute-layers", "--mtp",
          "--recompute", "--fp8"}) {
      if (option != name) continue;
      bridge::usage_error(fmt::format("{} is for --mode train-step", name),
                          "see causeway verify --help");
    }
  }
}

// Does nothing without --html.
void write_page(bridge::FileSystem& fs, const VerifyCommand& command, const bridge::Report& report,
                int status) {
  if (command.html.empty()) return;
  nlohmann::ordered_json data = report.json;
  data["source"] = bridge::printable(command.options.a.native());
  data["converted"] = bridge::printable(command.options.b.native());
  data["exit_status"] = status;
  bridge::replace_text_file(fs, command.html, html_page("verify", "causeway verify", data));
}

// The forward pass of several processes; hash mode has its own check.
void check_processes(const VerifyCommand& command, bool logits) {
  if (!logits || command.mode == "train-step" || command.options.rank.count == 1) return;
  if (!command.options.dry_run && command.options.report.empty()) {
    bridge::usage_error("verify with several processes needs --report FILE",
                        "they meet beside that file, in a folder that all of them see");
  }
}

// True if bytes alone count, because nobody but a table knows the model.
bool is_unknown(const LogitsRun& run, const bridge::ConversionFacts& facts, bool hash,
                bool bytes_alone) {
  return hash && run.status == static_cast<int>(bridge::Code::kUnsupported) &&
         (facts.table_was_named || bytes_alone);
}

// The part of a rank other than 0, which reports nothing. A training step is rank 0's alone.
int verify_part(bridge::FileSystem& fs, const VerifyCommand& command,
                const std::optional<bridge::Path>& program) {
  if (command.options.dry_run || command.mode == "train-step") return 0;
  const bool hash = command.mode != "logits";
  const bool bytes_alone = hash && bridge::verify_hash(fs, command.options).bytes_alone;
  if (command.mode != "hash" && program) {
    const bridge::ConversionFacts facts = bridge::facts_of_conversion(fs, command.options);
    const LogitsRun run = run_causeway_verify(*program, command, facts);
    if (run.status != 0 && !is_unknown(run, facts, hash, bytes_alone)) return run.status;
  }
  bridge::print_part_done(command.options.rank, command.options.quiet);
  return 0;
}

}  // namespace

int verify(const VerifyCommand& command) {
  const Stopwatch stopwatch;
  const bool trains = command.mode == "train-step";
  const bool hash = command.mode == "hash" || command.mode == "both";
  const bool logits = command.mode != "hash";
  check_training_options(command);
  check_processes(command, logits);
  const std::optional<bridge::Path> program = find_causeway_verify();
  if (!hash && command.options.dry_run) {
    bridge::usage_error(fmt::format("verify --dry-run compares names, shapes and dtypes, not {}",
                                    trains ? "gradients" : "logits"),
                        "use --mode hash with it");
  }
  if (!hash && !program) {
    bridge::unsupported(fmt::format("verify --mode {}: causeway-verify, which compares logits, was "
                                    "not built",
                                    command.mode),
                        kInstall);
  }
  if (hash && logits && !program) {
    bridge::print_message(
        fmt::format("notice: comparing bytes only; causeway-verify, which compares logits, was not "
                    "built ({})\n",
                    kInstall));
  }

  // What the second part refuses should not wait for the first, which reads both checkpoints.
  if (hash && logits && program && !command.options.dry_run && !command.forward_options.empty()) {
    const int status = check_forward_options(*program, command);
    if (status != 0) return status;
  }

  bridge::FileSystem& fs = bridge::real_file_system();
  if (!command.options.rank.leads()) return verify_part(fs, command, program);
  bridge::check_report_place(
      fs, command.options.report,
      {command.options.a, command.options.b, command.options.mapping, command.options.sidecar}, {});
  bridge::check_report_place(fs, command.html, {command.options.a, command.options.b}, {},
                             "--html");
  for (const auto& [option, value] : command.forward_options) {
    if (option != "--dump") continue;
    bridge::check_report_place(fs, value, {command.options.a, command.options.b}, {});
  }
  bridge::Report report;
  Lines lines;
  bool bytes_alone = false;
  if (hash) {
    bridge::HashSummary summary = bridge::verify_hash(fs, command.options);
    lines = lines_of(summary);
    bytes_alone = summary.bytes_alone;
    report = std::move(summary);
  } else {
    report.json = {{"command", "verify"}};
  }
  if (!logits || !program || command.options.dry_run) {
    const int status = finish(command.options, report, lines, stopwatch.seconds());
    write_page(fs, command, report, status);
    return status;
  }

  // The report waits until both parts are known; the result on bytes is printed before that.
  print_summary(command.options, report, lines);
  const bridge::ConversionFacts facts = command.options.b.empty()
                                            ? bridge::ConversionFacts{}
                                            : bridge::facts_of_conversion(fs, command.options);
  const LogitsRun run = run_causeway_verify(*program, command, facts);
  report.json["mode"] = command.mode;
  report.json["logits"] = run.json;
  if (trains && run.json.contains("train_step")) {
    report.json["train_step"] = run.json["train_step"];
    report.json["logits"].erase("train_step");
  }
  bridge::write_report(fs, command.options, report, stopwatch.seconds());
  int status = worst(exit_status(report), run.status);
  if (is_unknown(run, facts, hash, bytes_alone)) {
    bridge::print_message(
        "notice: comparing bytes only; the forward pass does not know this model\n");
    status = exit_status(report);
  }
  write_page(fs, command, report, status);
  return status;
}

}  // namespace cli
