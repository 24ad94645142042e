#include "bridge/io/base/standard_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace bridge {

void open_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    // The lowest free number, which is this one. A root folder without /dev still has itself.
    if (::open("/dev/null", O_RDONLY) < 0) ::open("/", O_PATH);
  }
}

void print_message(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void flush_standard_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  io_error("standard output", "write", errno != 0 ? errno : EIO);
}

Error error_of(const std::system_error& error) {
  return {Code::kIo, error.what()};
}

}  // namespace bridge
