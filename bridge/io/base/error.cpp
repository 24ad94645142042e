#include "bridge/io/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "bridge/io/base/utf8.h"

namespace bridge {

Error::Error(Code code, std::string message, std::string hint)
    : code_(code), message_(std::move(message)), hint_(std::move(hint)) {}

void Error::add_context(std::string_view context) {
  message_.insert(0, ": ");
  message_.insert(0, context);
}

void usage_error(std::string message, std::string hint) {
  throw Error(Code::kUsage, std::move(message), std::move(hint));
}

void bad_input(std::string message, std::string hint) {
  throw Error(Code::kBadInput, std::move(message), std::move(hint));
}

void unsupported(std::string message, std::string hint) {
  throw Error(Code::kUnsupported, std::move(message), std::move(hint));
}

void internal_error(std::string message) {
  throw Error(Code::kInternal, std::move(message),
              "this is a bug of causeway: please report it with the command line");
}

void io_error(std::string_view path, std::string_view operation, int error_number) {
  std::string hint;
  if (error_number == ENOSPC || error_number == EDQUOT) {
    hint = "free some space or choose another file system, then run again";
  } else if (error_number == EACCES || error_number == EPERM || error_number == EROFS) {
    hint = "check the permissions of the folder";
  }
  throw Error(Code::kIo,
              fmt::format("{}: {}: {}", printable(path), operation, std::strerror(error_number)),
              std::move(hint));
}

std::string printable(std::string_view name) {
  constexpr size_t kLongest = 300;
  std::string out;
  size_t i = 0;
  while (i < name.size()) {
    if (out.size() >= kLongest) return out + "...";
    const size_t length = utf8_sequence_length(name.substr(i));
    const auto byte = static_cast<unsigned char>(name[i]);
    const bool control =
        byte < 0x20 || byte == 0x7f ||
        (length == 2 && byte == 0xc2 && static_cast<unsigned char>(name[i + 1]) < 0xa0);
    if (length == 0 || control) {
      for (size_t k = 0; k < (length == 0 ? 1 : length); ++k) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(name[i + k]));
      }
      i += length == 0 ? 1 : length;
    } else {
      out.append(name.substr(i, length));
      i += length;
    }
  }
  return out;
}

}  // namespace bridge
