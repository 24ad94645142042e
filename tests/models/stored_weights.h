// Reads the weights of one layer from data/forward_layers, where they lie under "CASE." and their
// canonical names.
#pragma once

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "models/forward/forward_state.h"
#include "models/weights/weights.h"
#include "tests/models/expected.h"

namespace models {

class StoredWeights : public Weights {
 public:
  StoredWeights(std::string file, std::string name)
      : file_("forward_layers/" + std::move(file)), case_(std::move(name)) {}

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return whole(to_string(id)).sizes().vec(); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return whole(to_string(id)).slice(0, begin, end);
  }
  std::string source(const TensorId& id) override { return to_string(id); }

  // name: such as "x" or "y".
  at::Tensor whole(const std::string& name) const {
    return expected_tensor(file_, case_ + "." + name);
  }
  SectionWeights layer() { return {*this, {}, Section::kLayer, 0}; }

 private:
  std::string file_;
  std::string case_;
  ModelConfig config_;
};

inline ForwardState state_of(const at::Tensor& x) {
  ForwardState state;
  state.hidden = x;
  return state;
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  EXPECT_EQ(a.scalar_type(), b.scalar_type());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item().toDouble();
}

}  // namespace models
