#include "models/train/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <variant>

#include "bridge/io/base/error.h"
#include "models/forward/forward.h"
#include "models/train/context_parallel.h"
#include "models/train/router_loss.h"

namespace models {
namespace {

LossValue value_of(const HeadLoss& loss) {
  return {loss.sum.item<double>(), loss.count.item<double>()};
}

Offsets row_offsets(const Batch& batch) {
  return batch.offsets.empty() ? Offsets{0, batch.ids.size(1)} : batch.offsets;
}

std::string_view reason_against_ranks(const AttentionConfig& attention) {
  if (std::holds_alternative<DeltaAttention>(attention)) return "linear attention";
  return std::holds_alternative<CompressedAttention>(attention) ? "compressed attention" : "";
}

void check_ranks(const ModelConfig& config, int64_t ranks) {
  if (ranks == 1) return;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const std::string_view reason = reason_against_ranks(config.layers[i].attention);
    if (reason.empty()) continue;
    bridge::unsupported(
        fmt::format("context parallelism: layer {} has {}, which is not cut", i, reason),
        "--context-parallel 1 computes the same step");
  }
}

// The targets of every rank.
class SharedTargets {
 public:
  SharedTargets(const ContextLayout& layout, const Targets& targets) : layout_(layout) {
    for (int64_t rank = 0; rank < layout_.ranks(); ++rank) {
      labels_.push_back(layout_.share(targets.labels, rank));
      masks_.push_back(layout_.share(targets.mask, rank));
    }
  }

  Targets of(int64_t rank) const {
    return {labels_[static_cast<size_t>(rank)], masks_[static_cast<size_t>(rank)]};
  }

  void roll() {
    labels_ = rolled(labels_);
    masks_ = rolled(masks_);
  }

 private:
  std::vector<at::Tensor> rolled(const std::vector<at::Tensor>& shares) const {
    std::vector<at::Tensor> values;
    for (const Rolled& part : rolled_shares(layout_, shares)) values.push_back(part.values);
    return values;
  }

  const ContextLayout& layout_;
  std::vector<at::Tensor> labels_;
  std::vector<at::Tensor> masks_;
};

// Sums the routers' losses while a pass runs.
class RouterLosses {
 public:
  RouterLosses(const Batch& batch, const std::optional<TrainingSettings>& settings)
      : offsets_(row_offsets(batch)), left_out_(batch.left_out) {
    if (settings && has_router_loss(*settings)) weight_ = settings->router_loss_weight;
  }

  bool wanted() const { return weight_ != 0; }

  void add(const RouterConfig& router, const at::Tensor& logits) {
    const at::Tensor left_out = left_out_.defined() ? left_out_.flatten() : left_out_;
    const at::Tensor loss = models::router_loss(router, logits, left_out, weight_);
    sum_ = sum_.defined() ? sum_ + loss : loss;
  }
  // A depth of multi-token prediction begins.
  void roll() {
    if (left_out_.defined()) left_out_ = rolled_left(left_out_, offsets_).values;
  }
  const at::Tensor& sum() const { return sum_; }  // undefined: no router had a loss

 private:
  Offsets offsets_;
  at::Tensor left_out_;
  double weight_ = 0;
  at::Tensor sum_;
};

}  // namespace

StepResult train_step(LeafWeights& weights, const Batch& batch, const StepOptions& options) {
  const ModelConfig& config = weights.config();
  check_ranks(config, options.ranks);
  const ContextLayout layout(row_offsets(batch), options.ranks);
  const c10::AutoGradMode records(true);

  RouterLosses routers(batch, options.router_loss);
  PassOptions pass_options;
  pass_options.gradients = true;
  pass_options.offsets = batch.offsets;
  pass_options.positions = batch.positions;
  if (routers.wanted()) {
    pass_options.on_router = [&](const RouterConfig& router, const at::Tensor& logits) {
      routers.add(router, logits);
    };
  }
  const Compute compute;
  ForwardPass pass(weights, compute, batch.ids, pass_options);
  while (pass.next()) {
    if (!pass.heads().empty()) routers.roll();  // what follows is a depth
  }

  const at::Tensor output = OutputLayer(weights, compute).whole();
  SharedTargets targets(layout, batch.targets);
  StepResult result;
  result.of_ranks.resize(static_cast<size_t>(layout.ranks()));
  std::vector<HeadLoss> losses;
  for (const at::Tensor& hidden : pass.heads()) {
    const bool is_main = losses.empty();
    if (!is_main) targets.roll();
    HeadLoss total;
    for (int64_t rank = 0; rank < layout.ranks(); ++rank) {
      const at::Tensor share = layout.share(hidden.transpose(1, 2), rank).transpose(1, 2);
      const HeadLoss loss = head_loss(share, output, targets.of(rank), config.logit_cap);
      StepLosses& of_rank = result.of_ranks[static_cast<size_t>(rank)];
      if (is_main) {
        of_rank.main = value_of(loss);
      } else {
        of_rank.mtp.push_back(value_of(loss));
      }
      total = rank == 0 ? loss : HeadLoss{total.sum + loss.sum, total.count + loss.count};
    }
    losses.push_back(total);
  }

  result.losses.main = value_of(losses.front());
  for (size_t head = 1; head < losses.size(); ++head) {
    result.losses.mtp.push_back(value_of(losses[head]));
  }
  for (size_t head = 0; head < options.counts.size(); ++head) {
    losses.at(head).count = at::full_like(losses.at(head).count, options.counts[head]);
  }
  const HeadLoss main = losses.front();
  const std::vector<HeadLoss> depths(losses.begin() + 1, losses.end());
  at::Tensor loss = step_loss(main, depths, options.mtp_loss_scale);
  if (routers.sum().defined()) {
    result.router_loss = routers.sum().item<double>();
    loss = loss + routers.sum();
  }
  loss.backward();
  return result;
}

}  // namespace models
