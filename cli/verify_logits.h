// The second program of `verify`: causeway-verify, which links LibTorch, run as a process of its own.
//
//   1. it lies beside this program (/proc/self/exe); no PATH, no shell, a vector of arguments
//   2. its results go to our stdout, its errors and progress to our stderr; its report comes back through a file in memory
//   3. SIGINT, SIGTERM and SIGHUP that reach us reach it; we end when it has
//   4. when we are killed it ends: it asks the kernel for that (prctl) and looks who its parent is. It stays in our
//      process group, where a terminal's Ctrl-C finds both
// Truth: posix_spawn(3), waitpid(2).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bridge/convert/verify_hash.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"

namespace cli {

struct LogitsRun {
  int status = 0;  // exit status, as ours would be
  nlohmann::ordered_json
      json;  // its report; null without --report, or when it ended before writing one
};

// The program, or nullopt where there is none.
std::optional<bridge::Path> find_causeway_verify();

// facts: what the conversion left out on purpose is no difference. Errors: kIo when it cannot be started or was killed, kInternal
// when it crashed. Ends this process with SIGPIPE where that ended the other.
LogitsRun run_causeway_verify(const bridge::Path& program, const VerifyCommand& command,
                              const bridge::ConversionFacts& facts);

}  // namespace cli
