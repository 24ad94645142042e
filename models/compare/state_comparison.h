// How far the states of two forward passes are apart, place by place.
//
// On the CPU, states that are equal cost one comparison of bytes. On a device, all that is found of
// a pair is queued and stays there, and the host waits once, for all of them, in finish().
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "models/weights/weights.h"

namespace models {

struct StateDifference {
  std::string name;  // "hidden.3", "logits", "mtp_logits.0"
  bool identical = true;
  double largest = 0;
  double mean = 0;
  double judged = 0;   // judged_difference(), which must not exceed `allowed`
  double allowed = 0;  // tolerance * max(1, standard deviation of a's values)
};

// For one thread at a time.
class StateComparison {
 public:
  // What `compute` refers to must outlive the object.
  explicit StateComparison(const Compute& compute) : compute_(compute) {}

  // a, b: [B, S, ...] of one shape and type, on one device. Errors: those of KernelLibrary.
  void add(std::string name, const at::Tensor& a, const at::Tensor& b);
  // Of all that were added, in that order. Call it once.
  std::vector<StateDifference> finish();

 private:
  Compute compute_;
  std::vector<std::string> names_;
  // Of each: [different values, largest, mean, quartile of the rows' means, deviation of a] in
  // double, on the device of the states.
  std::vector<at::Tensor> found_;
};

}  // namespace models
