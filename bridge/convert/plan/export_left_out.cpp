#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/plan/export_planner.h"

namespace bridge {

void ExportPlanner::leave_scales_out(const std::string& name, const mappings::BlockScheme& scheme) {
  if (!scheme.scale_name(name)) return;
  leave_stored_out(name, scheme);
  ++plan_.dequantized;
}

// What a quantized weight is stored in has no place in the output, unless it has its name.
void ExportPlanner::leave_stored_out(const std::string& name, const mappings::BlockScheme& scheme) {
  if (const auto stored = scheme.stored_name(name)) left_out_.insert(*stored);
  for_each_beside(*layout_, scheme, name,
                  [&](const HfTensor& beside) { left_out_.insert(beside.name); });
}

// Reports tensors of the origin that no row and no rule knows, because they would vanish.
void ExportPlanner::check_origin(size_t dialect) {
  if (layout_ == nullptr) return;
  Accounting accounting;
  if (!options_.keep_mtp) {
    for (const std::string& prefix : check_mtp(*layout_, binding_, dialect, false)) {
      for (const HfTensor& tensor : tensors_with_prefix(*layout_, prefix)) {
        left_out_.insert(tensor.name);
      }
    }
  }
  if (options_.text_only) leave_parts_out(dialect);
  if (options_.dtype) leave_renamed_out();
  for (const HfTensor& tensor : layout_->tensors) {
    if (!by_name_.contains(tensor.name) && !left_out_.contains(tensor.name)) {
      accounting.unknown(tensor.name);
    }
  }
  accounting.raise_unless_clean(
      origin_.reference ? printable(origin_.reference->path.string()) : "the sidecar's source",
      "these tensors would be lost; is it the same architecture?");
}

// Leaves out quantized tensors whose values --dtype writes under other names.
void ExportPlanner::leave_renamed_out() {
  for (const HfTensor& tensor : layout_->tensors) {
    const mappings::BlockScheme* scheme = find_scheme(binding_, tensor);
    if (scheme == nullptr || !scheme->quantization->blocks_have_an_axis()) continue;
    const auto scales = scheme->scale_name(tensor.name);
    if (!scales || layout_->find(*scales) == nullptr) continue;
    left_out_.insert(tensor.name);
    leave_scales_out(tensor.name, *scheme);
  }
}

void ExportPlanner::leave_parts_out(size_t dialect) {
  binding_.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor& logical) {
    if (logical.row->part.empty()) return;
    for (const mappings::HfTensorSpec& spec : logical.hf) {
      const HfTensor* tensor = find_stored(*layout_, binding_, spec.name);
      if (tensor == nullptr) continue;
      left_out_.insert(tensor->name);
      const mappings::BlockScheme* scheme = find_scheme(binding_, *tensor);
      if (scheme != nullptr) leave_stored_out(spec.name, *scheme);
    }
  });
}

}  // namespace bridge
