// The one exception type of Causeway, its codes, and how a code becomes an exit status.
//
//   0 ok          1 verify found a difference   2 usage                3 bad input
//   4 I/O error   5 unsupported                 70 a bug in Causeway
//
// A function that fails throws the bare fact and the numbers; its callers add where it happened
// ("file: tensor: why") with with_context(); main() catches once and prints. A hint says what the
// user can do about the error and is printed on a line of its own.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace bridge {

enum class Code : int {
  kMismatch = 1,
  kUsage = 2,
  kBadInput = 3,
  kIo = 4,
  kUnsupported = 5,
  kInternal = 70,
};

class Error : public std::exception {
 public:
  Error(Code code, std::string message, std::string hint = {});

  const char* what() const noexcept override { return message_.c_str(); }
  Code code() const { return code_; }
  int exit_status() const { return static_cast<int>(code_); }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }

  // Puts "context: " in front of the message.
  void add_context(std::string_view context);

 private:
  Code code_;
  std::string message_;
  std::string hint_;
};

[[noreturn]] void usage_error(std::string message, std::string hint = {});
[[noreturn]] void bad_input(std::string message, std::string hint = {});
[[noreturn]] void unsupported(std::string message, std::string hint = {});
[[noreturn]] void internal_error(std::string message);
// Reports "path: operation: strerror(error_number)", with a hint where space or permissions are
// missing.
[[noreturn]] void io_error(std::string_view path, std::string_view operation, int error_number);

// Runs fn and puts "context: " in front of an Error that leaves it. context is a string, or a
// callable that makes one so that no strings are built when nothing fails.
template <typename Context, typename Fn>
decltype(auto) with_context(const Context& context, Fn&& fn) {
  try {
    return std::forward<Fn>(fn)();
  } catch (Error& e) {
    if constexpr (requires { context(); }) {
      e.add_context(context());
    } else {
      e.add_context(context);
    }
    throw;
  }
}

// Makes a name from an untrusted file safe to print on one line of a terminal: control characters
// and bytes that are not UTF-8 become \xNN; a name longer than 300 bytes is cut and ends in "...".
std::string printable(std::string_view name);

}  // namespace bridge
