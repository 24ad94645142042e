// Weights that report every read to a progress line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bridge/io/base/progress.h"
#include "models/forward/forward.h"
#include "models/weights/weights.h"

namespace models {

class CountedWeights : public Weights {
 public:
  CountedWeights(Weights& weights, bridge::Progress& progress)
      : weights_(weights), progress_(progress) {}

  const ModelConfig& config() const override { return weights_.config(); }
  bridge::Shape shape(const TensorId& id) override { return weights_.shape(id); }
  std::string source(const TensorId& id) override { return weights_.source(id); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return counted(weights_.rows(id, begin, end));
  }
  at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) override {
    return counted(weights_.exact_rows(id, begin, end));
  }
  std::optional<QuantizedRows> quantized_rows(const TensorId& id, int64_t begin,
                                              int64_t end) override {
    auto read = weights_.quantized_rows(id, begin, end);
    // As many bytes as their values have, which is how bytes_of() counts.
    if (read) progress_.add(read->codes.size(0) * read->columns() * 2);
    return read;
  }
  std::vector<Copy> copies() override { return weights_.copies(); }
  bridge::Shape copy_shape(const Copy& copy) override { return weights_.copy_shape(copy); }
  at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) override {
    return counted(weights_.copy_rows(copy, begin, end));
  }

 private:
  at::Tensor counted(at::Tensor read) {
    progress_.add(static_cast<int64_t>(read.nbytes()));
    return read;
  }

  Weights& weights_;
  bridge::Progress& progress_;
};

// An estimate of the bytes that reading all tensors, or those of some layers, will count. It
// assumes that all tensors of one role have one type.
int64_t bytes_of(Weights& weights, const std::optional<LayerRange>& layers);

}  // namespace models
