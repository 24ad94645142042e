// The mixer of Mamba-2:
//   1. x, b, c = silu of a causal convolution of W x with a bias, channel by channel
//   2. the length of a time step dt = softplus(Wd x + bias), not below the model's limit; the rate
//      of decay A = -exp(A_log); one fp32 number of each per head
//   3. y by the scan of the states (models/forward/state_scan.h), plus D x
//   4. out = Wo rms_norm(y * silu(Wz x)); the mean of the norm is over the heads of a group, and
//      the gate comes before it
// Truth: transformers' NemotronHMamba2Mixer, NemotronHRMSNormGated; Megatron-Core's MambaMixer,
// which has no limit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>

#include "models/forward/attention.h"
#include "models/forward/causal_convolution.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"
#include "models/forward/state_scan.h"

namespace models {
namespace {

constexpr int64_t kChunk = 128;

// [B, heads, S, d] fp32.
at::Tensor convolved(const SectionWeights& weights, const at::Tensor& x, Role projection,
                     Role kernel, Role bias, int64_t heads) {
  const at::Tensor flat =
      causal_convolution(linear(x, weights, projection), weights.get(kernel), weights.get(bias));
  return split_heads(at::silu(flat), heads).to(at::kFloat);
}

// [B, heads, S]
at::Tensor time_steps(const Mamba2& config, const SectionWeights& weights, const at::Tensor& x,
                      bool limited) {
  const at::Tensor steps = at::softplus(linear(x, weights, Role::kStep).to(at::kFloat) +
                                        weights.get_f32(Role::kStepBias))
                               .transpose(1, 2);
  return limited && config.least_step > 0 ? steps.clamp_min(config.least_step) : steps;
}

}  // namespace

at::Tensor mamba2_mixer(const Mamba2& config, const SectionWeights& weights, const at::Tensor& x,
                        bool limited_steps) {
  const at::Tensor values =
      convolved(weights, x, Role::kScanX, Role::kScanXConv, Role::kScanXConvBias, config.heads);
  const at::Tensor b =
      convolved(weights, x, Role::kScanB, Role::kScanBConv, Role::kScanBConvBias, config.groups);
  const at::Tensor c =
      convolved(weights, x, Role::kScanC, Role::kScanCConv, Role::kScanCConvBias, config.groups);
  const at::Tensor steps = time_steps(config, weights, x, limited_steps);
  const at::Tensor rate = -weights.get_f32(Role::kDecay).exp();
  const at::Tensor scanned = x.size(1) == 1
                                 ? state_scan_by_token(values, steps, rate, b, c)
                                 : state_scan_by_chunk(values, steps, rate, b, c, kChunk);
  const at::Tensor skip = weights.get_f32(Role::kSkip).unsqueeze(-1).unsqueeze(-1) * values;
  const at::Tensor gate = linear(x, weights, Role::kZ).to(at::kFloat);
  const at::Tensor normed =
      group_rms_norm(join_heads(scanned + skip) * at::silu(gate), weights.get_f32(Role::kScanNorm),
                     config.groups, config.eps);
  return linear(normed.to(x.scalar_type()), weights, Role::kO);
}

}  // namespace models
