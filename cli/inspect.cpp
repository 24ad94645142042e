#include "bridge/convert/inspect.h"

#include <fmt/format.h>

#include "bridge/io/file/file_system.h"
#include "cli/commands.h"

namespace cli {

int inspect(const bridge::InspectOptions& options) {
  const bridge::Report report = bridge::inspect(bridge::real_file_system(), options);
  if (options.as_json) {
    fmt::print("{}\n", report.json.dump(2));
    return 0;
  }
  return finish(options, report, 0);
}

}  // namespace cli
