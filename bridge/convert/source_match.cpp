#include "bridge/convert/source_match.h"

#include <fmt/format.h>

#include <algorithm>

namespace bridge {
namespace {

class Matcher {
 public:
  Matcher(const HfFolder& folder, Accounting& accounting)
      : folder_(folder), accounting_(accounting), used_(folder.tensors.size(), false) {}

  std::optional<MatchedTensor> match(const mappings::LogicalTensor& logical) {
    MatchedTensor matched{logical, {}, Dtype::kBF16};
    bool fits = true;
    for (const mappings::HfTensorSpec& spec : logical.hf) {
      const HfTensor* tensor = folder_.find(spec.name);
      if (tensor == nullptr) {
        accounting_.missing(spec.name);
        fits = false;
        continue;
      }
      const auto index = static_cast<size_t>(tensor - folder_.tensors.data());
      used_[index] = true;
      matched.parts.push_back(static_cast<int32_t>(index));
      fits = check(*tensor, spec, *logical.row) && fits;
      const HfTensor& first = folder_.tensors[static_cast<size_t>(matched.parts[0])];
      if (tensor->dtype != first.dtype) {
        accounting_.wrong(
            spec.name, fmt::format("{} where {} is {}", safetensors_name(tensor->dtype), first.name,
                                   safetensors_name(first.dtype)));
        fits = false;
      }
      matched.dtype = first.dtype;
    }
    if (!fits) return std::nullopt;
    return matched;
  }

  void drop(const mappings::DroppedTensor& dropped, SourceMatch& result) {
    const HfTensor* tensor = folder_.find(dropped.name);
    if (tensor == nullptr) return;
    const auto index = tensor - folder_.tensors.data();
    used_[static_cast<size_t>(index)] = true;
    DroppedSource source{static_cast<int32_t>(index), -1, dropped.drop->reason};
    if (!dropped.equals.empty()) {
      const HfTensor* original = folder_.find(dropped.equals);
      if (original == nullptr) return;  // reported as missing by its own row
      if (original->dtype != tensor->dtype || original->shape != tensor->shape) {
        accounting_.wrong(
            dropped.name,
            fmt::format("{} {} where its original {} is {} {}", safetensors_name(tensor->dtype),
                        shape_text(tensor->shape), dropped.equals,
                        safetensors_name(original->dtype), shape_text(original->shape)));
        return;
      }
      source.equals = static_cast<int32_t>(original - folder_.tensors.data());
    }
    result.dropped.push_back(std::move(source));
  }

  void report_unused() {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (!used_[i]) accounting_.unknown(folder_.tensors[i].name);
    }
  }

 private:
  bool check(const HfTensor& tensor, const mappings::HfTensorSpec& spec, const mappings::Row& row) {
    if (tensor.shape != spec.shape) {
      accounting_.wrong(spec.name, fmt::format("shape {}, the configuration says {}",
                                               shape_text(tensor.shape), shape_text(spec.shape)));
      return false;
    }
    if (std::find(row.dtypes.begin(), row.dtypes.end(), tensor.dtype) == row.dtypes.end()) {
      accounting_.wrong(spec.name, fmt::format("dtype {} is not one the table allows here",
                                               safetensors_name(tensor.dtype)));
      return false;
    }
    if (tensor.begin == tensor.end) {
      accounting_.wrong(spec.name, "no elements");
      return false;
    }
    return true;
  }

  const HfFolder& folder_;
  Accounting& accounting_;
  std::vector<bool> used_;
};

}  // namespace

SourceMatch match_source(const HfFolder& folder, const mappings::Binding& binding, bool local_spec,
                         Accounting& accounting,
                         const std::function<void(const MatchedTensor&)>& fn) {
  SourceMatch result;
  result.dialect =
      binding.choose_dialect([&](std::string_view name) { return folder.find(name) != nullptr; });
  Matcher matcher(folder, accounting);
  binding.for_each_tensor(result.dialect, local_spec, [&](const mappings::LogicalTensor& logical) {
    if (const auto matched = matcher.match(logical)) fn(*matched);
  });
  binding.for_each_drop(result.dialect, [&](const mappings::DroppedTensor& dropped) {
    matcher.drop(dropped, result);
  });
  matcher.report_unused();
  return result;
}

void refuse_interleaving(const mappings::Binding& binding, int64_t glu_interleave) {
  if (glu_interleave != 0) {
    unsupported(fmt::format("--glu-interleave {}: {} has no expert layers to interleave",
                            glu_interleave, binding.table().architectures.front()));
  }
}

std::shared_ptr<const OpLayout> LayoutCache::get(const mappings::LogicalTensor& tensor,
                                                 int64_t vocab_rows) {
  const mappings::Op op = tensor.row->op;
  if (op != mappings::Op::kVocab) vocab_rows = 0;
  std::string key = fmt::format("{} {} {}", mappings::op_name(op), tensor.groups, vocab_rows);
  std::vector<Shape> shapes;
  for (const mappings::HfTensorSpec& spec : tensor.hf) {
    key += shape_text(spec.shape);
    shapes.push_back(spec.shape);
  }
  auto& layout = layouts_[key];
  if (!layout) layout = std::make_shared<OpLayout>(op, shapes, tensor.groups, vocab_rows);
  return layout;
}

}  // namespace bridge
