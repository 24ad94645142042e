#include "models/forward/state_space.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace models {
namespace {

at::Tensor first_state(const at::Tensor& x, const at::Tensor& b) {
  return at::zeros({x.size(0), x.size(1), b.size(-1), x.size(-1)}, x.options());
}

// [B, G, S, N] -> [B, H, S, N]
at::Tensor for_heads(const at::Tensor& groups, const at::Tensor& x) {
  return groups.repeat_interleave(x.size(1) / groups.size(1), 1);
}

}  // namespace

at::Tensor state_space_by_token(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                                const at::Tensor& b, const at::Tensor& c) {
  const at::Tensor in = for_heads(b, x);
  const at::Tensor out = for_heads(c, x);
  const at::Tensor kept = (step * rate.unsqueeze(-1)).exp();
  const at::Tensor values = x * step.unsqueeze(-1);
  at::Tensor state = first_state(x, b);
  std::vector<at::Tensor> results;
  for (int64_t t = 0; t < x.size(2); ++t) {
    state = state * kept.select(2, t).unsqueeze(-1).unsqueeze(-1) +
            in.select(2, t).unsqueeze(-1) * values.select(2, t).unsqueeze(-2);
    results.push_back((state * out.select(2, t).unsqueeze(-1)).sum(-2));
  }
  return at::stack(results, 2);
}

at::Tensor state_space_by_chunk(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                                const at::Tensor& b, const at::Tensor& c, int64_t chunk) {
  const at::Tensor all_in = for_heads(b, x);
  const at::Tensor all_out = for_heads(c, x);
  const at::Tensor exponents = step * rate.unsqueeze(-1);
  const at::Tensor all_values = x * step.unsqueeze(-1);
  at::Tensor state = first_state(x, b);
  std::vector<at::Tensor> results;
  for (int64_t first = 0; first < x.size(2); first += chunk) {
    const int64_t count = std::min(chunk, x.size(2) - first);
    const auto here = [&](const at::Tensor& tokens) { return tokens.narrow(2, first, count); };
    const at::Tensor in = here(all_in);
    const at::Tensor out = here(all_out);
    const at::Tensor values = here(all_values);
    const at::Tensor sums = here(exponents).cumsum(-1);
    const at::Tensor above = at::ones({count, count}, x.options()).tril().eq(0);
    const at::Tensor between = (sums.unsqueeze(-1) - sums.unsqueeze(-2))
                                   .masked_fill(above, -std::numeric_limits<float>::infinity())
                                   .exp();
    const at::Tensor inside = out.matmul(in.transpose(-1, -2)) * between;
    results.push_back(inside.matmul(values) + (out * sums.exp().unsqueeze(-1)).matmul(state));
    const at::Tensor last = sums.narrow(-1, count - 1, 1);
    const at::Tensor to_state = (in * (last - sums).exp().unsqueeze(-1)).transpose(-1, -2);
    state = last.exp().unsqueeze(-1) * state + to_state.matmul(values);
  }
  return at::cat(results, 2);
}

}  // namespace models
