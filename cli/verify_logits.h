// Runs causeway-verify, the second program of `verify`, which links LibTorch, as its own process:
//
//   1. it lies beside this program (/proc/self/exe) and is run without PATH or shell, with a vector
//      of arguments
//   2. its results go to our stdout, its errors and progress to our stderr; its report comes back
//      through a file in memory
//   3. we pass SIGINT, SIGTERM and SIGHUP on to it and end after it
//   4. it ends when we are killed: it asks the kernel for that (prctl) and checks its parent. It
//      stays in our process group, so that a terminal's Ctrl-C reaches both
//
// Truth: posix_spawn(3), waitpid(2).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bridge/convert/conversion_facts.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"

namespace cli {

struct LogitsRun {
  int status = 0;  // the exit status, with the meaning of ours
  // The report; null without --report and --html, in a rank other than 0, or if the program ended
  // before writing one.
  nlohmann::ordered_json json;
};

// The path of the program, or nullopt if it is not installed.
std::optional<bridge::Path> find_causeway_verify();

// Lets the program check its options, its device and the files that it was given beside the
// checkpoints, and nothing else. Returns its exit status; errors as for run_causeway_verify().
int check_forward_options(const bridge::Path& program, const VerifyCommand& command);

// facts: what the conversion left out on purpose, which does not count as a difference. Errors: kIo
// if the program cannot be started or was killed, kInternal if it crashed. Ends this process with
// SIGPIPE if that signal ended the program.
LogitsRun run_causeway_verify(const bridge::Path& program, const VerifyCommand& command,
                              const bridge::ConversionFacts& facts);

}  // namespace cli
