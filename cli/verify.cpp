#include <fmt/format.h>

#include <algorithm>

#include "bridge/convert/verify_hash.h"
#include "bridge/io/base/error.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/json_file.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"
#include "cli/verify_logits.h"

namespace cli {
namespace {

constexpr const char* kInstall =
    "`scripts/libtorch.sh && scripts/build.sh release` builds it; --mode hash compares bytes";

// Whichever says more: an error over a difference over nothing.
int worst(int hash, int logits) {
  return std::max(hash, logits);
}

}  // namespace

int verify(const VerifyCommand& command) {
  const Stopwatch stopwatch;
  const bool hash = command.mode != "logits";
  const bool logits = command.mode != "hash";
  const std::optional<bridge::Path> program = find_causeway_verify();
  if (!hash && command.options.dry_run) {
    bridge::usage_error("verify --dry-run compares names, shapes and dtypes, not logits",
                        "use --mode hash with it");
  }
  if (!hash && !program) {
    bridge::unsupported(
        "verify --mode logits: causeway-verify, which compares logits, was not built", kInstall);
  }
  if (hash && logits && !program) {
    fmt::print(stderr,
               "notice: comparing bytes only; causeway-verify, which compares logits, was not "
               "built ({})\n",
               kInstall);
  }

  bridge::FileSystem& fs = bridge::real_file_system();
  if (!command.options.report.empty()) {
    bridge::check_json_file_can_be_written(fs, command.options.report);
  }
  bridge::Report report;
  if (hash) {
    report = bridge::verify_hash(fs, command.options);
  } else {
    report.json = {{"command", "verify"}};
  }
  if (!logits || !program || command.options.dry_run) {
    return finish(command.options, report, stopwatch.seconds());
  }

  // The report is written when both parts are known, what was found on bytes is said before.
  bridge::CommonOptions first_part = command.options;
  first_part.report.clear();
  const int hash_status = finish(first_part, report, stopwatch.seconds());
  const bridge::ConversionFacts facts = bridge::facts_of_conversion(fs, command.options);
  const LogitsRun run = run_causeway_verify(*program, command, facts);
  report.json["mode"] = command.mode;
  report.json["logits"] = run.json;
  bridge::write_report(fs, command.options, report, stopwatch.seconds());
  const bool unknown = run.status == static_cast<int>(bridge::Code::kUnsupported);
  if (hash && unknown && facts.table_was_named) {
    fmt::print(stderr, "notice: comparing bytes only; the forward pass does not know this model\n");
    return hash_status;
  }
  return worst(hash_status, run.status);
}

}  // namespace cli
