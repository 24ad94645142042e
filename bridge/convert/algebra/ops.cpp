#include "bridge/convert/algebra/ops.h"

#include <fmt/format.h>

#include <algorithm>

namespace bridge {
namespace {

Shape trailing(const Shape& shape) {
  return {shape.begin() + 1, shape.end()};
}

}  // namespace

OpLayout::OpLayout(mappings::Op op, const std::vector<Shape>& parts, const OpNumbers& numbers)
    : part_shapes_(parts) {
  using mappings::Op;
  if (parts.empty()) internal_error("an op without parts");
  for (const Shape& part : parts) part_periods_.push_back(element_count(part));
  shape_ = parts[0];
  if (op == Op::kConcat || op == Op::kQkv || op == Op::kGatedQkv) {
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
  lay_out(op, numbers);
  zeros_from_ = checked_mul(period_, repeats_);
  elements_ = zeros_from_;
  if (op == Op::kColumns) {
    const int64_t groups = numbers.groups;
    if (shape_.size() != 2 || groups <= 0 || shape_[1] % groups != 0) {
      bad_input(
          fmt::format("{} cannot be cut into {} blocks of columns", shape_text(shape_), groups));
    }
    lay_out_exchange(shape_[0], groups);
    shape_ = {checked_mul(shape_[0], groups), shape_[1] / groups};
  }
  if (op == Op::kGroup) {
    const int64_t rows = shape_.empty() ? 0 : shape_[0];
    const bool positive = numbers.groups > 0 && numbers.blocks > 0;
    if (!positive || rows % checked_mul(numbers.groups, numbers.blocks) != 0) {
      bad_input(fmt::format("{} rows are not {} equal blocks of {} groups", rows, numbers.blocks,
                            numbers.groups));
    }
    lay_out_exchange(numbers.blocks, numbers.groups);
  }
  if (op == Op::kMinusOne) value_change_ = ValueChange::kMinusOne;
  if (op == Op::kVocab) {
    if (shape_.empty()) bad_input("a vocabulary tensor needs at least one axis");
    shape_[0] = numbers.vocab_rows;
    elements_ = element_count(shape_);
    zeros_from_ = std::min(zeros_from_, elements_);
  }
}

void OpLayout::lay_out(mappings::Op op, const OpNumbers& numbers) {
  using mappings::Op;
  const bool by_query_group = op == Op::kQkv || op == Op::kGatedQkv;
  if (by_query_group || (op == Op::kConcat && numbers.groups > 0)) {
    repeats_ = numbers.groups;
    for (size_t i = 0; i < part_shapes_.size(); ++i) {
      const int64_t rows = part_shapes_[i][0];
      if (repeats_ <= 0 || rows % repeats_ != 0) {
        bad_input(fmt::format("{} rows cannot be split over {} {}", rows, repeats_,
                              by_query_group ? "query groups" : "groups"));
      }
      part_periods_[i] /= repeats_;
    }
  }
  if (op == Op::kUngroup) return ungroup(numbers);
  size_t part = 0;
  if (op == Op::kGatedQkv) {
    const int64_t heads = numbers.heads;
    const int64_t rows = part_shapes_[0][0];
    if (heads <= 0 || heads % repeats_ != 0 || rows % heads != 0 || rows / heads % 2 != 0) {
      bad_input(fmt::format("{} rows are not a query and a gate for each of {} heads in {} groups",
                            rows, heads, repeats_));
    }
    const int64_t in_group = heads / repeats_;
    const int64_t head = part_periods_[0] / in_group;
    add_strand(0, 0, head / 2, in_group, head);
    add_strand(0, head / 2, head / 2, in_group, head);
    part = 1;
  }
  for (; part < part_periods_.size(); ++part) {
    add_strand(part, 0, part_periods_[part], 1, part_periods_[part]);
  }
}

void OpLayout::ungroup(const OpNumbers& numbers) {
  const int64_t groups = numbers.groups;
  const int64_t rows = shape_.empty() ? 0 : shape_[0];
  const auto wrong = [&] {
    bad_input(fmt::format("{} rows are not {} groups of the same parts", rows, groups));
  };
  if (groups <= 0 || rows <= 0 || rows % groups != 0) wrong();
  const int64_t width = part_periods_[0] / rows;
  int64_t taken = 0;  // rows of a group
  for (const int64_t part_rows : numbers.split_rows) {
    if (part_rows <= 0 || part_rows % groups != 0 || part_rows / groups > rows / groups - taken) {
      wrong();
    }
    add_strand(0, taken * width, part_rows / groups * width, groups, rows / groups * width);
    taken += part_rows / groups;
  }
  if (taken != rows / groups) wrong();
}

void OpLayout::add_strand(size_t part, int64_t from, int64_t length, int64_t count,
                          int64_t stride) {
  strands_.push_back({part, from, length, count, stride, period_});
  period_ = checked_add(period_, checked_mul(length, count));
}

void OpLayout::lay_out_exchange(int64_t outer, int64_t inner) {
  outer_ = outer;
  inner_ = inner;
  width_ = outer * inner > 0 ? elements_ / (outer * inner) : 0;
}

// Elements as [outer, inner, width]; those of [inner, outer, width] in order: both directions.
void OpLayout::exchange(int64_t outer, int64_t inner, int64_t begin, int64_t end,
                        std::vector<Run>& runs) const {
  for (int64_t position = begin; position < end;) {
    const int64_t block = position / width_;
    const int64_t within = position % width_;
    const int64_t length = std::min(width_ - within, end - position);
    runs.push_back({0, (block % outer * inner + block / outer) * width_ + within, length});
    position += length;
  }
}

void OpLayout::forward(int64_t begin, int64_t end, std::vector<Run>& runs) const {
  if (width_ > 0) return exchange(outer_, inner_, begin, end, runs);
  int64_t position = begin;
  while (position < std::min(end, zeros_from_)) {
    const int64_t repeat = position / period_;
    int64_t within = position % period_;
    auto strand = strands_.begin();
    while (within - strand->begin >= strand->length * strand->count) ++strand;
    within -= strand->begin;
    const int64_t in_block = within % strand->length;
    const int64_t length =
        std::min({strand->length - in_block, end - position, zeros_from_ - position});
    runs.push_back({static_cast<int>(strand->part),
                    repeat * part_periods_[strand->part] + strand->from +
                        within / strand->length * strand->stride + in_block,
                    length});
    position += length;
  }
  if (position < end) runs.push_back({Run::kZeros, 0, end - position});
}

void OpLayout::inverse(int part, int64_t begin, int64_t end, std::vector<Run>& runs) const {
  if (width_ > 0) return exchange(inner_, outer_, begin, end, runs);
  const auto index = static_cast<size_t>(part);
  for (int64_t position = begin; position < end;) {
    const int64_t repeat = position / part_periods_[index];
    const int64_t within = position % part_periods_[index];
    const auto in_block = [&](const Strand& strand) {
      return within % strand.stride - strand.from;
    };
    const auto strand =
        std::find_if(strands_.begin(), strands_.end(), [&](const Strand& candidate) {
          return candidate.part == index && in_block(candidate) >= 0 &&
                 in_block(candidate) < candidate.length;
        });
    const int64_t length = std::min(strand->length - in_block(*strand), end - position);
    runs.push_back({0,
                    repeat * period_ + strand->begin + within / strand->stride * strand->length +
                        in_block(*strand),
                    length});
    position += length;
  }
}

}  // namespace bridge
