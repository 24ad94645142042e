#include "models/compare/rounding.h"

#include <ATen/TensorOperators.h>

#include <algorithm>

namespace models {
namespace {

bool is_kept_in_fp32(Role role) {
  switch (role) {
    case Role::kRouterBias:
    case Role::kRouterTable:
    case Role::kSink:
    case Role::kSummaryPlace:
    case Role::kIndexPlace:
    case Role::kAttentionMapping:
    case Role::kAttentionMappingBase:
    case Role::kAttentionMappingScale:
    case Role::kMlpMapping:
    case Role::kMlpMappingBase:
    case Role::kMlpMappingScale:
    case Role::kHeadMapping:
    case Role::kHeadMappingBase:
    case Role::kHeadMappingScale:
      return true;
    default:
      return false;
  }
}

}  // namespace

at::Tensor Rounding::operator()(const at::Tensor& x) const {
  return around_zero ? (x.to(at::kFloat) - 1).to(type).to(at::kFloat) + 1 : x.to(type);
}

std::vector<Rounding> roundings(Role role, at::ScalarType from, at::ScalarType to,
                                const RoundedTypes& types) {
  std::vector<Rounding> found;
  const bool asked_for = std::find(types.begin(), types.end(), to) != types.end();
  if (from != to && asked_for && !is_kept_in_fp32(role)) found.push_back({to, false});
  if (role == Role::kHeadNorm) {
    for (const at::ScalarType type : kAnyRoundedType) {
      found.push_back({type, true});
    }
  }
  return found;
}

at::Tensor RoundedWeights::rows(const TensorId& id, int64_t begin, int64_t end) {
  if (roundings_.empty()) return weights_.rows(id, begin, end);
  const auto found = roundings_.find(to_string(id));
  if (found == roundings_.end()) return weights_.rows(id, begin, end);
  const Rounding& rounding = found->second;
  return rounding(rounding.of_exact ? weights_.exact_rows(id, begin, end)
                                    : weights_.rows(id, begin, end));
}

std::optional<QuantizedRows> RoundedWeights::quantized_rows(const TensorId& id, int64_t begin,
                                                            int64_t end) {
  if (roundings_.contains(to_string(id))) return std::nullopt;
  return weights_.quantized_rows(id, begin, end);
}

}  // namespace models
