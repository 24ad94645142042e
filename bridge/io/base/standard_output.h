// The three descriptors that every program starts with. Results go to standard output through
// stdio, and a failure to write them is an error like any other. Messages go to standard error; a
// failure to write them changes neither the work nor the exit status, because a lost message does
// no harm.
#pragma once

#include <string_view>
#include <system_error>

#include "bridge/io/base/error.h"

namespace bridge {

// Call this first in main(). If a descriptor of 0 to 2 were closed, the next file opened would get
// its number and messages would be written into that file. /dev/null, opened for reading, takes its
// place, so that printing there fails as on a closed descriptor.
void open_standard_descriptors();

// Prints the whole text to standard error. Never throws.
void print_message(std::string_view text) noexcept;

// Call this before the program ends. Error: kIo if some of the output could not be written.
void flush_standard_output();

// Converts what fmt::print throws, and what the system throws when it has no more threads.
Error error_of(const std::system_error& error);

}  // namespace bridge
