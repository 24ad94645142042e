#include "models/verify/shares.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "bridge/io/base/checked.h"
#include "models/model/tensor_id.h"

namespace models {

// Rank r ends where the weights so far come nearest to (r + 1) / count of all.
std::vector<LayerRange> divide_layers(const std::vector<int64_t>& weights, int64_t first,
                                      int64_t before, int64_t after, int count) {
  const auto layers = std::ssize(weights);
  const double all =
      static_cast<double>(std::accumulate(weights.begin(), weights.end(), before + after));
  std::vector<LayerRange> blocks;
  int64_t next = 0;
  auto done = static_cast<double>(before);
  for (int rank = 0; rank < count; ++rank) {
    const int64_t others = count - rank - 1;
    const int64_t most = std::max(std::min(next + 1, layers), layers - others);
    const double goal = all * (rank + 1) / count;
    const int64_t begin = next;
    while (next < most) {
      const auto weight = static_cast<double>(weights[static_cast<size_t>(next)]);
      const bool is_enough = next > begin && done + weight / 2 > goal;
      if (is_enough && others > 0) break;
      done += weight;
      ++next;
    }
    blocks.push_back({first + begin, first + next});
  }
  return blocks;
}

// Layers that only b has weigh nothing: they are listed as missing, and no pass runs.
LayerRange share_of(const ModelConfig& a, const ModelConfig& b,
                    const std::optional<LayerRange>& layers, int rank, int count) {
  const LayerRange all =
      layers.value_or(LayerRange{0, std::max(std::ssize(a.layers), std::ssize(b.layers))});
  std::vector<int64_t> weights(static_cast<size_t>(all.end - all.begin));
  int64_t before = 0;
  int64_t after = 0;
  for_each_tensor(a, [&](const TensorId& id, const bridge::Shape& shape) {
    const int64_t elements = bridge::element_count(shape);
    if (id.section == Section::kLayer) {
      if (all.contains(id.index)) weights[static_cast<size_t>(id.index - all.begin)] += elements;
    } else if (!layers) {
      const bool is_after = LayerRange{.has_heads = true}.contains(id);
      (is_after ? after : before) += elements;
    }
  });
  LayerRange share =
      divide_layers(weights, all.begin, before, after, count)[static_cast<size_t>(rank)];
  share.has_embedding = share.has_rest = !layers && rank == 0;
  share.has_heads = !layers && rank == count - 1;
  return share;
}

}  // namespace models
