// A part of a model: the same weights without a vision tower, for a comparison with a checkpoint
// that was made without it, or without multi-token prediction, for a step that leaves it out.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "models/weights/weights.h"

namespace models {

class PartialModel : public Weights {
 public:
  PartialModel(std::unique_ptr<Weights> whole, ModelConfig config)
      : whole_(std::move(whole)), config_(std::move(config)) {}

  static std::unique_ptr<Weights> without_vision(std::unique_ptr<Weights> whole) {
    ModelConfig config = whole->config();
    config.vision.reset();
    return std::make_unique<PartialModel>(std::move(whole), std::move(config));
  }
  static std::unique_ptr<Weights> without_mtp(std::unique_ptr<Weights> whole) {
    ModelConfig config = whole->config();
    config.mtp.clear();
    return std::make_unique<PartialModel>(std::move(whole), std::move(config));
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return whole_->shape(id); }
  std::string source(const TensorId& id) override { return whole_->source(id); }
  std::vector<StoredTensor> stored() override { return whole_->stored(); }
  std::vector<StoredPart> parts(const TensorId& id) override { return whole_->parts(id); }
  TrainingSettings training() override { return whole_->training(); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return whole_->rows(id, begin, end);
  }
  at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) override {
    return whole_->exact_rows(id, begin, end);
  }
  std::optional<QuantizedRows> quantized_rows(const TensorId& id, int64_t begin,
                                              int64_t end) override {
    return whole_->quantized_rows(id, begin, end);
  }
  std::vector<Copy> copies() override { return whole_->copies(); }
  bridge::Shape copy_shape(const Copy& copy) override { return whole_->copy_shape(copy); }
  at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) override {
    return whole_->copy_rows(copy, begin, end);
  }

 private:
  std::unique_ptr<Weights> whole_;
  ModelConfig config_;
};

}  // namespace models
