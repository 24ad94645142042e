#include "bridge/io/base/standard_output.h"

#include <cerrno>
#include <cstdio>

namespace bridge {

void flush_standard_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  io_error("standard output", "write", errno != 0 ? errno : EIO);
}

Error error_of(const std::system_error& error) {
  return {Code::kIo, error.what()};
}

}  // namespace bridge
