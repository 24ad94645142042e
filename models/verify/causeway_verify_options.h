// The command line of causeway-verify.
#pragma once

#include <optional>

#include "models/verify/verification.h"

// nullopt if --help or --version was asked for and printed. Error: kUsage.
std::optional<models::VerificationOptions> parse_command_line(int argc, char** argv);
