// Where --report may be written. Checked before anything is read: hours of copying should not end in a report that has no
// place, and a mistyped name should not cost a file of the input.
#pragma once

#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

// inputs and outputs: files or folders, absent and empty ones are passed over. Errors: kUsage for a report that is, or lies in,
// one of them; those of check_json_file_can_be_written.
void check_report_place(FileSystem& fs, const Path& report, const std::vector<Path>& inputs,
                        const std::vector<Path>& outputs);

}  // namespace bridge
