#include "bridge/convert/ops.h"

#include <fmt/format.h>

#include <algorithm>

namespace bridge {
namespace {

Shape trailing(const Shape& shape) {
  return {shape.begin() + 1, shape.end()};
}

}  // namespace

OpLayout::OpLayout(mappings::Op op, const std::vector<Shape>& parts, int64_t groups,
                   int64_t vocab_rows)
    : part_shapes_(parts) {
  using mappings::Op;
  if (parts.empty()) internal_error("an op without parts");
  for (const Shape& part : parts) blocks_.push_back(element_count(part));
  shape_ = parts[0];

  if (op == Op::kConcat || op == Op::kQkv) {
    int64_t rows = 0;
    for (const Shape& part : parts) {
      if (part.empty() || trailing(part) != trailing(parts[0])) {
        bad_input(fmt::format("parts of shape {} and {} cannot be joined on axis 0",
                              shape_text(parts[0]), shape_text(part)));
      }
      rows = checked_add(rows, part[0]);
    }
    shape_[0] = rows;
  }
  if (op == Op::kQkv || (op == Op::kConcat && groups > 0)) {
    repeats_ = groups;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (groups <= 0 || parts[i][0] % groups != 0) {
        bad_input(fmt::format("{} rows cannot be split over {} {}", parts[i][0], groups,
                              op == Op::kQkv ? "query groups" : "groups"));
      }
      blocks_[i] /= groups;
    }
  }
  if (op == Op::kColumns) {
    if (shape_.size() != 2 || groups <= 0 || shape_[1] % groups != 0) {
      bad_input(
          fmt::format("{} cannot be cut into {} blocks of columns", shape_text(shape_), groups));
    }
    row_ = shape_[1];
    shape_ = {checked_mul(shape_[0], groups), shape_[1] / groups};
  }
  for (const int64_t block : blocks_) period_ = checked_add(period_, block);
  zeros_from_ = checked_mul(period_, repeats_);
  elements_ = zeros_from_;
  if (op == Op::kVocab) {
    if (shape_.empty()) bad_input("a vocabulary tensor needs at least one axis");
    shape_[0] = vocab_rows;
    elements_ = element_count(shape_);
    zeros_from_ = std::min(zeros_from_, elements_);
  }
}

// Elements as [outer, inner, c]; those of [inner, outer, c] in order: both directions of op columns.
void OpLayout::exchange(int64_t outer, int64_t inner, int64_t begin, int64_t end,
                        std::vector<Run>& runs) const {
  const int64_t width = shape_[1];
  for (int64_t position = begin; position < end;) {
    const int64_t block = position / width;
    const int64_t within = position % width;
    const int64_t length = std::min(width - within, end - position);
    runs.push_back({0, (block % outer * inner + block / outer) * width + within, length});
    position += length;
  }
}

void OpLayout::forward(int64_t begin, int64_t end, std::vector<Run>& runs) const {
  if (row_ > 0) {
    const int64_t groups = row_ / shape_[1];
    exchange(shape_[0] / groups, groups, begin, end, runs);
    return;
  }
  int64_t position = begin;
  while (position < std::min(end, zeros_from_)) {
    const int64_t repeat = position / period_;
    int64_t within = position % period_;
    size_t part = 0;
    while (within >= blocks_[part]) within -= blocks_[part++];
    const int64_t length =
        std::min({blocks_[part] - within, end - position, zeros_from_ - position});
    runs.push_back({static_cast<int>(part), repeat * blocks_[part] + within, length});
    position += length;
  }
  if (position < end) runs.push_back({Run::kZeros, 0, end - position});
}

void OpLayout::inverse(int part, int64_t begin, int64_t end, std::vector<Run>& runs) const {
  if (row_ > 0) {
    const int64_t groups = row_ / shape_[1];
    exchange(groups, shape_[0] / groups, begin, end, runs);
    return;
  }
  const auto index = static_cast<size_t>(part);
  const int64_t block = blocks_[index];
  int64_t before = 0;
  for (size_t i = 0; i < index; ++i) before += blocks_[i];
  for (int64_t position = begin; position < end;) {
    const int64_t repeat = position / block;
    const int64_t within = position % block;
    const int64_t length = std::min(block - within, end - position);
    runs.push_back({0, repeat * period_ + before + within, length});
    position += length;
  }
}

}  // namespace bridge
