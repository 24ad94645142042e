#include "models/weights/reused_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

namespace models {
namespace {

// A block is used again for most of its size only, so that small tensors do not take the blocks of
// large ones.
bool fits(size_t block, size_t wanted) {
  return wanted <= block && block - wanted <= wanted / 4;
}

// Never destroyed, because tensors may outlive everything.
ReusedMemory& memory_of_tensors() {
  static auto* const memory = new ReusedMemory();
  return *memory;
}

class ReusingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const block = memory_of_tensors().take(bytes);
    return {block, block, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  static void give_back(void* block) { memory_of_tensors().give_back(block); }
};

}  // namespace

ReusedMemory::~ReusedMemory() {
  for (const Block& block : kept_) c10::free_cpu(block.data);
}

void* ReusedMemory::take(size_t bytes) {
  if (bytes < kLeast) return c10::alloc_cpu(bytes);
  const std::lock_guard lock(mutex_);
  for (auto block = kept_.begin(); block != kept_.end(); ++block) {
    if (!fits(block->bytes, bytes)) continue;
    void* const data = block->data;
    kept_bytes_ -= block->bytes;
    kept_.erase(block);
    return data;
  }
  void* const data = c10::alloc_cpu(bytes);
  sizes_.emplace(data, bytes);
  return data;
}

void ReusedMemory::give_back(void* block) {
  const std::lock_guard lock(mutex_);
  const auto known = sizes_.find(block);
  if (known == sizes_.end()) {
    c10::free_cpu(block);
    return;
  }
  kept_.push_front({block, known->second});
  kept_bytes_ += known->second;
  while (kept_bytes_ > kMostKept) {
    const Block oldest = kept_.back();
    kept_.pop_back();
    kept_bytes_ -= oldest.bytes;
    sizes_.erase(oldest.data);
    c10::free_cpu(oldest.data);
  }
}

size_t ReusedMemory::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  return kept_bytes_;
}

void reuse_tensor_memory() {
  static ReusingAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
}

}  // namespace models
