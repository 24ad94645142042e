#include <fmt/format.h>

#include "bridge/convert/verify_hash.h"
#include "bridge/io/error.h"
#include "bridge/io/file_system.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"

namespace cli {

int verify(const VerifyCommand& command) {
  const Stopwatch stopwatch;
  if (command.mode == "logits" || command.mode == "train-step") {
    bridge::unsupported(
        fmt::format("verify --mode {}: the second binary, causeway-verify, was not built",
                    command.mode),
        "this version compares bytes: use --mode hash");
  }
  if (command.mode == "both") {
    fmt::print(
        stderr,
        "notice: comparing bytes only; causeway-verify, which compares logits, was not built\n");
  }
  const bridge::Report report = bridge::verify_hash(bridge::real_file_system(), command.options);
  return finish(command.options, report, stopwatch.seconds());
}

}  // namespace cli
