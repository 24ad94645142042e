// Checks where --report and --html may be written, before anything is read: hours of copying should
// not end in a report that cannot be written, and a mistyped name should not overwrite a file of
// the input.
#pragma once

#include <string_view>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

// option: its name, for the message. inputs and outputs: files or folders; empty paths are skipped.
// A report in an output that does not exist yet is left to write_report. Errors: kUsage for a
// report that is, or lies in, an existing input or output, or that is an output; those of
// check_json_file_can_be_written.
void check_report_place(FileSystem& fs, const Path& report, const std::vector<Path>& inputs,
                        const std::vector<Path>& outputs, std::string_view option = "--report");

}  // namespace bridge
