// check_unique() finds repeated names without holding all of them, because a checkpoint may have
// millions: the first pass keeps only hashes, and a second pass looks at the names whose hashes
// collide.
#include "mappings/binding/binding_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "mappings/op/rows.h"

namespace mappings {

using bridge::bad_input;
using bridge::printable;

namespace {

[[noreturn]] void fail(const LogicalTensor& tensor, const std::string& what) {
  bad_input(fmt::format("{}: {}", printable(tensor.hf[0].name), what));
}

void check_parts(const LogicalTensor& tensor) {
  for (const HfTensorSpec& spec : tensor.hf) {
    if (std::any_of(spec.shape.begin(), spec.shape.end(), [](int64_t dim) { return dim <= 0; })) {
      bad_input(fmt::format("{}: shape {} by config.json", printable(spec.name),
                            bridge::shape_text(spec.shape)));
    }
    bridge::with_context([&] { return printable(spec.name); },
                         [&] { bridge::element_count(spec.shape); });
  }
}

void check_gated(const LogicalTensor& tensor) {
  if (tensor.row->gated && tensor.hf[0].shape[0] != tensor.hf[1].shape[0]) {
    fail(tensor, fmt::format("gated halves of {} and {} rows", tensor.hf[0].shape[0],
                             tensor.hf[1].shape[0]));
  }
}

void settle_split(LogicalTensor& tensor, int64_t rows) {
  const std::vector<std::string>& suffixes = tensor.row->split;
  if (suffixes.empty()) return;
  std::vector<SplitPart>& split = tensor.numbers.split;
  if (!split.empty()) {
    if (const Misfit misfit = split_misfit(split, rows)) fail(tensor, *misfit);
    return;
  }
  const auto parts = std::ssize(suffixes);
  if (rows % parts != 0) {
    fail(tensor, fmt::format("{} rows do not split into {} equal parts", rows, parts));
  }
  for (const std::string& suffix : suffixes) split.push_back({suffix, rows / parts});
}

void check_chunks(const LogicalTensor& tensor, const bridge::Shape& shape) {
  for (size_t axis = 0; axis < tensor.chunks.size(); ++axis) {
    if (tensor.chunks[axis] <= 0 || shape[axis] % tensor.chunks[axis] != 0) {
      fail(tensor, fmt::format("{} on axis {} do not divide into {} chunks", shape[axis], axis,
                               tensor.chunks[axis]));
    }
    // The elements of a chunk must be contiguous.
    if (axis > 0 && tensor.chunks[axis] > 1 && tensor.chunks[axis - 1] != shape[axis - 1]) {
      fail(tensor, fmt::format("chunks of axis {} lie apart unless axis {} is cut into {}", axis,
                               axis - 1, shape[axis - 1]));
    }
  }
}

NameSink hashing_into(std::vector<size_t>& hashes) {
  return [&hashes](const std::string& name) { hashes.push_back(std::hash<std::string>()(name)); };
}

std::set<size_t> repeated(std::vector<size_t> hashes) {
  std::sort(hashes.begin(), hashes.end());
  std::set<size_t> result;
  for (size_t i = 1; i < hashes.size(); ++i) {
    if (hashes[i] == hashes[i - 1]) result.insert(hashes[i]);
  }
  return result;
}

// Looks only at names with one of these hashes.
NameSink refusing_repeated(const std::set<size_t>& hashes, std::string what) {
  return [&hashes, what = std::move(what),
          seen = std::set<std::string>()](const std::string& name) mutable {
    if (hashes.contains(std::hash<std::string>()(name)) && !seen.insert(name).second) {
      bad_input(fmt::format("{} '{}' twice with this config.json", what, printable(name)));
    }
  };
}

}  // namespace

void settle_shapes(LogicalTensor& tensor) {
  check_parts(tensor);
  std::vector<bridge::Shape> parts;
  for (const HfTensorSpec& spec : tensor.hf) parts.push_back(spec.shape);
  const Op& op = *tensor.row->op;
  const Operands operands{parts, tensor.numbers};
  if (const Misfit misfit = op.misfit(operands)) fail(tensor, *misfit);
  check_gated(tensor);
  const bridge::Shape shape = op.megatron_shape(operands);
  settle_split(tensor, shape[0]);
  check_chunks(tensor, shape);
}

void check_unique(std::string_view file, const NameWalk& walk) {
  std::vector<size_t> megatron_hashes;
  std::vector<size_t> hf_hashes;
  walk(hashing_into(megatron_hashes), hashing_into(hf_hashes));
  const std::set<size_t> megatron = repeated(std::move(megatron_hashes));
  const std::set<size_t> hf = repeated(std::move(hf_hashes));
  if (megatron.empty() && hf.empty()) return;
  const NameSink none = [](const std::string&) {};
  walk(refusing_repeated(megatron, fmt::format("{}: Megatron name", file)), none);
  walk(none, refusing_repeated(hf, fmt::format("{}: HF name", file)));
}

}  // namespace mappings
