#include "bridge/convert/algebra/layout_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

// As bytes: a key is made for every tensor of a model, and formatting would be most of its cost.
void append_number(std::string& key, int64_t number) {
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

}  // namespace

void refuse_interleaving(const mappings::Binding& binding, int64_t glu_interleave) {
  const auto& rows = binding.table().rows;
  if (glu_interleave != 0 && std::none_of(rows.begin(), rows.end(), [](const mappings::Row& row) {
        return row.gated && !row.experts.empty();
      })) {
    unsupported(fmt::format("--glu-interleave {}: {} has no expert layers to interleave",
                            glu_interleave, binding.table().architectures.front()));
  }
}

int64_t LayoutCache::groups_of(const mappings::LogicalTensor& tensor) const {
  // Experts stacked in one HF tensor: gate and up are one part, which cannot be interleaved.
  if (glu_interleave_ != 0 && tensor.chunks.size() > 1) {
    unsupported(fmt::format("--glu-interleave {}: {} holds gate and up rows of all experts",
                            glu_interleave_, printable(tensor.hf[0].name)),
                "convert the release's checkpoint, which holds them apart");
  }
  if (glu_interleave_ == 0 || !tensor.row->gated || tensor.expert < 0) return tensor.numbers.groups;
  const int64_t rows = tensor.hf[0].shape.at(0);
  if (rows % glu_interleave_ != 0) {
    usage_error(fmt::format("--glu-interleave {}: experts of {} rows do not divide into it",
                            glu_interleave_, rows),
                "give the value of moe_mlp_glu_interleave_size of the Megatron configuration");
  }
  return rows / glu_interleave_;
}

std::shared_ptr<const OpLayout> LayoutCache::get(const mappings::LogicalTensor& tensor,
                                                 int64_t vocab_rows) {
  const mappings::Op& op = *tensor.row->op;
  mappings::OpNumbers numbers = tensor.numbers;
  numbers.groups = groups_of(tensor);
  if (op.is_vocabulary) numbers.vocab_rows = vocab_rows;
  std::string key(op.name);
  key.push_back('\0');  // no name is the beginning of another
  append_number(key, numbers.vocab_rows);
  for (const mappings::NumberOption& option : mappings::kNumberOptions) {
    append_number(key, numbers.*option.number);
  }
  append_number(key, std::ssize(numbers.split));
  for (const mappings::SplitPart& part : numbers.split) append_number(key, part.rows);
  std::vector<Shape> shapes;
  for (const mappings::HfTensorSpec& spec : tensor.hf) {
    append_number(key, std::ssize(spec.shape));
    for (const int64_t dim : spec.shape) append_number(key, dim);
    shapes.push_back(spec.shape);
  }
  auto& layout = layouts_[key];
  if (!layout) layout = std::make_shared<OpLayout>(op, shapes, numbers);
  return layout;
}

}  // namespace bridge
