// A view of which the next rows are read by a thread while its user computes.
//
//   1. One block of rows is read ahead at a time, and kept until it is asked for or given up.
//   2. The view is used by one thread at a time: whatever else is asked for waits for the thread.
//   3. An error of reading ahead is thrown where the block is asked for, and not at all if it is
//      given up.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "models/weights/weights.h"

namespace models {

// Rows [begin, end) of a tensor.
struct RowBlock {
  TensorId id;
  int64_t begin;
  int64_t end;
};

// For one thread at a time, as every view. `weights` must outlive it and be used through it alone.
class ReadAhead : public Weights {
 public:
  // has_thread: false: start() does nothing.
  ReadAhead(Weights& weights, bool has_thread);
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  ~ReadAhead() override;

  // Starts to read a block, unless there is one that was not asked for yet.
  void start(const RowBlock& block);
  // The block that was started and not asked for yet.
  std::optional<RowBlock> started() const { return block_; }
  // Forgets that block.
  void give_up();

  const ModelConfig& config() const override { return weights_.config(); }
  bridge::Shape shape(const TensorId& id) override { return idle().shape(id); }
  std::string source(const TensorId& id) override { return idle().source(id); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override;
  at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) override {
    return idle().exact_rows(id, begin, end);
  }
  std::optional<QuantizedRows> quantized_rows(const TensorId& id, int64_t begin,
                                              int64_t end) override {
    return idle().quantized_rows(id, begin, end);
  }
  std::vector<Copy> copies() override { return idle().copies(); }
  bridge::Shape copy_shape(const Copy& copy) override { return idle().copy_shape(copy); }
  at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) override {
    return idle().copy_rows(copy, begin, end);
  }

 private:
  using Lock = std::unique_lock<std::mutex>;

  // The view, once the thread does not read.
  Weights& idle();
  void work();

  Weights& weights_;
  std::optional<RowBlock> block_;  // of the user's thread; the reading one sees it while it reads

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool reading_ = false;
  bool over_ = false;
  at::Tensor read_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace models
