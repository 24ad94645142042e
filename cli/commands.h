// The commands, each in its own file: options are filled, results go to stdout, warnings to stderr.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bridge/convert/inspect.h"
#include "bridge/convert/options.h"
#include "bridge/convert/report.h"

namespace cli {

struct VerifyCommand {
  bridge::VerifyOptions options;
  std::string mode;  // hash, logits, both
  // For causeway-verify: the options of the forward pass that were given, and their values.
  std::vector<std::pair<std::string, std::string>> forward_options;
};

struct MappingsCommand {
  bridge::CommonOptions options;  // check
  std::string arch;
  bool as_json = false;    // list
  int64_t layer = -1;      // show: only this layer
  std::string table_file;  // check
  std::string hf_dir;      // check
};

int convert_hf(const bridge::ConvertOptions& options);
int export_to_hf(const bridge::ExportOptions& options);
int verify(const VerifyCommand& command);
int inspect(const bridge::InspectOptions& options);
int mappings_list(const MappingsCommand& command);
int mappings_show(const MappingsCommand& command);
int mappings_check(const MappingsCommand& command);

// Prints a report and writes --report; returns the exit status.
int finish(const bridge::CommonOptions& options, const bridge::Report& report, double seconds);

}  // namespace cli
