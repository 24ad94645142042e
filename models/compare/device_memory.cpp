#include "models/compare/device_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "models/compare/pair_memory.h"
#include "models/compare/paired_weights.h"
#include "models/forward/query_blocks.h"

namespace models {
namespace {

// Sizes are limited (check of ModelConfig), but their products are not: doubles do not overflow,
// and sums of what they are cut to do not either.
constexpr double kMostBytes = 1e18;
constexpr double kSides = 2;
constexpr double kComputed = sizeof(float);
constexpr double kWeight = 1 + 2 + kComputed;  // codes of FP8, BF16, fp32
constexpr double kDeltaChunk = 64;
// Copies of what a token has: of its stream before, between and after the parts of a layer, normed,
// and while two are compared; of scores before and after the softmax; of a block of logits.
constexpr double kStreams = 8;
constexpr double kScores = 3;
constexpr double kLogits = 6;
constexpr double kGaps = 1.25;
constexpr int64_t kWorkspaces = 192 << 20;

int64_t bytes(double number) {
  return static_cast<int64_t>(std::min(number, kMostBytes));
}

// The heads that have scores, of attention itself or of its index.
template <typename Attention>
double scored_heads(const Attention& attention) {
  int64_t heads = 0;
  if constexpr (requires { attention.heads; }) heads = attention.heads;
  if constexpr (requires { attention.index.heads; }) {
    heads = std::max(heads, attention.index.heads);
  }
  if constexpr (requires { attention.index_heads; }) heads = std::max(heads, attention.index_heads);
  return static_cast<double>(heads);
}

// The elements of what a block of queries, or a chunk of linear attention, takes of one sequence.
// Beside the tokens there are at most as many summaries of them. An index makes a mask of all.
template <typename Attention>
double block_elements(const Attention& attention, double tokens) {
  const double heads = scored_heads(attention);
  const double keys = 2 * tokens;
  const double scores =
      std::min(heads * tokens * keys, std::max(static_cast<double>(kMostScores), heads * keys));
  double others = 0;
  if constexpr (requires { attention.index.chooses(); }) {
    if (attention.index.chooses()) others = tokens * keys;
  }
  if constexpr (requires { attention.index_heads; }) {
    if (attention.index_heads > 0) others = tokens * keys;
  }
  if constexpr (requires { attention.value_heads; }) {
    const double widths = static_cast<double>(attention.key_dim + attention.value_dim);
    const double state = static_cast<double>(attention.key_dim * attention.value_dim);
    others = static_cast<double>(attention.value_heads) *
             (8 * kDeltaChunk * kDeltaChunk + 8 * kDeltaChunk * widths + 4 * state);
  }
  return kScores * scores + others;
}

// The inputs and results of the linears of the layer or depth that has most, for one token. Of its
// experts one runs at a time.
double widest_layer(const ModelConfig& config, const std::optional<LayerRange>& layers) {
  std::map<std::pair<Section, int64_t>, double> widths;
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
    const bool runs = id.section == Section::kLayer || id.section == Section::kMtp;
    if (!runs || (layers && !layers->contains(id))) return;
    if (shape.size() < 2 || id.expert > 0 || id.role == Role::kRouterTable) return;
    widths[{id.section, id.index}] += static_cast<double>(shape.front() + shape.back());
  });
  double most = 0;
  for (const auto& [layer, width] : widths) most = std::max(most, width);
  return most;
}

}  // namespace

int64_t DeviceNeed::all() const {
  const double sum =
      static_cast<double>(weights) + static_cast<double>(states) + static_cast<double>(heads);
  return bytes(kGaps * sum) + kWorkspaces;
}

DeviceNeed device_need(const ModelConfig& config, int64_t prompts, int64_t tokens,
                       const std::optional<LayerRange>& layers) {
  const double most = static_cast<double>(most_elements(config, layers));
  const double rows = static_cast<double>(prompts) * static_cast<double>(tokens);
  const double stream = rows * static_cast<double>(config.hidden);
  const double streams = stream * static_cast<double>(std::max<int64_t>(1, config.hyper.streams));
  double block = 0;
  for (const std::vector<LayerConfig>* list : {&config.layers, &config.mtp}) {
    for (const LayerConfig& layer : *list) {
      const double here = std::visit(
          [&](const auto& kind) { return block_elements(kind, static_cast<double>(tokens)); },
          layer.attention);
      block = std::max(block, static_cast<double>(prompts) * here);
    }
  }
  DeviceNeed need;
  need.weights = bytes(kSides * kWeight * most + static_cast<double>(PairedWeights::kMostKept) +
                       kComputed * most);
  need.states = bytes(kSides * kComputed *
                      (kStreams * streams + 2 * rows * widest_layer(config, layers) + block));
  if (!layers || layers->has_heads) {
    const double inputs = static_cast<double>(1 + config.mtp.size()) * stream * kComputed;
    const double output = static_cast<double>(OutputLayer::kBlockBytes) * kWeight / kComputed;
    const double logits = kLogits * kComputed * static_cast<double>(OutputLayer::kMostLogits);
    need.heads = bytes(kSides * (inputs + output + logits));
  }
  return need;
}

int64_t copies_ahead(const DeviceNeed& need, int64_t free, const std::optional<int64_t>& cap) {
  const int64_t needed = need.all();
  const std::string parts = fmt::format(
      "weights take {}, the states of the prompt {}, heads {}", bridge::size_text(need.weights),
      bridge::size_text(need.states), bridge::size_text(need.heads));
  if (cap && *cap < needed) {
    bridge::usage_error(
        fmt::format("--device-memory {} is too small: {}", bridge::size_text(*cap), parts),
        fmt::format("use --device-memory {}MiB or more, or a shorter prompt",
                    needed / (1 << 20) + 1));
  }
  if (free < needed) {
    throw bridge::Error(bridge::Code::kIo,
                        fmt::format("out of memory on the GPU: {} are free, {} are needed: {}",
                                    bridge::size_text(free), bridge::size_text(needed), parts),
                        "a shorter prompt needs less, and --device cpu none of it");
  }
  return std::min(std::min(free, cap.value_or(free)) - needed, kMostCopiesAhead);
}

}  // namespace models
