#include "bridge/convert/algebra/op_layout.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "bridge/io/base/error.h"

namespace bridge {

OpLayout::OpLayout(const mappings::Op& op, const std::vector<Shape>& parts,
                   const mappings::OpNumbers& numbers)
    : value_change_(op.values), part_shapes_(parts) {
  if (parts.empty()) internal_error("an op without parts");
  for (size_t i = 0; i < parts.size(); ++i) sources_.push_back({{i, 0, element_count(parts[i])}});
  const mappings::Operands operands{part_shapes_, numbers};
  if (const mappings::Misfit misfit = op.misfit(operands)) bad_input(*misfit);
  shape_ = op.megatron_shape(operands);
  elements_ = element_count(shape_);
  std::visit([&](const auto& layout) { place(layout); }, op.layout(operands));
}

void OpLayout::place(const mappings::Strands& layout) {
  if (!layout.ranges.empty()) sources_.clear();
  for (const mappings::Range& range : layout.ranges) sources_.push_back({range});
  for (Source& source : sources_) source.period = source.length / layout.repeats;
  for (const mappings::Strand& strand : layout.strands) {
    strands_.push_back({{strand}, period_});
    period_ = checked_add(period_, checked_mul(strand.length, strand.count));
  }
  zeros_from_ = std::min(elements_, checked_mul(period_, layout.repeats));
}

void OpLayout::place(const mappings::Permutation& layout) {
  zeros_from_ = elements_;
  if (elements_ == 0) return;
  width_ = elements_;
  for (const int64_t size : layout.axes) width_ /= size;
  const size_t count = layout.axes.size();
  part_axes_.resize(count);
  megatron_axes_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    part_axes_[i].size = layout.axes[i];
    megatron_axes_[i].size = layout.axes[layout.order[i]];
  }
  int64_t distance = width_;
  for (size_t i = count; i-- > 0; distance *= megatron_axes_[i].size) {
    part_axes_[layout.order[i]].distance = distance;
  }
  distance = width_;
  std::vector<int64_t> in_part(count);
  for (size_t i = count; i-- > 0; distance *= part_axes_[i].size) in_part[i] = distance;
  for (size_t i = 0; i < count; ++i) megatron_axes_[i].distance = in_part[layout.order[i]];
}

// Appends the runs that make elements [begin, end) of a side whose axes these are.
void OpLayout::permuted(const std::vector<Axis>& axes, int64_t begin, int64_t end,
                        std::vector<Run>& runs) const {
  for (int64_t position = begin; position < end;) {
    const int64_t within = position % width_;
    int64_t from = within;
    int64_t rest = position / width_;
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
      from += rest % axis->size * axis->distance;
      rest /= axis->size;
    }
    const int64_t length = std::min(width_ - within, end - position);
    runs.push_back({0, from, length});
    position += length;
  }
}

// axes: of the side that the box is a stretch of.
Box OpLayout::box(const std::vector<Axis>& axes, int64_t begin, int64_t most) {
  // The outermost axis on which the box may have more than one index: all within it begins anew at
  // `begin`, and fits.
  std::vector<int64_t> distances(axes.size());
  int64_t within = 1;
  size_t cut = axes.size() - 1;
  for (size_t i = axes.size(); i-- > 0; within *= axes[i].size) {
    distances[i] = within;
    if (begin % within == 0 && within <= most) cut = i;
  }
  Box result;
  std::vector<std::pair<int64_t, BoxAxis>> by_distance;  // in the input
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t index = begin / distances[i] % axes[i].size;
    BoxAxis axis{axes[i].size, index, 1, distances[i]};
    if (i == cut) {
      axis.count = std::min(axis.size - index, most / distances[i]);
      result.length = axis.count * distances[i];
    } else if (i > cut) {
      axis.count = axis.size;
    }
    if (axis.size > 1) by_distance.emplace_back(axes[i].distance, axis);
  }
  std::sort(by_distance.begin(), by_distance.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [distance, axis] : by_distance) result.axes.push_back(axis);
  return result;
}

Box OpLayout::forward_box(int64_t begin, int64_t end, int64_t most) const {
  return box(megatron_axes_, begin, std::min(most, end - begin));
}

Box OpLayout::inverse_box(int64_t begin, int64_t end, int64_t most) const {
  return box(part_axes_, begin, std::min(most, end - begin));
}

void OpLayout::forward(int64_t begin, int64_t end, std::vector<Run>& runs) const {
  if (width_ > 0) return permuted(megatron_axes_, begin, end, runs);
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
    const Source& source = sources_[strand->part];
    runs.push_back({static_cast<int>(source.part),
                    source.begin + repeat * source.period + strand->from +
                        within / strand->length * strand->stride + in_block,
                    length});
    position += length;
  }
  if (position < end) runs.push_back({Run::kZeros, 0, end - position});
}

void OpLayout::inverse(int part, int64_t begin, int64_t end, std::vector<Run>& runs) const {
  if (width_ > 0) return permuted(part_axes_, begin, end, runs);
  for (int64_t position = begin; position < end;) {
    const auto source =
        std::find_if(sources_.begin(), sources_.end(), [&](const Source& candidate) {
          return candidate.part == static_cast<size_t>(part) && position >= candidate.begin &&
                 position - candidate.begin < candidate.length;
        });
    const auto index = static_cast<size_t>(source - sources_.begin());
    const int64_t repeat = (position - source->begin) / source->period;
    const int64_t within = (position - source->begin) % source->period;
    const auto in_block = [&](const PlacedStrand& strand) {
      return within % strand.stride - strand.from;
    };
    const auto strand =
        std::find_if(strands_.begin(), strands_.end(), [&](const PlacedStrand& candidate) {
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
