#include "cli/version.h"

#include <fmt/format.h>

#include "bridge/io/sidecar/sidecar.h"
#include "bridge/io/torch_dist/dcp_metadata.h"

namespace cli {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang++ " __clang_version__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

}  // namespace

std::string version_text() {
  return fmt::format(
      "causeway {} (commit {}, {})\nformats: safetensors, torch_dist (DCP metadata {}), sidecar {}",
      CAUSEWAY_VERSION, kCommit, kCompiler, bridge::kDcpMetadataVersion, bridge::kSidecarFormat);
}

}  // namespace cli
