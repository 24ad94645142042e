// Two functions that run in turns, never both at once: a forward pass can wait in the middle of a
// layer until the pass of the other side has come as far.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace models {

// The second function runs on a thread that this object owns, with as many threads of LibTorch as
// the first. As only one runs at a time, what they share needs no lock of its own.
class Turns {
 public:
  Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;
  ~Turns();

  using Function = std::function<void()>;
  // Returns when both have ended; `first` begins. If one throws, the other ends at its next give(),
  // and the exception leaves run().
  void run(const Function& first, const Function& second);
  // To be called by the function that runs: lets the other one run until it gives the turn back or
  // has ended. Does nothing if it has ended already, and outside run().
  void give();

 private:
  struct Stopped {};  // ends a function whose other one has thrown
  enum class Turn { kNobody, kFirst, kSecond };
  using Lock = std::unique_lock<std::mutex>;

  static Turn other(Turn turn) { return turn == Turn::kFirst ? Turn::kSecond : Turn::kFirst; }
  void work(int threads);
  void call(const Function& function);
  void pass(Turn to);
  void wait_for(Turn turn, Lock& lock);

  std::mutex mutex_;  // guards what follows
  std::condition_variable passed_;
  Turn turn_ = Turn::kNobody;
  bool both_run_ = false;
  bool over_ = false;
  const Function* second_ = nullptr;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace models
