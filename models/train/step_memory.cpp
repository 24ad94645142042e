#include "models/train/step_memory.h"

#include <algorithm>
#include <numeric>
#include <variant>

#include "bridge/io/base/error.h"
#include "models/model/vision_tensors.h"
#include "models/train/train_step.h"

namespace models {
namespace {

// Sizes are limited (check of ModelConfig), but their products are not: doubles do not overflow,
// and sums of what they are cut to do not either.
constexpr double kElement = sizeof(float);
constexpr double kMostBytes = 1e18;
constexpr double kDeltaChunk = 64;

bool runs(const TensorId& id) {
  return !is_vision(id);
}

double elements_of(const bridge::Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1.0, [](double product, int64_t size) {
    return product * static_cast<double>(size);
  });
}

// Elements for one sequence of `tokens`: scores before and after the softmax and their gradients; a
// soft cap keeps those before it and its tanh too.
double scores(const GroupedAttention& attention, double tokens) {
  const double copies = attention.cap > 0 ? 8 : 4;
  return copies * static_cast<double>(attention.heads) * tokens * tokens;
}

// An index adds scores of its own and the mask of what it chose.
double scores(const LatentAttention& attention, double tokens) {
  const double of_index =
      attention.index.chooses() ? static_cast<double>(attention.index.heads + 2) : 0.0;
  return (4 * static_cast<double>(attention.heads) + of_index) * tokens * tokens;
}

double scores(const CompressedAttention& attention, double tokens) {
  const double summaries =
      attention.ratio > 0 ? tokens / static_cast<double>(attention.ratio) : 0.0;
  return 4 * static_cast<double>(attention.heads) * tokens * (tokens + summaries);
}

// Matrices of a chunk, and the state after each.
double scores(const DeltaAttention& attention, double tokens) {
  const double chunks = tokens / kDeltaChunk + 1;
  const double widths = static_cast<double>(attention.key_dim + attention.value_dim);
  const double state = static_cast<double>(attention.key_dim * attention.value_dim);
  return static_cast<double>(attention.value_heads) * chunks *
         (8 * kDeltaChunk * kDeltaChunk + 8 * kDeltaChunk * widths + 4 * state);
}

double scores(const Mamba2&, double) {
  bridge::internal_error("the memory of a training step of Mamba-2");
}

double scores(const NoAttention&, double) {
  return 0;
}

double of_layer(const ModelConfig& config, const LayerConfig& layer,
                const std::vector<int64_t>& lengths) {
  double elements = 0;
  for (const int64_t length : lengths) {
    const double tokens = static_cast<double>(length);
    elements += std::visit([&](const auto& kind) { return scores(kind, tokens); }, layer.attention);
    const double streams = 16 * static_cast<double>(config.hyper.streams);
    elements += tokens * static_cast<double>(config.hidden) * (12 + streams);
  }
  return elements;
}

// The part of a matrix's activations that a token has: those of experts only where it is sent.
double share_of(const ModelConfig& config, const TensorId& id) {
  if (id.expert < 0) return 1;
  const std::vector<LayerConfig>& layers = id.section == Section::kMtp ? config.mtp : config.layers;
  const auto& mlp = std::get<MixtureOfExperts>(layers.at(static_cast<size_t>(id.index)).mlp);
  return static_cast<double>(mlp.router.chosen) / static_cast<double>(mlp.router.experts);
}

}  // namespace

StepMemory step_memory(Weights& weights, const std::vector<int64_t>& lengths) {
  const ModelConfig& config = weights.config();
  check_trained(config);
  const double tokens =
      static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  double values = 0;
  double activations = 0;
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
    if (!runs(id)) return;
    values += elements_of(shape);
    if (shape.size() < 2 || id.section == Section::kModel || id.role == Role::kRouterTable) return;
    const double widths = static_cast<double>(shape.front() + shape.back());
    activations += 2 * tokens * widths * share_of(config, id);
  });
  for (const LayerConfig& layer : config.layers) activations += of_layer(config, layer, lengths);
  for (const LayerConfig& layer : config.mtp) activations += of_layer(config, layer, lengths);
  const double heads = static_cast<double>(1 + config.mtp.size());
  activations += heads * tokens * static_cast<double>(3 * config.vocab + 4 * config.hidden);

  double largest = 0;
  for (const StoredTensor& tensor : weights.stored()) {
    largest = std::max(largest, elements_of(tensor.shape));
  }
  const auto bytes = [](double elements) {
    return static_cast<int64_t>(std::min(elements * kElement, kMostBytes));
  };
  return {bytes(2 * values + largest), bytes(activations)};
}

}  // namespace models
