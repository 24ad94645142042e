#include "models/train/saved_bytes.h"

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <algorithm>
#include <map>

#include "bridge/io/base/error.h"

namespace models {

struct SavedBytes::Count {
  struct Memory {
    int64_t tensors = 0;  // kept ones that lie in it
    int64_t bytes = 0;
  };
  std::map<const c10::StorageImpl*, Memory> kept;
  int64_t now = 0;
  int64_t peak = 0;

  void add(const c10::Storage& storage) {
    Memory& memory = kept[storage.unsafeGetStorageImpl()];
    if (memory.tensors++ == 0) measure(*storage.unsafeGetStorageImpl(), memory);
  }
  void remove(const c10::Storage& storage) {
    const auto found = kept.find(storage.unsafeGetStorageImpl());
    if (--found->second.tensors > 0) return;
    now -= found->second.bytes;
    kept.erase(found);
  }
  void measure(const c10::StorageImpl& storage, Memory& memory) {
    const auto bytes = static_cast<int64_t>(storage.nbytes());
    now += bytes - memory.bytes;
    memory.bytes = bytes;
    peak = std::max(peak, now);
  }
};

namespace {

thread_local std::shared_ptr<SavedBytes::Count> counting;

bool is_weight(const at::Tensor& tensor) {
  const at::TensorBase whole = tensor.is_view() ? tensor._base() : tensor;
  return whole.is_leaf() && whole.requires_grad();
}

// Holds one tensor for autograd, as autograd itself would.
class CountedTensor : public torch::autograd::SavedVariableHooks {
 public:
  explicit CountedTensor(std::shared_ptr<SavedBytes::Count> count) : count_(std::move(count)) {}
  CountedTensor(const CountedTensor&) = delete;
  CountedTensor& operator=(const CountedTensor&) = delete;
  ~CountedTensor() override {
    if (counted_) count_->remove(kept_.storage());
  }

  void call_pack_hook(const at::Tensor& tensor) override {
    kept_ =
        tensor.detach();  // without the operation that made it, which may be the one that keeps it
    version_ = tensor._version();
    counted_ = tensor.has_storage() && !is_weight(tensor);
    if (counted_) count_->add(kept_.storage());
  }

  // Autograd leaves the check to hooks.
  at::Tensor call_unpack_hook() override {
    if (kept_._version() != version_) {
      bridge::internal_error("a tensor that the backward pass needs was changed in place");
    }
    return kept_;
  }

 private:
  std::shared_ptr<SavedBytes::Count> count_;
  at::Tensor kept_;
  int64_t version_ = 0;
  bool counted_ = false;
};

// The engine of LibTorch, which asks itself for the hooks of a tensor that is kept. Python sets
// hooks in the same way.
class CountingEngine : public torch::autograd::Engine {
 public:
  ~CountingEngine() override { stop(); }

  static Engine& instance() {
    static CountingEngine engine;
    return engine;
  }

  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    return counting ? std::make_unique<CountedTensor>(counting) : nullptr;
  }
};

}  // namespace

SavedBytes::SavedBytes() : count_(std::make_shared<Count>()) {
  torch::autograd::set_default_engine_stub(CountingEngine::instance);
  counting = count_;
}

SavedBytes::~SavedBytes() {
  counting.reset();
}

void SavedBytes::measure_again() {
  if (!counting) return;
  for (auto& [storage, memory] : counting->kept) counting->measure(*storage, memory);
}

int64_t SavedBytes::now() const {
  return count_->now;
}

int64_t SavedBytes::peak() const {
  return count_->peak;
}

}  // namespace models
