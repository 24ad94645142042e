// A sink that compares each slice with the same elements of another reader instead of writing it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "bridge/convert/stream/executor.h"

namespace bridge {

class CompareSink : public Sink {
 public:
  // other_index[target]: the tensor of `other` that a target (of a transfer or of its scales) is
  // compared with.
  CompareSink(TensorReader& other, std::vector<int32_t> other_index)
      : other_(other), other_index_(std::move(other_index)) {}

  void write(const Transfer& transfer, size_t index, int64_t begin, std::span<const std::byte> data,
             uint32_t crc) override;
  void write_scales(const Transfer& transfer, size_t index, int64_t begin,
                    std::span<const std::byte> data) override;
  void finish() override { other_.finish(); }

  struct Difference {
    int64_t elements = 0;  // that differ
    int64_t first = 0;     // the lowest of them
  };
  const std::map<int32_t, Difference>& differences() const { return differences_; }

 private:
  void compare(int32_t target, int64_t begin, int64_t size, std::span<const std::byte> data);

  TensorReader& other_;
  std::vector<int32_t> other_index_;
  std::mutex mutex_;
  std::map<int32_t, Difference> differences_;  // by target
};

}  // namespace bridge
