// Counts the bytes of activations that autograd keeps for the backward pass, and the most at any
// time.
//
// Autograd hands every tensor that it keeps to a hook, and drops what the hook gave for it when it
// keeps it no longer: so the sum of the memory of all tensors that hooks hold is exact at any time,
// and nothing else is in it (an allocator would count gradients and intermediate results too).
// Memory that several kept tensors share counts once, and that of weights (leaves and views of
// them) not at all. Arguments of checkpoints are kept like others.
// Truth: torch/csrc/autograd/saved_variable.cpp.
#pragma once

#include <cstdint>
#include <memory>

namespace models {

// Counts what the thread's operations keep from here to the end of the object. One at a time in a
// thread. Graphs may live longer than it.
class SavedBytes {
 public:
  struct Count;

  SavedBytes();
  SavedBytes(const SavedBytes&) = delete;
  SavedBytes& operator=(const SavedBytes&) = delete;
  ~SavedBytes();

  // After memory of kept tensors was given back or came back without autograd.
  static void measure_again();

  int64_t now() const;
  int64_t peak() const;

 private:
  std::shared_ptr<Count> count_;
};

}  // namespace models
