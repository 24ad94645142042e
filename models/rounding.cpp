#include "models/rounding.h"

#include <ATen/TensorOperators.h>

namespace models {

bool may_be_rounded(Role role) {
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
      return false;
    default:
      return true;
  }
}

int64_t count_different(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor ours = a.to(at::kFloat).view(at::kInt);
  const at::Tensor theirs = b.to(at::kFloat).view(at::kInt);
  return ours.ne(theirs).sum().item().toLong();
}

at::Tensor RoundedWeights::rows(const TensorId& id, int64_t begin, int64_t end) {
  const at::Tensor stored = weights_.rows(id, begin, end);
  const auto type = types_.find(to_string(id));
  return type == types_.end() ? stored : stored.to(type->second);
}

}  // namespace models
