#include "models/forward/state_scan.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "models/forward/running_sums.h"

namespace models {
namespace {

at::Tensor first_state(const at::Tensor& x, const at::Tensor& b) {
  return at::zeros({x.size(0), x.size(1), x.size(-1), b.size(-1)}, x.options());
}

at::Tensor for_every_head(const at::Tensor& of_groups, const at::Tensor& x) {
  return of_groups.repeat_interleave(x.size(1) / of_groups.size(1), 1);
}

// decay: [B, H, S]. Gives [B, H, S, S]: for j <= i the exponential of the sum over j + 1 .. i, else
// 0. Differences of sums from the first token on would lose digits where these are large.
at::Tensor decay_between(const at::Tensor& decay) {
  const int64_t tokens = decay.size(-1);
  const at::Tensor ones = at::ones({tokens, tokens}, decay.options().dtype(at::kBool));
  const at::Tensor summands =
      decay.unsqueeze(-1).expand({-1, -1, -1, tokens}).masked_fill(ones.triu(), 0);
  return running_sums(summands)
      .masked_fill(ones.triu(1), -std::numeric_limits<float>::infinity())
      .exp();
}

}  // namespace

at::Tensor state_scan_by_token(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                               const at::Tensor& b, const at::Tensor& c) {
  const at::Tensor in = for_every_head(b, x);
  const at::Tensor out = for_every_head(c, x);
  at::Tensor state = first_state(x, b);
  std::vector<at::Tensor> results;
  for (int64_t t = 0; t < x.size(2); ++t) {
    const at::Tensor length = step.select(2, t);
    const at::Tensor kept = (length * rate).exp().unsqueeze(-1).unsqueeze(-1);
    const at::Tensor value = x.select(2, t) * length.unsqueeze(-1);
    state = state * kept + value.unsqueeze(-1) * in.select(2, t).unsqueeze(-2);
    results.push_back((state * out.select(2, t).unsqueeze(-2)).sum(-1));
  }
  return at::stack(results, 2);
}

at::Tensor state_scan_by_chunk(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                               const at::Tensor& b, const at::Tensor& c, int64_t chunk) {
  at::Tensor state = first_state(x, b);
  std::vector<at::Tensor> results;
  for (int64_t first = 0; first < x.size(2); first += chunk) {
    const int64_t count = std::min(chunk, x.size(2) - first);
    const auto here = [&](const at::Tensor& all) { return all.narrow(2, first, count); };
    const at::Tensor in = for_every_head(here(b), x);
    const at::Tensor out = for_every_head(here(c), x);
    const at::Tensor values = here(x) * here(step).unsqueeze(-1);
    const at::Tensor decay = here(step) * rate.unsqueeze(-1);
    const at::Tensor sums = running_sums(decay.unsqueeze(-1));

    const at::Tensor inside = out.matmul(in.transpose(-1, -2)) * decay_between(decay);
    const at::Tensor before = out.matmul(state.transpose(-1, -2)) * sums.exp();
    results.push_back(inside.matmul(values) + before);
    const at::Tensor last = sums.narrow(-2, count - 1, 1);
    const at::Tensor to_state = (values * (last - sums).exp()).transpose(-1, -2);
    state = state * last.exp() + to_state.matmul(in);
  }
  return at::cat(results, 2);
}

}  // namespace models
