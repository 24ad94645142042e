// Ctrl-C and a polite kill end a run through the ordinary way out, so that it cleans up what it
// wrote.
//
//   1. install_interrupt_handlers(): SIGINT, SIGTERM and SIGHUP set a flag; the second of the same
//      kind kills. A signal that is ignored (nohup, a background job) stays ignored. SIGXFSZ is
//      ignored, so that exceeding a file size limit is an ordinary write error (EFBIG).
//   2. Workers call throw_if_interrupted() between slices.
//   3. main() turns Interrupted into its exit status: 128 + the signal, as shells do.
#pragma once

#include <string>
#include <utility>

namespace bridge {

// Neither a bridge::Error nor a std::exception: nothing went wrong, and only main() handles it.
class Interrupted {
 public:
  explicit Interrupted(int signal) : signal_(signal) {}
  int exit_status() const { return 128 + signal_; }  // SIGINT: 130, SIGTERM: 143, SIGHUP: 129
  // Says what the run left, for the user.
  const std::string& left() const { return left_; }
  void set_left(std::string left) { left_ = std::move(left); }

 private:
  int signal_;
  std::string left_ = "nothing was left behind";
};

void install_interrupt_handlers();
void throw_if_interrupted();

}  // namespace bridge
