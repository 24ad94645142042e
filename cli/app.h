// The command line: parsing, help, and which command runs. CLI11 is seen by app.cpp and options.cpp alone
// (it is slow to compile).
#pragma once

namespace cli {

// Returns the exit status; throws bridge::Error. Usage errors found by the parser return 2.
int run(int argc, char** argv);

}  // namespace cli
