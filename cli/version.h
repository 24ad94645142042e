// What `causeway --version` says.
#pragma once

#include <string>

namespace cli {

// The commit this was built from ("abc1234", "abc1234-dirty", "unknown"), in a file of its own that the build writes
// (cmake/Commit.cmake). It is for people only: output files name the version, so that the same input gives the same bytes.
extern const char* const kCommit;

// "causeway 0.1.0 (commit abc1234, g++ 12.2.0)" and a line of the formats read and written.
std::string version_text();

}  // namespace cli
