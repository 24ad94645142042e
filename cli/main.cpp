// Runs the command line and turns errors into messages and exit statuses. Each command has a file
// in cli/ and does its work in bridge/convert.
#include <fmt/format.h>

#include <exception>
#include <new>
#include <system_error>

#include "bridge/io/base/error.h"
#include "bridge/io/base/interrupt.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/file_pool.h"
#include "cli/app.h"

namespace {

int print_error(const bridge::Error& error) {
  bridge::print_message(fmt::format("causeway: {}\n", error.message()));
  if (!error.hint().empty()) bridge::print_message(fmt::format("  {}\n", error.hint()));
  return error.exit_status();
}

}  // namespace

int main(int argc, char** argv) {
  bridge::open_standard_descriptors();
  bridge::raise_descriptor_limit();
  try {
    bridge::install_interrupt_handlers();
    const int status = cli::run(argc, argv);
    bridge::flush_standard_output();
    return status;
  } catch (const bridge::Error& error) {
    return print_error(error);
  } catch (const bridge::Interrupted& interrupted) {
    bridge::print_message(fmt::format("causeway: interrupted; {}\n", interrupted.left()));
    return interrupted.exit_status();
  } catch (const std::bad_alloc&) {
    return print_error({bridge::Code::kIo, "out of memory", "use a smaller --memory"});
  } catch (const std::system_error& error) {
    return print_error(bridge::error_of(error));
  } catch (const std::exception& error) {
    return print_error({bridge::Code::kInternal, error.what(),
                        "this is a bug of causeway: please report it with the command line"});
  }
}
