// Shape rules of the ops, and uniqueness of names without holding them: a checkpoint may have
// millions, so the first pass keeps hashes only, and a second one looks at the names whose hashes
// met.
#include "mappings/binding_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bridge/io/checked.h"
#include "bridge/io/error.h"

namespace mappings {

using bridge::bad_input;
using bridge::printable;

void check_shapes(const LogicalTensor& tensor) {
  const auto fail = [&](const std::string& what) {
    bad_input(fmt::format("{}: {}", printable(tensor.hf[0].name), what));
  };
  const bridge::Shape& first = tensor.hf[0].shape;
  for (const HfTensorSpec& spec : tensor.hf) {
    if (std::any_of(spec.shape.begin(), spec.shape.end(), [](int64_t dim) { return dim <= 0; })) {
      bad_input(fmt::format("{}: shape {} by config.json", printable(spec.name),
                            bridge::shape_text(spec.shape)));
    }
    bridge::with_context([&] { return printable(spec.name); },
                         [&] { bridge::element_count(spec.shape); });
    if (!std::equal(spec.shape.begin() + 1, spec.shape.end(), first.begin() + 1, first.end())) {
      fail(fmt::format("{} and {} cannot be joined by rows", bridge::shape_text(first),
                       bridge::shape_text(spec.shape)));
    }
  }
  if (tensor.row->gated && tensor.hf[0].shape[0] != tensor.hf[1].shape[0]) {
    fail(fmt::format("gated halves of {} and {} rows", tensor.hf[0].shape[0],
                     tensor.hf[1].shape[0]));
  }
  if (!tensor.row->split.empty()) {
    int64_t rows = 0;
    for (const HfTensorSpec& spec : tensor.hf) rows = bridge::checked_add(rows, spec.shape[0]);
    const auto parts = static_cast<int64_t>(tensor.row->split.size());
    if (rows % parts != 0) {
      fail(fmt::format("{} rows do not split into {} equal parts", rows, parts));
    }
  }
  if (tensor.row->op == Op::kColumns && (tensor.groups <= 0 || first[1] % tensor.groups != 0)) {
    fail(fmt::format("{} columns do not divide into {} blocks", first[1], tensor.groups));
  }
  for (size_t axis = 0; axis < tensor.chunks.size(); ++axis) {
    // Those of the Megatron side: what chunks are for has it equal to the HF side's.
    if (tensor.chunks[axis] <= 0 || first[axis] % tensor.chunks[axis] != 0) {
      fail(fmt::format("{} on axis {} do not divide into {} chunks", first[axis], axis,
                       tensor.chunks[axis]));
    }
    // A chunk is one stretch of elements.
    if (axis > 0 && tensor.chunks[axis] > 1 && tensor.chunks[axis - 1] != first[axis - 1]) {
      fail(fmt::format("chunks of axis {} lie apart unless axis {} is cut into {}", axis, axis - 1,
                       first[axis - 1]));
    }
  }
  if (tensor.row->op != Op::kQkv) return;
  if (tensor.groups <= 0) fail(fmt::format("{} query groups", tensor.groups));
  for (const HfTensorSpec& spec : tensor.hf) {
    if (spec.shape[0] % tensor.groups != 0) {
      fail(fmt::format("{} rows do not divide into {} query groups", spec.shape[0], tensor.groups));
    }
  }
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
