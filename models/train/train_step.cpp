#include "models/train/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <variant>

#include "bridge/io/base/error.h"
#include "models/forward/forward.h"
#include "models/train/context_parallel.h"
#include "models/train/mhc_recompute.h"
#include "models/train/router_loss.h"
#include "models/train/saved_bytes.h"

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

// Blocks of hyper-connections drop what the layers of one pass leave; layers that run again as a
// whole would leave it twice, and Megatron-Core recomputes both in selective recomputation only.
// Megatron-LM main does not run whole layers with hyper-connections again at all.
void check_mhc_block(const ModelConfig& config, int64_t block, const Recompute& recompute) {
  using Method = Recompute::Method;
  if (recompute.method == Method::kUniform || recompute.method == Method::kBlock) {
    const std::string_view method = recompute.method == Method::kUniform ? "full" : "block";
    if (block > 0) {
      bridge::usage_error(
          fmt::format("--recompute {} and --mhc-recompute-layers exclude each other", method),
          "--recompute selective goes with it");
    }
    if (config.hyper.streams > 0 && config.hyper.dialect == HyperDialect::kMegatronMain) {
      bridge::usage_error(
          fmt::format(
              "--recompute {} with enable_mhc_connections: Megatron-LM main has no such step",
              method),
          "--recompute selective and --mhc-recompute-layers go with it");
    }
  }
  if (block == 0) return;
  if (recompute.parts.mlp) {
    bridge::usage_error(
        "--recompute selective:mlp and --mhc-recompute-layers exclude each other",
        "Megatron-LM does not take mlp and mhc together; the other parts go with it");
  }
  if (config.hyper.streams > 0) return;
  bridge::usage_error(
      fmt::format("--mhc-recompute-layers {}, but the model has no hyper-connections "
                  "(enable_mhc_connections, enable_hyper_connections)",
                  block),
      "leave it out");
}

void check_positions(const Batch& batch, const StepOptions& options) {
  if (!batch.positions.defined() || batch.positions.dim() == 1 || options.sections) return;
  bridge::unsupported(
      "position_ids: three sections that differ, but the model has no mrope_section",
      "text has three equal sections");
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

// Empty: routers have no loss.
RouterLoss loss_of_routers(const std::optional<TrainingSettings>& settings) {
  if (!settings || !has_router_loss(*settings)) return {};
  return [weight = settings->router_loss_weight](
             const RouterConfig& router, const at::Tensor& logits, const at::Tensor& left_out) {
    return router_loss(router, logits, left_out.defined() ? left_out.flatten() : left_out, weight);
  };
}

// Undefined if there is none.
at::Tensor sum_of(const std::vector<at::Tensor>& losses) {
  at::Tensor sum;
  for (const at::Tensor& loss : losses) sum = sum.defined() ? sum + loss : loss;
  return sum;
}

}  // namespace

void check_trained(const ModelConfig& config) {
  constexpr const char* kRemedy = "--mode logits compares it";
  if (config.labels > 0) {
    bridge::unsupported("train-step: a classifier has no next token to be trained on", kRemedy);
  }
  const auto is_mamba = [](const LayerConfig& layer) {
    return std::holds_alternative<Mamba2>(layer.attention);
  };
  if (std::any_of(config.layers.begin(), config.layers.end(), is_mamba) ||
      std::any_of(config.mtp.begin(), config.mtp.end(), is_mamba)) {
    bridge::unsupported("train-step: no training step of Mamba-2 is computed here", kRemedy);
  }
}

StepResult train_step(LeafWeights& weights, const Batch& batch, const StepOptions& options) {
  const ModelConfig& config = weights.config();
  check_trained(config);
  check_ranks(config, options.ranks);
  check(options.recompute, config);
  check_mhc_block(config, options.mhc_block, options.recompute);
  check_positions(batch, options);
  const ContextLayout layout(row_offsets(batch), options.ranks);
  const c10::AutoGradMode records(true);

  const SavedBytes saved;
  PassOptions pass_options;
  pass_options.gradients = true;
  pass_options.offsets = batch.offsets;
  pass_options.positions = batch.positions;
  pass_options.sections = options.sections;
  pass_options.recompute = options.recompute;
  pass_options.left_out = batch.left_out;
  pass_options.router_loss = loss_of_routers(options.router_loss);
  std::optional<MhcRecompute> mhc;
  if (options.mhc_block > 0) pass_options.parts = &mhc.emplace(weights, options.mhc_block);
  Compute compute;
  compute.linears = options.fp8;
  ForwardPass pass(weights, compute, batch.ids, pass_options);
  while (pass.next()) {
  }

  const at::Tensor output = OutputLayer(weights, compute).whole();
  SharedTargets targets(layout, batch.targets);
  StepResult result;
  if (mhc) result.dropped_bytes = mhc->dropped_bytes();
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
  const at::Tensor of_routers = sum_of(pass.router_losses());
  if (of_routers.defined()) {
    result.router_loss = of_routers.item<double>();
    loss = loss + of_routers;
  }
  loss.backward();
  if (options.fp8 != nullptr) options.fp8->end_step();
  result.peak_activation_bytes = saved.peak();
  return result;
}

}  // namespace models
