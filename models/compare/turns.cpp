#include "models/compare/turns.h"

#include <ATen/Parallel.h>

namespace models {

// The number of LibTorch's threads belongs to the thread that asks, and sums may depend on it.
Turns::Turns() : thread_([this, threads = at::get_num_threads()] { work(threads); }) {}

Turns::~Turns() {
  {
    const Lock lock(mutex_);
    over_ = true;
  }
  passed_.notify_all();
  thread_.join();
}

void Turns::run(const Function& first, const Function& second) {
  {
    const Lock lock(mutex_);
    second_ = &second;
    failure_ = nullptr;
    both_run_ = true;
    turn_ = Turn::kFirst;
  }
  call(first);
  Lock lock(mutex_);
  if (both_run_) {
    both_run_ = false;
    pass(Turn::kSecond);
    wait_for(Turn::kFirst, lock);
  }
  turn_ = Turn::kNobody;
  if (failure_) std::rethrow_exception(failure_);
}

void Turns::give() {
  Lock lock(mutex_);
  if (!both_run_) return;
  const Turn mine = turn_;
  pass(other(mine));
  wait_for(mine, lock);
  if (failure_) throw Stopped();
}

void Turns::work(int threads) {
  at::set_num_threads(threads);
  Lock lock(mutex_);
  while (true) {
    passed_.wait(lock, [this] { return over_ || turn_ == Turn::kSecond; });
    if (over_) return;
    if (!failure_) {
      lock.unlock();
      call(*second_);
      lock.lock();
    }
    both_run_ = false;
    pass(Turn::kFirst);
  }
}

void Turns::call(const Function& function) {
  try {
    function();
  } catch (const Stopped&) {
    // failure_ says why.
  } catch (...) {
    const Lock lock(mutex_);
    failure_ = std::current_exception();
  }
}

void Turns::pass(Turn to) {
  turn_ = to;
  passed_.notify_all();
}

void Turns::wait_for(Turn turn, Lock& lock) {
  passed_.wait(lock, [this, turn] { return turn_ == turn; });
}

}  // namespace models
