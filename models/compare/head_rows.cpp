#include "models/compare/head_rows.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "bridge/io/base/checked.h"

namespace models {

HeadRows::HeadRows(const cuda::KernelLibrary& kernels, at::Device device, int64_t rows)
    : kernels_(kernels),
      found_(at::empty({rows * static_cast<int64_t>(sizeof(cuda::HeadRow))},
                       at::TensorOptions().dtype(at::kByte).device(device))),
      rows_(rows) {}

void HeadRows::add(const at::Tensor& a, const at::Tensor& b, int64_t first) {
  const at::Tensor ours = a.contiguous();
  const at::Tensor theirs = b.contiguous();
  const cuda::HeadBlock job{ours.const_data_ptr<float>(),
                            theirs.const_data_ptr<float>(),
                            rows_,
                            bridge::checked_cast<int32_t>(ours.size(1), "number of tokens"),
                            bridge::checked_cast<int32_t>(first, "number of a token"),
                            static_cast<cuda::HeadRow*>(found_.mutable_data_ptr())};
  const c10::impl::VirtualGuardImpl guard(found_.device().type());
  kernels_.head(job, found_.device().index(), guard.getStream(found_.device()).native_handle());
}

std::vector<cuda::HeadRow> HeadRows::rows() const {
  const at::Tensor here = found_.to(at::kCPU);
  std::vector<cuda::HeadRow> rows(static_cast<size_t>(rows_));
  std::memcpy(rows.data(), here.const_data_ptr(), here.nbytes());
  return rows;
}

double divergence_of(const cuda::HeadRow& row) {
  if (row.difference.different == 0) return 0;
  const auto log = [](const cuda::PowerSum& sum) { return std::log(sum.sum) + sum.largest; };
  return row.a.weighted / row.a.sum - log(row.a) + log(row.b);
}

bool same_best(const cuda::HeadRow& row) {
  return row.best_a.tokens[0] == row.best_b.tokens[0];
}

bool same_best_five(const cuda::HeadRow& row) {
  return std::is_permutation(std::begin(row.best_a.tokens), std::end(row.best_a.tokens),
                             std::begin(row.best_b.tokens));
}

}  // namespace models
