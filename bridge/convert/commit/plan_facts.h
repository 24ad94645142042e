// The facts of a plan are everything that decides the bytes of an output, as named texts. A run may
// go on with what an earlier run left only if all facts are the same. A fact that differs is the
// reason that the user reads.
//
//   inputs    size, time of modification and inode of every input file; the headers of shards
//   options   those that decide bytes, so not --threads, --memory, --report and the like
//   plan      the table's text, the version, the transfers and the files to write
// Device numbers are left out, because they change when a file system is mounted again.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/options.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/launch/facts.h"

namespace bridge {

// A folder of inputs. A message calls a file in it label + the file's path in the folder.
struct InputRoot {
  std::string label;
  Path path;
};

// files: by path, as InputWatch::seen() returns them. A message calls a file outside the roots by
// its last name.
void add_inputs(PlanFacts& facts, const std::map<std::string, Stat>& files,
                const std::vector<InputRoot>& roots);
void add_headers(PlanFacts& facts, const HfFolder& folder);
void add_options(PlanFacts& facts, const OutputOptions& options);
// files: name and size of each file to write.
void add_layout(PlanFacts& facts, const std::vector<Transfer>& transfers,
                const std::vector<std::pair<std::string, int64_t>>& files);

}  // namespace bridge
