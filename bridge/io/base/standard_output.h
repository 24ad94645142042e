// Results go to standard output through stdio; what could not be written there is an error like any other.
#pragma once

#include <system_error>

#include "bridge/io/base/error.h"

namespace bridge {

// Before a program ends. Error: kIo where something of what was printed did not arrive.
void flush_standard_output();

// What fmt::print throws, and the system where it has no more threads.
Error error_of(const std::system_error& error);

}  // namespace bridge
