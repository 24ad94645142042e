// Weights of any configuration, made from a formula: small, all different, the same every time.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/weights/weights.h"

namespace models {

class MadeWeights : public Weights {
 public:
  explicit MadeWeights(ModelConfig config) : config_(std::move(config)) {
    for_each_tensor(config_, [&](const TensorId& id, const bridge::Shape& shape) {
      made_.emplace(to_string(id), std::pair(made_.size(), shape));
    });
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return made_.at(to_string(id)).second; }
  std::string source(const TensorId& id) override { return to_string(id); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    const auto& [number, shape] = made_.at(to_string(id));
    const at::Tensor numbers = at::arange(bridge::element_count(shape), at::kDouble);
    // Vectors are norms and biases for the most part, and lie around one.
    const at::Tensor values =
        (numbers * 12.9898 + 78.233 * static_cast<double>(number)).sin() * 0.3 +
        (shape.size() == 1 ? 1.0 : 0.0);
    at::Tensor whole = values.to(at::kFloat).view(shape);
    const auto found = added.find(to_string(id));
    if (found != added.end()) whole = whole + found->second;
    return whole.slice(0, begin, end).clone();
  }

  // Every canonical tensor is a stored one, "stored.NAME".
  std::vector<StoredTensor> stored() override {
    std::vector<StoredTensor> tensors(made_.size());
    for (const auto& [name, made] : made_)
      tensors[made.first] = {"stored." + name, made.second, ""};
    return tensors;
  }
  std::vector<StoredPart> parts(const TensorId& id) override {
    const auto& [number, shape] = made_.at(to_string(id));
    return {{number, 0, {shape[0], 0, shape[0], shape[0], shape[0]}, shape}};
  }

  // By canonical name: what is added to the values.
  std::map<std::string, at::Tensor> added;

 private:
  ModelConfig config_;
  std::map<std::string, std::pair<size_t, bridge::Shape>> made_;
};

// One layer of every kind of attention, dense and expert MLPs, two depths of multi-token
// prediction. No real model is a mixture like this; every function of the pass is used.
inline ModelConfig mixed_config() {
  RotaryConfig rotary;
  rotary.channels = 4;
  rotary.base = 100;
  GroupedAttention grouped;
  grouped.heads = 4;
  grouped.kv_heads = 2;
  grouped.head_dim = 6;
  grouped.qk_norm = true;
  grouped.gated = true;
  grouped.rotary = rotary;
  LatentAttention latent;
  latent.heads = 3;
  latent.q_rank = 7;
  latent.kv_rank = 5;
  latent.nope_dim = 3;
  latent.rope_dim = 4;
  latent.v_dim = 5;
  latent.latent_eps = 1e-6;
  latent.rotary = rotary;
  latent.rotary.layout = RotaryLayout::kPairs;
  CompressedAttention compressed;
  compressed.heads = 4;
  compressed.head_dim = 8;
  compressed.rope_dim = 4;
  compressed.q_rank = 6;
  compressed.window = 3;
  compressed.output_groups = 2;
  compressed.output_rank = 3;
  compressed.ratio = 4;
  compressed.overlapping = true;
  compressed.index_heads = 2;
  compressed.index_dim = 6;
  compressed.index_chosen = 1;
  compressed.rotary = latent.rotary;
  const DeltaAttention delta = {2, 4, 5, 3, 4};
  DenseMlp dense;
  dense.width = 9;
  MixtureOfExperts experts;
  experts.router.experts = 5;
  experts.router.chosen = 2;
  experts.router.score = RouterScore::kSigmoid;
  experts.router.selection_bias = true;
  experts.router.normalized = true;
  experts.width = 6;
  experts.shared_width = 4;

  ModelConfig config;
  config.hidden = 10;
  config.vocab = 23;
  config.norm.eps = 1e-6;
  config.layers = {{grouped, dense}, {delta, experts}, {compressed, experts}, {latent, dense}};
  config.mtp = {{latent, experts}, {grouped, dense}};
  return config;
}

// The same with a gate on all shared experts.
inline ModelConfig config_with_gated_experts() {
  ModelConfig config = mixed_config();
  for (std::vector<LayerConfig>* layers : {&config.layers, &config.mtp}) {
    for (LayerConfig& layer : *layers) {
      if (auto* experts = std::get_if<MixtureOfExperts>(&layer.mlp)) experts->shared_gated = true;
    }
  }
  return config;
}

}  // namespace models
