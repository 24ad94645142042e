#include "models/delta_rule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv1d.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <vector>

namespace models {
namespace {

constexpr double kLengthEps = 1e-6;

at::Tensor first_state(const at::Tensor& k, const at::Tensor& v) {
  return at::zeros({k.size(0), k.size(1), k.size(-1), v.size(-1)}, v.options());
}

// [B, H, S, ...] -> [B, H, chunks, chunk, ...], filled up with zeros.
at::Tensor by_chunk(const at::Tensor& x, int64_t chunk) {
  const int64_t missing = (chunk - x.size(2) % chunk) % chunk;
  std::vector<int64_t> padding(static_cast<size_t>(2 * (x.dim() - 2)), 0);  // last axis first
  padding.back() = missing;
  return at::constant_pad_nd(x, padding, 0).unflatten(2, {-1, chunk});
}

// Along the last axis. Where it is long, another order of addition shows in what the norm after the rule makes of small results: on
// a CPU it is transformers' own; on a GPU that has no fixed order, a product with a triangle of ones has.
at::Tensor running_sums(const at::Tensor& x, const at::Tensor& lower) {
  return x.is_cuda() ? x.matmul(lower.t()) : x.cumsum(-1);
}

}  // namespace

at::Tensor delta_rule_by_token(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& decay, const at::Tensor& beta) {
  at::Tensor state = first_state(k, v);
  std::vector<at::Tensor> out;
  for (int64_t t = 0; t < q.size(2); ++t) {
    const auto number = [&](const at::Tensor& x) { return x.select(2, t).unsqueeze(-1); };
    const at::Tensor key = number(k);
    state = state * number(decay).exp().unsqueeze(-1);
    const at::Tensor error = v.select(2, t) - (state * key).sum(-2);
    state = state + key * (error * number(beta)).unsqueeze(-2);
    out.push_back((state * number(q)).sum(-2));
  }
  return at::stack(out, 2);
}

at::Tensor delta_rule_by_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& decay, const at::Tensor& beta, int64_t chunk) {
  const at::Tensor qs = by_chunk(q, chunk);
  const at::Tensor ks = by_chunk(k, chunk);
  const at::Tensor rates = by_chunk(beta, chunk).unsqueeze(-1);
  const at::Tensor lower = at::ones({chunk, chunk}, q.options()).tril();
  const at::Tensor sums = running_sums(by_chunk(decay, chunk), lower);
  const at::Tensor between = (sums.unsqueeze(-1) - sums.unsqueeze(-2))
                                 .masked_fill(lower.eq(0), -std::numeric_limits<float>::infinity())
                                 .exp();

  const at::Tensor keys_t = ks.transpose(-1, -2);
  const at::Tensor system = (ks * rates).matmul(keys_t) * between;
  const at::Tensor wanted =
      at::cat({by_chunk(v, chunk) * rates, ks * rates * sums.exp().unsqueeze(-1)}, -1);
  const at::Tensor solved = at::linalg_solve_triangular(system, wanted, /*upper=*/false,
                                                        /*left=*/true, /*unitriangular=*/true);
  const at::Tensor u = solved.narrow(-1, 0, v.size(-1));
  const at::Tensor w = solved.narrow(-1, v.size(-1), k.size(-1));

  const at::Tensor inside = qs.matmul(keys_t) * between;
  const at::Tensor from_state = qs * sums.exp().unsqueeze(-1);
  const at::Tensor last = sums.narrow(-1, chunk - 1, 1);
  const at::Tensor to_state = (ks * (last - sums).exp().unsqueeze(-1)).transpose(-1, -2);
  const at::Tensor kept = last.exp().unsqueeze(-1);

  at::Tensor state = first_state(k, v);
  std::vector<at::Tensor> out;
  for (int64_t c = 0; c < qs.size(2); ++c) {
    const auto of = [&](const at::Tensor& x) { return x.select(2, c); };
    const at::Tensor correction = of(u) - of(w).matmul(state);
    out.push_back(of(from_state).matmul(state) + of(inside).matmul(correction));
    state = of(kept) * state + of(to_state).matmul(correction);
  }
  return at::cat(out, 2).narrow(2, 0, q.size(2));
}

at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& kernel) {
  const int64_t before = kernel.size(-1) - 1;
  return at::conv1d(x.transpose(1, 2), kernel, {}, /*stride=*/1, /*padding=*/before, /*dilation=*/1,
                    /*groups=*/kernel.size(0))
      .narrow(-1, 0, x.size(1))
      .transpose(1, 2);
}

at::Tensor unit_length(const at::Tensor& x) {
  return x * (x.pow(2).sum(-1, /*keepdim=*/true) + kLengthEps).rsqrt();
}

}  // namespace models
