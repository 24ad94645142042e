// What a model computes, in the words of neither Hugging Face nor Megatron. Each weight view fills one of these from its
// own configuration; the forward pass reads nothing else, and two views of the same model must agree in every field
// (describe).
//
//   - layers are listed one by one, each with its kind of attention and of feed-forward part: a variant alternative
//     is one kind, the functions that compute it lie in a file of that name
//   - a field that has no effect has its neutral value (no groups: 1 of 1), so that equal models have equal fields
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/model/vision_tower.h"

namespace models {

// RMS norms; the kinds differ in fp32 only in the weight's centre, below fp32 also in the order of cast and multiply.
enum class NormKind {
  kCastThenScale,  // w * (x / rms).to(dtype): Llama and what followed it
  kScaleThenCast,  // (w * (x / rms)).to(dtype): DeepSeek-V4
  kZeroCentred,    // ((x / rms) * (1 + w)).to(dtype): the weight is stored without its one
};

struct NormConfig {
  NormKind kind = NormKind::kCastThenScale;
  double eps = 0;
};

enum class RotaryScaling { kNone, kLinear, kLlama3, kYarn };
enum class RotaryLayout {
  kHalves,  // channel j turns with channel j + channels / 2
  kPairs,   // channel 2j turns with channel 2j + 1
};

struct RotaryConfig {
  int64_t channels = 0;  // the first ones of a head; the others pass unturned
  RotaryLayout layout = RotaryLayout::kHalves;
  double base = 0;
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1;               // every scaling
  int64_t original_positions = 0;  // llama3, YaRN
  double low_freq_factor = 0;      // llama3
  double high_freq_factor = 0;     // llama3
  double beta_fast = 0;            // YaRN
  double beta_slow = 0;            // YaRN
  bool round_range =
      false;  // YaRN: the channels where the ramp begins and ends are rounded to whole ones
  double magnitude = 1;  // YaRN: what cosine and sine are multiplied by

  bool operator==(const RotaryConfig&) const = default;
};

// Queries of several heads share a key and value head.
struct GroupedAttention {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;  // of every query and key head, before the rotation
  bool gated = false;    // every channel of the result times the sigmoid of a projection of its own
  int64_t window = 0;    // tokens a query sees, itself included; 0: all before it
  RotaryConfig rotary;
};

// Multi-head latent attention: keys and values come out of one low-rank vector a token.
struct LatentAttention {
  int64_t heads = 0;
  int64_t q_rank = 0;  // 0: queries are projected directly
  int64_t kv_rank = 0;
  int64_t nope_dim =
      0;  // channels of a query and key head that are not turned, and that come first
  int64_t rope_dim = 0;  // those that are; of the key, all heads share them
  int64_t v_dim = 0;
  double latent_eps = 0;
  double softmax_factor = 1;  // on top of 1 / sqrt(nope_dim + rope_dim)
  RotaryConfig rotary;
};

// One head of keys that are the values too, for all query heads. A token sees those of the last `window` tokens and, beyond
// them, summaries of `ratio` tokens each.
struct CompressedAttention {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t rope_dim = 0;  // the last channels of a head, of index heads too
  int64_t q_rank = 0;
  int64_t window = 0;
  int64_t output_groups = 0;  // neighbouring heads are projected together, group by group, ...
  int64_t output_rank = 0;    // ... to this many numbers each
  int64_t ratio = 0;          // 0: no summaries
  bool overlapping = false;   // a summary is of `ratio` tokens and of the `ratio` before them
  int64_t index_heads = 0;    // of the index that chooses what summaries a token sees; 0: all
  int64_t index_dim = 0;
  int64_t index_chosen = 0;
  RotaryConfig rotary;
};

// Linear attention: no keys are kept but a state, that each token decays and corrects (gated delta rule).
struct DeltaAttention {
  int64_t key_heads = 0;
  int64_t value_heads = 0;  // neighbouring ones share a key head
  int64_t key_dim = 0;      // of a head
  int64_t value_dim = 0;
  int64_t kernel = 0;  // tokens that the causal convolution sees
};

using AttentionConfig =
    std::variant<GroupedAttention, LatentAttention, CompressedAttention, DeltaAttention>;

struct DenseMlp {
  int64_t width = 0;
  bool bias = false;
};

enum class RouterScore { kSoftmax, kSigmoid, kSqrtSoftplus };

struct RouterConfig {
  RouterScore score = RouterScore::kSoftmax;
  int64_t experts = 0;
  int64_t chosen = 0;           // experts of a token
  int64_t groups = 1;           // experts are chosen from the best groups only ...
  int64_t chosen_groups = 1;    // ... this many ...
  int64_t ranked_by = 0;        // ... ranked by the sum of their best so many; 0: no groups
  bool selection_bias = false;  // added to the scores for the choice, never to the weights
  bool by_token = false;        // a table gives the experts of each entry of the vocabulary
  bool normalized = false;      // the weights of a token's experts sum to one (before the factor)
  double factor = 1;
};

struct MixtureOfExperts {
  RouterConfig router;
  int64_t width = 0;          // of one expert
  int64_t shared_width = 0;   // of the shared experts together, which see every token; 0: none
  bool shared_gated = false;  // their result times the sigmoid of one number a token
  double limit =
      0;  // gates are at most this, the other factor at most this far from zero; 0: no limit
};

using MlpConfig = std::variant<DenseMlp, MixtureOfExperts>;

// Several residual streams, mixed before and after every part of a layer.
struct HyperConnections {
  int64_t streams = 0;  // 0: one plain residual stream
  int64_t steps = 0;    // of the Sinkhorn iteration
  double eps = 0;
};

struct LayerConfig {
  AttentionConfig attention;
  MlpConfig mlp;
};

struct ModelConfig {
  int64_t hidden = 0;
  int64_t vocab = 0;
  bool tied = false;  // the embedding is the output layer's weight too
  NormConfig norm;    // of the residual stream, and of query and key heads
  HyperConnections hyper;
  std::vector<LayerConfig> layers;
  std::vector<LayerConfig> mtp;  // the transformer layer of each multi-token prediction depth
  std::optional<VisionTower>
      vision;  // of a multimodal model; the forward pass is that of its text model
};

constexpr int64_t kMostLayers = 4096;  // no list is made for a number that is surely wrong

// The first channels of a head that are rotated: `part` (0 to 1) of `size`, rounded down; 0, which check() refuses, of what
// is no size.
int64_t part_of(int64_t size, double part);

// Every field by name ("layers.3.attention.heads", "8"), in a fixed order.
std::vector<std::pair<std::string, std::string>> describe(const ModelConfig& config);

// Refuses sizes that no tensor could have and choices that contradict each other (kBadInput).
void check(const ModelConfig& config);

}  // namespace models
