// The commands, each in its own file. They take filled options, print results to stdout and
// warnings to stderr, and return the exit status.
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
  bridge::Path html;             // --html FILE; empty: none
  std::string mode;              // hash, logits, both, train-step; only the last has one path
  bool memory_is_given = false;  // --memory; the default does not cap weights in causeway-verify
  // The given options of the forward pass and their values, for causeway-verify.
  std::vector<std::pair<std::string, std::string>> forward_options;
};

struct InspectCommand {
  bridge::InspectOptions options;
  bool megatron_args = false;  // print only the flags for Megatron-LM
  bridge::Path html;           // --html FILE; empty: none
};

struct MappingsCommand {
  bridge::CheckOptions check;
  bool as_json = false;  // for list
  // For show:
  std::string arch;
  int64_t layer = -1;   // show the names of this layer; -1: the patterns
  bool full = false;    // show one self-contained table
  bool source = false;  // show the table as it was written
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
// The steps of finish(), for a command that has more to report.
void print_summary(const bridge::CommonOptions& options, const bridge::Report& report,
                   const Lines& lines);
int exit_status(const bridge::Report& report);

}  // namespace cli
