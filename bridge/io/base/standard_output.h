// The three descriptors that every program starts with. Results go to standard output through stdio; what could not be
// written there is an error like any other. Messages go to standard error; nothing is worse for not being read, so what
// could not be written there changes neither the work nor the exit status.
#pragma once

#include <string_view>
#include <system_error>

#include "bridge/io/base/error.h"

namespace bridge {

// First of all in main(): a descriptor of 0 to 2 that is closed would be given to the next file that is opened, and
// messages would be written into that. /dev/null takes its place, opened for reading: what is printed there
// fails as it would on a closed one.
void open_standard_descriptors();

// To standard error, whole. Never throws.
void print_message(std::string_view text) noexcept;

// Before a program ends. Error: kIo where something of what was printed did not arrive.
void flush_standard_output();

// What fmt::print throws, and the system where it has no more threads.
Error error_of(const std::system_error& error);

}  // namespace bridge
