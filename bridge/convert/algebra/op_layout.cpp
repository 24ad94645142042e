#include "bridge/convert/algebra/op_layout.h"

#include <algorithm>
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

void OpLayout::place(const mappings::Exchange& layout) {
  outer_ = layout.outer;
  inner_ = layout.inner;
  width_ = elements_ == 0 ? 0 : elements_ / (outer_ * inner_);
  zeros_from_ = elements_;
}

// The input is [outer, inner, width]; the runs make elements [begin, end) of [inner, outer, width].
// Both directions use it.
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
  if (width_ > 0) return exchange(inner_, outer_, begin, end, runs);
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
