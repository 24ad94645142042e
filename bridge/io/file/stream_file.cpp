#include "bridge/io/file/stream_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <string>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

// The number in a name of a descriptor. A file that one is redirected to is written through it, at its
// place in that file.
std::optional<int> named_descriptor(const Path& path) {
  const std::string& name = path.native();
  if (name == "/dev/stdout") return STDOUT_FILENO;
  if (name == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!name.starts_with(folder)) continue;
    int number = 0;
    const char* const end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + folder.size(), end, number);
    if (error == std::errc() && stop == end) return number;
  }
  return std::nullopt;
}

void write_all(int descriptor, const Path& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) io_error(path.native(), "write", errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

bool is_stream(const Path& path) {
  if (named_descriptor(path)) return true;
  struct ::stat status = {};
  if (::stat(path.c_str(), &status) != 0) return false;
  return S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
}

bool is_standard_output(const Path& path) {
  return named_descriptor(path) == STDOUT_FILENO;
}

void check_stream_can_be_written(const Path& path) {
  if (const std::optional<int> descriptor = named_descriptor(path)) {
    const int flags = ::fcntl(*descriptor, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) io_error(path.native(), "write", EBADF);
  } else if (::access(path.c_str(), W_OK) != 0) {
    io_error(path.native(), "open for writing", errno);
  }
}

void write_to_stream(const Path& path, std::string_view text) {
  if (const std::optional<int> descriptor = named_descriptor(path)) {
    write_all(*descriptor, path, text);
    return;
  }
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0) io_error(path.native(), "open for writing", errno);
  try {
    write_all(descriptor, path, text);
  } catch (const Error&) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

}  // namespace bridge
