#include "models/forward/delta_rule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "models/forward/running_sums.h"

namespace models {
namespace {

constexpr double kLengthEps = 1e-6;

at::Tensor first_state(const at::Tensor& k, const at::Tensor& v) {
  return at::zeros({k.size(0), k.size(1), k.size(-1), v.size(-1)}, v.options());
}

// Tokens first .. first + chunk - 1 of [B, H, S, ...], padded with zeros. The zeros change nothing,
// and with them the sums have as many terms as in transformers.
at::Tensor chunk_of(const at::Tensor& x, int64_t first, int64_t chunk) {
  const int64_t count = std::min(chunk, x.size(2) - first);
  const at::Tensor here = x.narrow(2, first, count);
  if (count == chunk) return here;
  std::vector<int64_t> padding(static_cast<size_t>(2 * (x.dim() - 2)), 0);  // last axis first
  padding.back() = chunk - count;
  return at::constant_pad_nd(here, padding, 0);
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
  const at::Tensor lower = at::ones({chunk, chunk}, q.options()).tril();
  at::Tensor state = first_state(k, v);
  std::vector<at::Tensor> out;
  for (int64_t first = 0; first < q.size(2); first += chunk) {
    const auto here = [&](const at::Tensor& x) { return chunk_of(x, first, chunk); };
    const at::Tensor key = here(k);
    const at::Tensor rate = here(beta).unsqueeze(-1);
    const at::Tensor sums = running_sums(here(decay).unsqueeze(-1)).squeeze(-1);
    const at::Tensor grown = sums.exp().unsqueeze(-1);
    const at::Tensor between =
        (sums.unsqueeze(-1) - sums.unsqueeze(-2))
            .masked_fill(lower.eq(0), -std::numeric_limits<float>::infinity())
            .exp();

    const at::Tensor key_t = key.transpose(-1, -2);
    const at::Tensor system = (key * rate).matmul(key_t) * between;
    const at::Tensor wanted = at::cat({here(v) * rate, key * rate * grown}, -1);
    const at::Tensor solved = at::linalg_solve_triangular(system, wanted, /*upper=*/false,
                                                          /*left=*/true, /*unitriangular=*/true);
    const at::Tensor u = solved.narrow(-1, 0, v.size(-1));
    const at::Tensor w = solved.narrow(-1, v.size(-1), k.size(-1));

    const at::Tensor correction = u - w.matmul(state);
    const at::Tensor inside = here(q).matmul(key_t) * between;
    out.push_back((here(q) * grown).matmul(state) + inside.matmul(correction));
    const at::Tensor last = sums.narrow(-1, chunk - 1, 1);
    const at::Tensor kept = last.exp().unsqueeze(-1);
    const at::Tensor to_state = (key * (last - sums).exp().unsqueeze(-1)).transpose(-1, -2);
    state = kept * state + to_state.matmul(correction);
  }
  return at::cat(out, 2).narrow(2, 0, q.size(2));
}

at::Tensor unit_length(const at::Tensor& x) {
  return x * (x.pow(2).sum(-1, /*keepdim=*/true) + kLengthEps).rsqrt();
}

}  // namespace models
