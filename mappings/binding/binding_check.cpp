// Shape rules of the ops, and uniqueness of names without holding them: a checkpoint may have
// millions, so the first pass keeps hashes only, and a second one looks at the names whose hashes
// met.
#include "mappings/binding/binding_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"

namespace mappings {

using bridge::bad_input;
using bridge::printable;

namespace {

[[noreturn]] void fail(const LogicalTensor& tensor, const std::string& what) {
  bad_input(fmt::format("{}: {}", printable(tensor.hf[0].name), what));
}

void check_parts(const LogicalTensor& tensor) {
  const bridge::Shape& first = tensor.hf[0].shape;
  for (const HfTensorSpec& spec : tensor.hf) {
    if (std::any_of(spec.shape.begin(), spec.shape.end(), [](int64_t dim) { return dim <= 0; })) {
      bad_input(fmt::format("{}: shape {} by config.json", printable(spec.name),
                            bridge::shape_text(spec.shape)));
    }
    bridge::with_context([&] { return printable(spec.name); },
                         [&] { bridge::element_count(spec.shape); });
    if (!std::equal(spec.shape.begin() + 1, spec.shape.end(), first.begin() + 1, first.end())) {
      fail(tensor, fmt::format("{} and {} cannot be joined by rows", bridge::shape_text(first),
                               bridge::shape_text(spec.shape)));
    }
  }
  if (tensor.row->gated && tensor.hf[0].shape[0] != tensor.hf[1].shape[0]) {
    fail(tensor, fmt::format("gated halves of {} and {} rows", tensor.hf[0].shape[0],
                             tensor.hf[1].shape[0]));
  }
}

void check_query_groups(const LogicalTensor& tensor) {
  if (tensor.groups <= 0) fail(tensor, fmt::format("{} query groups", tensor.groups));
  for (const HfTensorSpec& spec : tensor.hf) {
    if (spec.shape[0] % tensor.groups != 0) {
      fail(tensor,
           fmt::format("{} rows do not divide into {} query groups", spec.shape[0], tensor.groups));
    }
  }
}

// A head of q is as many query rows as gate rows; a key is as wide as a query.
void check_gated_heads(const LogicalTensor& tensor) {
  if (tensor.heads <= 0 || tensor.heads % tensor.groups != 0) {
    fail(tensor,
         fmt::format("{} heads do not divide into {} query groups", tensor.heads, tensor.groups));
  }
  const int64_t rows = tensor.hf[0].shape[0];
  const int64_t halves = bridge::checked_mul(tensor.heads, 2, "heads");
  if (rows % halves != 0) {
    fail(tensor, fmt::format("{} rows are not a query and a gate for each of {} heads", rows,
                             tensor.heads));
  }
  const int64_t head_dim = rows / halves;
  if (tensor.hf[1].shape[0] != head_dim * tensor.groups) {
    fail(tensor,
         fmt::format("heads of {} rows in {} query groups need a key of {} rows, not {}", head_dim,
                     tensor.groups, head_dim * tensor.groups, tensor.hf[1].shape[0]));
  }
}

void check_blocks(const LogicalTensor& tensor) {
  const int64_t rows = tensor.hf[0].shape[0];
  const bool positive = tensor.groups > 0 && tensor.blocks > 0;
  if (!positive || rows % bridge::checked_mul(tensor.groups, tensor.blocks, "groups") != 0) {
    fail(tensor, fmt::format("{} rows do not divide into {} blocks of {} groups", rows,
                             tensor.blocks, tensor.groups));
  }
}

void check_split_rows(const LogicalTensor& tensor, int64_t rows) {
  const auto parts = std::ssize(tensor.row->split);
  if (tensor.split_rows.empty()) {
    if (rows % parts != 0) {
      fail(tensor, fmt::format("{} rows do not split into {} equal parts", rows, parts));
    }
    return;
  }
  int64_t sum = 0;
  for (size_t i = 0; i < tensor.split_rows.size(); ++i) {
    const int64_t part = tensor.split_rows[i];
    const std::string suffix = printable(tensor.row->split[i]);
    if (part <= 0) fail(tensor, fmt::format("{} rows of '{}' in 'split'", part, suffix));
    if (tensor.row->op == Op::kUngroup && part % tensor.groups != 0) {
      fail(tensor, fmt::format("{} rows of '{}' do not divide into {} groups", part, suffix,
                               tensor.groups));
    }
    sum = bridge::checked_add(sum, part, "rows of 'split'");
  }
  if (sum != rows) {
    fail(tensor, fmt::format("the parts of 'split' have {} rows, the tensor {}", sum, rows));
  }
}

void check_chunks(const LogicalTensor& tensor, const bridge::Shape& shape) {
  for (size_t axis = 0; axis < tensor.chunks.size(); ++axis) {
    if (tensor.chunks[axis] <= 0 || shape[axis] % tensor.chunks[axis] != 0) {
      fail(tensor, fmt::format("{} on axis {} do not divide into {} chunks", shape[axis], axis,
                               tensor.chunks[axis]));
    }
    // A chunk is one stretch of elements.
    if (axis > 0 && tensor.chunks[axis] > 1 && tensor.chunks[axis - 1] != shape[axis - 1]) {
      fail(tensor, fmt::format("chunks of axis {} lie apart unless axis {} is cut into {}", axis,
                               axis - 1, shape[axis - 1]));
    }
  }
}

}  // namespace

bridge::Shape megatron_shape(const LogicalTensor& tensor) {
  bridge::Shape shape = tensor.hf[0].shape;
  for (size_t i = 1; i < tensor.hf.size(); ++i) {
    shape[0] = bridge::checked_add(shape[0], tensor.hf[i].shape[0], "rows");
  }
  if (tensor.row->op == Op::kColumns) {
    shape[0] = bridge::checked_mul(shape[0], tensor.groups, "rows");
    shape[1] /= tensor.groups;
  }
  return shape;
}

void check_shapes(const LogicalTensor& tensor) {
  const Op op = tensor.row->op;
  check_parts(tensor);
  const bridge::Shape& first = tensor.hf[0].shape;
  if (op == Op::kColumns && (tensor.groups <= 0 || first[1] % tensor.groups != 0)) {
    fail(tensor, fmt::format("{} columns do not divide into {} blocks", first[1], tensor.groups));
  }
  if (op == Op::kQkv || op == Op::kGatedQkv) check_query_groups(tensor);
  if (op == Op::kGatedQkv) check_gated_heads(tensor);
  if (op == Op::kUngroup && tensor.groups <= 0)
    fail(tensor, fmt::format("{} groups", tensor.groups));
  if (op == Op::kGroup) check_blocks(tensor);
  const bridge::Shape shape = megatron_shape(tensor);
  if (!tensor.row->split.empty()) check_split_rows(tensor, shape[0]);
  check_chunks(tensor, shape);
}

void check_unique(std::string_view what,
                  const std::function<void(const NameSink&)>& for_each_name) {
  const std::hash<std::string> hash_of;
  std::vector<size_t> hashes;
  for_each_name([&](const std::string& name) { hashes.push_back(hash_of(name)); });
  std::sort(hashes.begin(), hashes.end());
  std::set<size_t> repeated;
  for (size_t i = 1; i < hashes.size(); ++i) {
    if (hashes[i] == hashes[i - 1]) repeated.insert(hashes[i]);
  }
  if (repeated.empty()) return;
  std::set<std::string> seen;
  for_each_name([&](const std::string& name) {
    if (repeated.contains(hash_of(name)) && !seen.insert(name).second) {
      bad_input(fmt::format("{} '{}' twice with this config.json", what, printable(name)));
    }
  });
}

}  // namespace mappings
