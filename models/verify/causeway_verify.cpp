// causeway-verify: the forward pass, as a separate program so that `causeway` starts without
// LibTorch. This file handles how the program starts and ends; models/verify/verification.h does
// the work.
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <system_error>

#include "bridge/io/base/error.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/file_pool.h"
#include "bridge/io/launch/rank.h"
#include "models/verify/causeway_verify_options.h"
#include "models/verify/torch_errors.h"
#include "models/verify/verification.h"

namespace {

constexpr const char* kReport = "this is a bug of causeway: please report it with the command line";

bool stderr_is_terminal = false;

// LibTorch cannot be interrupted, so the process ends at once, after a line that says how far it
// is.
void on_signal(int signal) {
  constexpr char kEraseLine[] = "\r\x1b[K";
  if (stderr_is_terminal && ::write(STDERR_FILENO, kEraseLine, sizeof kEraseLine - 1) < 0) {
    // There is nobody to tell.
  }
  ::raise(signal);  // SA_RESETHAND has restored the default action
}

void install_signal_handlers() {
  stderr_is_terminal = ::isatty(STDERR_FILENO) == 1;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(signal, &action, nullptr);
  }
  // Exceeding the file size limit is an ordinary write error.
  ::signal(SIGXFSZ, SIG_IGN);
}

// LibTorch's threads spin while they wait unless an environment variable says otherwise when the
// library is loaded, which is before main(). So the program starts itself again with the variable
// set. `causeway` already sets the variable.
void let_waiting_threads_sleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/1);
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) ::execv(self.c_str(), argv);
  // The program works without the variable, but keeps the machine busier.
}

// The kernel kills this process when its parent ends. The parent may have ended before the request.
void end_with(int caller) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != caller) ::raise(SIGKILL);
}

int run(int argc, char** argv) {
  const std::optional<models::VerificationOptions> options = parse_command_line(argc, argv);
  if (!options) return 0;
  if (options->caller > 0) end_with(options->caller);
  const bool equal = models::verify(bridge::real_file_system(), *options);
  if (!options->rank.leads() && options->caller == 0) {
    bridge::print_part_done(options->rank, options->quiet);
  }
  return equal ? 0 : static_cast<int>(bridge::Code::kMismatch);
}

int print_error(const bridge::Error& error) {
  bridge::print_message(fmt::format("causeway-verify: {}\n", error.message()));
  if (!error.hint().empty()) bridge::print_message(fmt::format("  {}\n", error.hint()));
  return error.exit_status();
}

}  // namespace

int main(int argc, char** argv) {
  bridge::open_standard_descriptors();
  bridge::raise_descriptor_limit();
  let_waiting_threads_sleep(argv);
  try {
    install_signal_handlers();
    const int status = run(argc, argv);
    bridge::flush_standard_output();
    return status;
  } catch (const bridge::Error& error) {
    return print_error(error);
  } catch (const std::bad_alloc&) {
    return print_error(models::out_of_memory());
  } catch (const std::system_error& error) {
    return print_error(bridge::error_of(error));
  } catch (const c10::Error& error) {
    return print_error(models::error_of(error));
  } catch (const std::exception& error) {
    return print_error({bridge::Code::kInternal, error.what(), kReport});
  }
}
