// Memory of large tensors that is used again. Every weight is a fresh tensor, and the system fills
// fresh memory with zeros before it can be read into: that takes longer than the reading.
#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <unordered_map>

namespace models {

// Thread-safe.
class ReusedMemory {
 public:
  static constexpr size_t kLeast = 1 << 17;      // smaller blocks are not kept
  static constexpr size_t kMostKept = 96 << 20;  // of all blocks that nobody uses

  ReusedMemory() = default;
  ReusedMemory(const ReusedMemory&) = delete;
  ReusedMemory& operator=(const ReusedMemory&) = delete;
  ~ReusedMemory();

  // A block of at least that many bytes with any content, aligned as LibTorch's tensors are.
  void* take(size_t bytes);
  // Takes a block of take() back; the ones that have not been used for longest are freed.
  void give_back(void* block);
  size_t kept_bytes() const;

 private:
  struct Block {
    void* data;
    size_t bytes;
  };

  mutable std::mutex mutex_;                 // guards what follows
  std::unordered_map<void*, size_t> sizes_;  // of all blocks of kLeast or more
  std::list<Block> kept_;                    // the last one given back comes first
  size_t kept_bytes_ = 0;
};

// From now on LibTorch's tensors on the CPU use memory again. Call it once per process, before the
// first tensor.
void reuse_tensor_memory();

}  // namespace models
