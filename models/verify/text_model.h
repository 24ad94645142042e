// The text model of a multimodal model: the same weights without the vision tower, for a comparison
// with a checkpoint that was made without it.
#pragma once

#include <memory>
#include <utility>

#include "models/weights/weights.h"

namespace models {

class TextModel : public Weights {
 public:
  explicit TextModel(std::unique_ptr<Weights> whole)
      : whole_(std::move(whole)), config_(whole_->config()) {
    config_.vision.reset();
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
