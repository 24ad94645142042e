#include "models/model/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "bridge/io/base/error.h"

namespace models {
namespace {

// The largest dimension, far beyond any model; products stay within 64 bits.
constexpr int64_t kLargestSize = 1 << 24;
// The most steps of the Sinkhorn iteration; the forward pass runs that many.
constexpr int64_t kMostSteps = 1024;

void check_size(std::string_view what, int64_t value, int64_t at_least = 1,
                int64_t at_most = kLargestSize) {
  if (value < at_least || value > at_most) {
    bridge::bad_input(fmt::format("{} is {}, not in {} to {}", what, value, at_least, at_most));
  }
}

void check_not_negative(std::string_view what, double value) {
  if (!std::isfinite(value) || value < 0) {
    bridge::bad_input(fmt::format("{} is {}", what, value));
  }
}

void check_rotary(const RotaryConfig& rotary, int64_t most) {
  check_size("the number of rotated channels", rotary.channels);
  if (rotary.channels % 2 != 0 || rotary.channels > most) {
    bridge::bad_input(fmt::format("{} rotated channels of {}, not an even number of them",
                                  rotary.channels, most));
  }
  if (!(rotary.base > 1)) bridge::bad_input(fmt::format("the rotary base is {}", rotary.base));
  if (!(rotary.factor > 0)) {
    bridge::bad_input(fmt::format("the factor of the rotary scaling is {}", rotary.factor));
  }
  const bool has_range =
      rotary.scaling == RotaryScaling::kLlama3 || rotary.scaling == RotaryScaling::kYarn;
  if (has_range) check_size("the number of original positions", rotary.original_positions);
}

void check_part(const GroupedAttention& attention) {
  check_size("the number of heads", attention.heads);
  check_size("the number of key/value heads", attention.kv_heads);
  check_size("the size of a head", attention.head_dim);
  if (attention.heads % attention.kv_heads != 0) {
    bridge::bad_input(fmt::format("{} heads cannot share {} key/value heads", attention.heads,
                                  attention.kv_heads));
  }
  if (attention.whole_qk_norm && !attention.qk_norm) {
    bridge::bad_input("a norm of all heads together, and none of queries and keys");
  }
  check_size("the attention window", attention.window, 0);
  check_size("the size of a chunk", attention.chunk, 0);
  check_not_negative("the sharpening of queries", attention.sharpening);
  if (attention.sharpening > 0) {
    check_size("the first sharpened position", attention.sharpened_from);
  }
  check_not_negative("the scale of the scores", attention.scale);
  check_not_negative("the soft cap of the scores", attention.cap);
  if (attention.rotary != RotaryConfig{}) check_rotary(attention.rotary, attention.head_dim);
}

void check_index(const LatentAttention& attention) {
  const TokenIndex& index = attention.index;
  check_size("the number of index heads", index.heads, 0);
  if (!index.chooses()) return;
  check_size("the number of tokens that the index chooses", index.chosen);
  if (index.heads == 0) return;
  if (index.shared) bridge::bad_input("an index that is both a layer's own and shared");
  check_size("the size of an index head", index.dim, attention.rope_dim);
  check_size("the rank of the queries beside an index", attention.q_rank);
  if (!(index.eps > 0)) {
    bridge::bad_input(fmt::format("the epsilon of the index's norm is {}", index.eps));
  }
}

void check_part(const LatentAttention& attention) {
  check_size("the number of heads", attention.heads);
  check_size("the rank of the queries", attention.q_rank, 0);
  check_size("the rank of keys and values", attention.kv_rank);
  check_size("the number of unrotated channels", attention.nope_dim);
  check_size("the size of a value head", attention.v_dim);
  check_rotary(attention.rotary, attention.rope_dim);
  check_index(attention);
}

void check_part(const CompressedAttention& attention) {
  check_size("the number of heads", attention.heads);
  check_size("the size of a head", attention.head_dim);
  check_size("the rank of the queries", attention.q_rank);
  check_size("the attention window", attention.window);
  check_size("the number of output groups", attention.output_groups);
  check_size("the rank of an output group", attention.output_rank);
  if (attention.heads * attention.head_dim % attention.output_groups != 0) {
    bridge::bad_input(fmt::format("{} heads of {} do not make {} equal output groups",
                                  attention.heads, attention.head_dim, attention.output_groups));
  }
  check_size("the compression ratio", attention.ratio, 0);
  check_size("the number of index heads", attention.index_heads, 0);
  if (attention.index_heads > 0) {
    check_size("the size of an index head", attention.index_dim, attention.rope_dim);
    check_size("the number of summaries that the index chooses", attention.index_chosen);
  }
  if (attention.rotary.channels != attention.rope_dim) {
    bridge::bad_input(fmt::format("{} rotated channels, the heads have {}",
                                  attention.rotary.channels, attention.rope_dim));
  }
  check_rotary(attention.rotary, attention.head_dim);
}

void check_part(const DeltaAttention& attention) {
  check_size("the number of linear key heads", attention.key_heads);
  check_size("the number of linear value heads", attention.value_heads);
  check_size("the size of a linear key head", attention.key_dim);
  check_size("the size of a linear value head", attention.value_dim);
  check_size("the size of the convolution", attention.kernel);
  if (attention.value_heads % attention.key_heads != 0) {
    bridge::bad_input(fmt::format("{} linear value heads cannot share {} key heads",
                                  attention.value_heads, attention.key_heads));
  }
}

void check_part(const Mamba2& mixer) {
  check_size("the number of Mamba heads", mixer.heads);
  check_size("the size of a Mamba head", mixer.head_dim);
  check_size("the number of groups of Mamba heads", mixer.groups);
  check_size("the size of a Mamba state", mixer.state);
  check_size("the size of the convolution", mixer.kernel);
  if (mixer.heads % mixer.groups != 0) {
    bridge::bad_input(
        fmt::format("{} Mamba heads do not make {} equal groups", mixer.heads, mixer.groups));
  }
  if (!(mixer.eps > 0)) {
    bridge::bad_input(fmt::format("the epsilon of Mamba's norm is {}", mixer.eps));
  }
  check_not_negative("the least time step", mixer.least_step);
}

void check_part(const NoAttention&) {}
void check_part(const NoMlp&) {}

void check_part(const DenseMlp& mlp) {
  check_size("the size of the MLP", mlp.width);
}

void check_part(const MixtureOfExperts& mlp) {
  const RouterConfig& router = mlp.router;
  check_size("the size of an expert", mlp.width);
  check_size("the size of the shared experts", mlp.shared_width, 0);
  check_size("the number of experts", router.experts);
  check_size("the number of expert groups", router.groups);
  if (router.experts % router.groups != 0) {
    bridge::bad_input(
        fmt::format("{} experts do not make {} equal groups", router.experts, router.groups));
  }
  if (!(mlp.limit >= 0)) bridge::bad_input(fmt::format("the experts' limit is {}", mlp.limit));
  if (!(mlp.gain > 0)) bridge::bad_input(fmt::format("the experts' gain is {}", mlp.gain));
  check_size("the number of channels that experts read", mlp.latent, 0);
  const int64_t group_size = router.experts / router.groups;
  if (router.chosen_groups < 1 || router.chosen_groups > router.groups) {
    bridge::bad_input(fmt::format("{} of {} expert groups cannot be chosen", router.chosen_groups,
                                  router.groups));
  }
  if (router.ranked_by < 0 || router.ranked_by > group_size) {
    bridge::bad_input(fmt::format("a group of {} experts cannot be ranked by its best {}",
                                  group_size, router.ranked_by));
  }
  if (router.chosen < 1 || router.chosen > router.chosen_groups * group_size) {
    bridge::bad_input(fmt::format("{} experts a token cannot be chosen from {}", router.chosen,
                                  router.chosen_groups * group_size));
  }
}

bool shares_index(const LayerConfig& layer) {
  const auto* attention = std::get_if<LatentAttention>(&layer.attention);
  return attention != nullptr && attention->index.shared;
}

// A layer takes the choice of one before it, and a multi-token prediction depth has none before it.
void check_shared_indices(const ModelConfig& config) {
  if (!config.layers.empty() && shares_index(config.layers.front())) {
    bridge::bad_input("layer 0 shares an index, and no layer before it has one");
  }
  if (std::any_of(config.mtp.begin(), config.mtp.end(), shares_index)) {
    bridge::unsupported(
        "a multi-token prediction depth without an index of its own is not computed here");
  }
}

}  // namespace

int64_t part_of(int64_t size, double part) {
  const bool is_sane = 0 <= size && size <= kLargestSize && 0 <= part && part <= 1;
  return is_sane ? static_cast<int64_t>(static_cast<double>(size) * part) : 0;
}

double score_scale(double divisor, int64_t head_dim) {
  return divisor == static_cast<double>(head_dim) ? 0 : 1 / std::sqrt(divisor);
}

void check(const ModelConfig& config) {
  check_size("the hidden size", config.hidden);
  check_size("the vocabulary", config.vocab);
  check_size("the number of labels", config.labels, 0);
  if (config.labels > 0 && !config.mtp.empty()) {
    bridge::unsupported("a classifier with multi-token prediction is not computed here");
  }
  if (!(config.norm.eps > 0)) {
    bridge::bad_input(fmt::format("the epsilon of the norms is {}", config.norm.eps));
  }
  check_not_negative("the scale of the embedding", config.embedding_scale);
  check_not_negative("the soft cap of the logits", config.logit_cap);
  if (has_bias(config.norm.kind) && (config.post_norms || !config.mtp.empty())) {
    bridge::unsupported(
        "LayerNorm with norms of results or multi-token prediction is not computed here");
  }
  if (config.hyper.streams > 0 && config.post_norms) {
    bridge::unsupported("several residual streams with norms of results are not computed here");
  }
  check_size("the number of residual streams", config.hyper.streams, 0);
  if (config.hyper.streams > 0) {
    check_size("the number of Sinkhorn steps", config.hyper.steps, 1, kMostSteps);
    if (!(config.hyper.eps > 0)) {
      bridge::bad_input(fmt::format("the epsilon of the residual streams is {}", config.hyper.eps));
    }
  }
  for (const std::vector<LayerConfig>* layers : {&config.layers, &config.mtp}) {
    if (std::ssize(*layers) > kMostLayers) {
      bridge::bad_input(fmt::format("{} layers, more than {}", layers->size(), kMostLayers));
    }
    for (const LayerConfig& layer : *layers) {
      std::visit([](const auto& kind) { check_part(kind); }, layer.attention);
      std::visit([](const auto& kind) { check_part(kind); }, layer.mlp);
      if (layer.has_attention() && layer.has_mlp()) continue;
      if (!layer.has_attention() && !layer.has_mlp()) bridge::bad_input("a layer of no part");
      if (config.hyper.streams == 0) continue;
      bridge::unsupported("several residual streams with layers of one part are not computed here");
    }
  }
  if (config.layers.empty()) bridge::bad_input("no layers");
  check_shared_indices(config);
  if (config.vision) check(*config.vision);
}

}  // namespace models
