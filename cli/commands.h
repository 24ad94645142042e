// The commands, each in its own file: options are filled, results go to stdout, warnings to stderr.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bridge/convert/inspect.h"
#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "cli/lines.h"

namespace cli {

struct VerifyCommand {
  bridge::VerifyOptions options;
  std::string mode;  // hash, logits, both
  // For causeway-verify: the options of the forward pass that were given, and their values.
  std::vector<std::pair<std::string, std::string>> forward_options;
};

struct InspectCommand {
  bridge::InspectOptions options;
  bool megatron_args = false;  // the flags for Megatron-LM, nothing else
};

struct MappingsCommand {
  bridge::CheckOptions check;
  bool as_json = false;  // list
  // show
  std::string arch;
  int64_t layer = -1;   // with this layer's names
  bool full = false;    // as one self-contained table
  bool source = false;  // as it was written
};

int convert_hf(const bridge::ConvertOptions& options);
int export_to_hf(const bridge::ExportOptions& options);
int verify(const VerifyCommand& command);
int inspect(const InspectCommand& command);
int mappings_list(const MappingsCommand& command);
int mappings_show(const MappingsCommand& command);
int mappings_check(const MappingsCommand& command);

// Prints the warnings and lines and writes --report; returns the exit status.
int finish(const bridge::CommonOptions& options, const bridge::Report& report, const Lines& lines,
           double seconds);
// The parts of it, for a command that has more to report.
void print_summary(const bridge::CommonOptions& options, const bridge::Report& report,
                   const Lines& lines);
int exit_status(const bridge::Report& report);

}  // namespace cli
