// See interrupt.h. Truth: signal-safety(7), sigaction(2).
#include "bridge/io/base/interrupt.h"

#include <signal.h>

#include <atomic>

namespace bridge {
namespace {

std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not wait for a lock");

void on_signal(int signal) {
  received = signal;
}

}  // namespace

void install_interrupt_handlers() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    ::sigaction(signal, &action, nullptr);
  }
  ::signal(SIGXFSZ, SIG_IGN);
}

void throw_if_interrupted() {
  const int signal = received;
  if (signal != 0) throw Interrupted(signal);
}

}  // namespace bridge
