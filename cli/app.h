// The command line: parses it, prints help and runs the command. Only app.cpp and options.cpp
// include CLI11, which is slow to compile.
#pragma once

namespace cli {

// Returns the exit status; throws bridge::Error. Usage errors found by the parser return 2.
int run(int argc, char** argv);

}  // namespace cli
