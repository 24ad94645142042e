// What a model computes, in terms of neither Hugging Face nor Megatron. Each weight view fills one
// ModelConfig from its own configuration. The forward pass reads nothing else, and two views of the
// same model must agree in every field (describe).
//
//   - Layers are listed one by one, each with its kind of attention and of feed-forward part. A
//     variant alternative is one kind; the functions that compute it are in a file of that name.
//   - A field that has no effect has its neutral value (no groups: 1 of 1), so that equal models
//     have equal fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/model/vision_tower.h"

namespace models {

// RMS norms, and LayerNorm, which subtracts the mean first and adds a bias. In fp32 the kinds of
// either differ only in the centre of the weight; below fp32 they also differ in the order of cast
// and multiplication.
enum class NormKind {
  kCastThenScale,     // w * (x / rms).to(dtype): Llama and its successors
  kScaleThenCast,     // (w * (x / rms)).to(dtype): DeepSeek-V4
  kZeroCentred,       // ((x / rms) * (1 + w)).to(dtype): stored as the weight minus one
  kLayer,             // (w * (x - mean) / deviation + b).to(dtype): StarCoder2
  kLayerZeroCentred,  // ((1 + w) * (x - mean) / deviation + b).to(dtype): Nemotron
};

// True for the kinds that have a bias.
constexpr bool has_bias(NormKind kind) {
  return kind == NormKind::kLayer || kind == NormKind::kLayerZeroCentred;
}

struct NormConfig {
  NormKind kind = NormKind::kCastThenScale;
  double eps = 0;
};

enum class RotaryScaling { kNone, kLinear, kLlama3, kYarn };
enum class RotaryLayout {
  kHalves,  // channel j rotates with channel j + channels / 2
  kPairs,   // channel 2j rotates with channel 2j + 1
};

struct RotaryConfig {
  int64_t channels = 0;  // the first ones of a head; the others are not rotated. 0: no positions
  RotaryLayout layout = RotaryLayout::kHalves;
  double base = 0;
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1;               // every scaling
  int64_t original_positions = 0;  // llama3, YaRN
  double low_freq_factor = 0;      // llama3
  double high_freq_factor = 0;     // llama3
  double beta_fast = 0;            // YaRN
  double beta_slow = 0;            // YaRN
  // YaRN: the channels where the ramp begins and ends are rounded to integers.
  bool round_range = false;
  double magnitude = 1;  // YaRN: the factor of cosine and sine

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
  // Its mean is over the channels of all query heads together, and over those of all key heads.
  bool whole_qk_norm = false;
  // After the rotation every query and key head is divided by its root mean square, with the
  // epsilon of the norms.
  bool unit_qk = false;
  // Each channel of the result is multiplied by the sigmoid of a projection of its own.
  bool gated = false;
  // A learned score of each head takes weight in every softmax, but has no value.
  bool sinks = false;
  int64_t window = 0;  // tokens that a query sees, itself included; 0: all before it
  // Sequences are cut into chunks of so many tokens, and a query sees none of another; 0: whole.
  int64_t chunk = 0;
  // The query at position p counts 1 + sharpening * ln(1 + floor((p + 1) / sharpened_from)) times.
  double sharpening = 0;
  int64_t sharpened_from = 0;
  double scale = 0;  // of the scores; 0: 1 / sqrt(head_dim)
  // Scores s become cap * tanh(s / cap) before the softmax; 0: they stay.
  double cap = 0;
  RotaryConfig rotary;
};

// Chooses the tokens that a token attends to, by scores of its own.
struct TokenIndex {
  int64_t heads = 0;  // 0: no index of its own
  int64_t dim = 0;    // of a head; its first channels, as many as the attention's, are rotated
  int64_t chosen = 0;
  double eps = 0;  // of the norm of the keys
  RotaryLayout layout = RotaryLayout::kHalves;
  // What the last layer before it with an index of its own chose.
  bool shared = false;

  bool chooses() const { return heads > 0 || shared; }
};

// Multi-head latent attention: keys and values are computed from one low-rank vector per token.
struct LatentAttention {
  int64_t heads = 0;
  int64_t q_rank = 0;  // 0: queries are projected directly
  int64_t kv_rank = 0;
  // The channels of a query and key head that are not rotated; they come first.
  int64_t nope_dim = 0;
  int64_t rope_dim = 0;  // the rotated channels; all heads share those of the key
  int64_t v_dim = 0;
  double latent_eps = 0;
  double softmax_factor = 1;  // on top of 1 / sqrt(nope_dim + rope_dim)
  RotaryConfig rotary;
  TokenIndex index;  // none: a token attends to all before it
};

// One head, whose keys are also its values, serves all query heads. A token sees the last `window`
// tokens and, beyond them, summaries of `ratio` tokens each.
struct CompressedAttention {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t rope_dim = 0;  // the last channels of a head and of an index head
  int64_t q_rank = 0;
  int64_t window = 0;
  int64_t output_groups = 0;  // groups of neighbouring heads, each projected as one ...
  int64_t output_rank = 0;    // ... to this many numbers
  int64_t ratio = 0;          // 0: no summaries
  bool overlapping = false;   // a summary covers `ratio` tokens and the `ratio` before them
  int64_t index_heads = 0;    // of the index that chooses the summaries a token sees; 0: all seen
  int64_t index_dim = 0;
  int64_t index_chosen = 0;
  RotaryConfig rotary;
};

// Linear attention (gated delta rule): instead of keys it keeps a state, which each token decays
// and corrects.
struct DeltaAttention {
  int64_t key_heads = 0;
  int64_t value_heads = 0;  // neighbouring ones share a key head
  int64_t key_dim = 0;      // of a head
  int64_t value_dim = 0;
  int64_t kernel = 0;  // tokens that the causal convolution sees
};

// Mamba-2: every head has a state, which each token lets decay by the length of its time step and
// adds its value to.
struct Mamba2 {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t groups = 0;     // of neighbouring heads, which share B, C and the mean of the norm
  int64_t state = 0;      // channels of B and C in a group
  int64_t kernel = 0;     // tokens that the causal convolution sees
  double eps = 0;         // of the norm of the result
  double least_step = 0;  // the least length of a time step; 0: no limit
};

// A layer that is an MLP alone.
struct NoAttention {};

using AttentionConfig = std::variant<GroupedAttention, LatentAttention, CompressedAttention,
                                     DeltaAttention, Mamba2, NoAttention>;

enum class Activation {
  kSilu,
  kGeluTanh,     // GELU in its form with tanh
  kSquaredRelu,  // max(x, 0)^2
};

struct DenseMlp {
  int64_t width = 0;
  bool bias = false;
  Activation activation = Activation::kSilu;
  // down(activation(gate x) * up x); without a gate, down(activation(up x)).
  bool gated = true;
};

enum class RouterScore { kSoftmax, kSigmoid, kSqrtSoftplus };

struct RouterConfig {
  RouterScore score = RouterScore::kSoftmax;
  int64_t experts = 0;
  int64_t chosen = 0;           // experts of a token
  int64_t groups = 1;           // groups of experts; a token uses only the best ones
  int64_t chosen_groups = 1;    // the number of best groups
  int64_t ranked_by = 0;        // the number of its best scores that rank a group; 0: no groups
  bool selection_bias = false;  // added to the scores for the choice, never to the weights
  bool logit_bias = false;      // of the linear that gives the scores' logits
  bool by_token = false;        // a table gives the experts of each entry of the vocabulary
  bool normalized = false;      // the weights of a token's experts sum to one, before the factor
  double factor = 1;
};

struct MixtureOfExperts {
  RouterConfig router;
  int64_t width = 0;          // of one expert
  int64_t shared_width = 0;   // of all shared experts, which see every token; 0: none
  bool shared_gated = false;  // their result is multiplied by one sigmoid per token
  bool bias = false;          // of every linear of an expert
  // Clamps gates from above and the other factor on both sides; 0: no limit.
  double limit = 0;
  // A gate g counts g * sigmoid(gain * g): 1 is SiLU, 1.702 the quick GELU.
  double gain = 1;
  double offset = 0;  // added to the other factor
  // An expert's weight multiplies what goes in, not what comes out.
  bool weighted_input = false;
  // As in DenseMlp, of routed and shared experts.
  Activation activation = Activation::kSilu;
  bool gated = true;
  // Routed experts read so many channels, to which a projection leads and from which another leads
  // back; 0: all of the residual stream.
  int64_t latent = 0;
};

// A layer that is attention alone.
struct NoMlp {};

using MlpConfig = std::variant<DenseMlp, MixtureOfExperts, NoMlp>;

// Who defines how streams are mixed; the same tensors compute something else in the other.
enum class HyperDialect {
  kDeepSeek,      // DeepSeek-V4, Megatron-LM dev: a learned head
  kMegatronMain,  // Megatron-LM main's enable_mhc_connections: the mean of the streams
};

// Several residual streams, mixed before and after every part of a layer.
struct HyperConnections {
  int64_t streams = 0;  // 0: one plain residual stream
  int64_t steps = 0;    // of the Sinkhorn iteration
  double eps = 0;
  HyperDialect dialect = HyperDialect::kDeepSeek;
};

// Attention, then an MLP, or one of them.
struct LayerConfig {
  AttentionConfig attention;
  MlpConfig mlp;

  bool has_attention() const { return !std::holds_alternative<NoAttention>(attention); }
  bool has_mlp() const { return !std::holds_alternative<NoMlp>(mlp); }
};

struct ModelConfig {
  int64_t hidden = 0;
  int64_t vocab = 0;
  int64_t labels = 0;  // of a classifier, whose output layer has a row for each; 0: for each token
  bool tied = false;   // the embedding is also the weight of the output layer
  NormConfig norm;     // of the residual stream, and of query and key heads
  // The results of attention and of the MLP are normed too, before the residual stream takes them.
  bool post_norms = false;
  double embedding_scale = 1;  // what the rows of the embedding are multiplied by
  // Logits x become logit_cap * tanh(x / logit_cap); 0: they stay.
  double logit_cap = 0;
  HyperConnections hyper;
  std::vector<LayerConfig> layers;
  std::vector<LayerConfig> mtp;  // the transformer layer of each multi-token prediction depth
  // The tower of a multimodal model. The forward pass computes only the text model.
  std::optional<VisionTower> vision;

  int64_t output_rows() const { return labels > 0 ? labels : vocab; }
};

// The most layers that a list is made for; a larger number is surely wrong.
constexpr int64_t kMostLayers = 4096;

// GroupedAttention::scale of scores that are divided by sqrt(divisor): 0 where that is what heads
// of this size have anyway.
double score_scale(double divisor, int64_t head_dim);

// The number of rotated channels, the first ones of a head: `part` (0 to 1) of `size`, rounded
// down. An invalid size or part gives 0, which check() refuses.
int64_t part_of(int64_t size, double part);

// Every field by name ("layers.3.attention.heads", "8"), in a fixed order.
std::vector<std::pair<std::string, std::string>> describe(const ModelConfig& config);

// Refuses sizes that no tensor could have and choices that contradict each other (kBadInput), and
// choices that are not computed together (kUnsupported).
void check(const ModelConfig& config);

}  // namespace models
