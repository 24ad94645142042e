#include "models/weights/read_ahead.h"

#include <c10/core/InferenceMode.h>

#include <utility>

namespace models {

ReadAhead::ReadAhead(Weights& weights, bool has_thread) : weights_(weights) {
  if (has_thread) thread_ = std::thread([this] { work(); });
}

ReadAhead::~ReadAhead() {
  if (!thread_.joinable()) return;
  {
    const Lock lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ReadAhead::start(const RowBlock& block) {
  if (!thread_.joinable() || block_) return;
  block_ = block;
  {
    const Lock lock(mutex_);
    reading_ = true;
  }
  changed_.notify_all();
}

void ReadAhead::give_up() {
  idle();
  block_.reset();
  read_.reset();
  failure_ = nullptr;
}

at::Tensor ReadAhead::rows(const TensorId& id, int64_t begin, int64_t end) {
  Weights& weights = idle();
  if (!block_ || block_->id != id || block_->begin != begin || block_->end != end) {
    return weights.rows(id, begin, end);
  }
  block_.reset();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return std::move(read_);
}

Weights& ReadAhead::idle() {
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return !reading_; });
  return weights_;
}

void ReadAhead::work() {
  const c10::InferenceMode no_autograd;
  Lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return over_ || reading_; });
    if (over_) return;
    lock.unlock();
    at::Tensor read;
    std::exception_ptr failure;
    try {
      read = weights_.rows(block_->id, block_->begin, block_->end);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    read_ = std::move(read);
    failure_ = std::move(failure);
    reading_ = false;
    changed_.notify_all();
  }
}

}  // namespace models
