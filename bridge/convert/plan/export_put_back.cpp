#include <fmt/format.h>

#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/part_origin.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/plan/export_planner.h"

namespace bridge {

// Writes what lies beside a quantized weight as the origin holds it: no Megatron tensor says it.
void ExportPlanner::put_back_beside(const HfTensor& before) {
  if (const auto input = held_input(before)) {
    add_as_it_was(before, *input);
  } else {
    accounting_.wrong(before.name, "the sidecar does not hold it");
  }
}

// An input with the bytes that the sidecar, else the reference, holds of a tensor of the origin.
std::optional<int32_t> ExportPlanner::held_input(const HfTensor& before) {
  if (sidecar_has(before) && origin_.sidecar_keeps(before.name)) {
    return keep_of_sidecar(before.name);
  }
  if (origin_.from_reference()) return keep_of_reference(before);
  return std::nullopt;
}

bool ExportPlanner::sidecar_has(const HfTensor& tensor) const {
  const int32_t index = origin_.sidecar_tensor(tensor.name);
  if (index < 0) return false;
  const HfTensor& own = origin_.sidecar->source.tensors[static_cast<size_t>(index)];
  return own.dtype == tensor.dtype && own.shape == tensor.shape;
}

// Brings back a tensor that convert-hf dropped by rule if the origin had it or, without an
// origin, if every published checkpoint has it.
void ExportPlanner::restore(const mappings::DroppedTensor& drop) {
  const HfTensor* before = layout_ == nullptr ? nullptr : layout_->find(drop.name);
  if (before == nullptr && (layout_ != nullptr || !drop.drop->regenerate)) return;
  if (options_.text_only && !drop.drop->part.empty()) {
    left_out_.insert(drop.name);
    return;
  }
  if (const mappings::BlockScheme* scheme = scheme_of_copy(before, drop)) {
    if (!options_.dtype && put_back_quantized(*before, *scheme)) return;
    leave_stored_out(drop.name, *scheme);
  }
  if (!drop.equals.empty()) {
    const auto original = by_name_.find(drop.equals);
    if (original == by_name_.end()) return;
    const auto target = static_cast<size_t>(original->second);
    Transfer copy = plan_.transfers[static_cast<size_t>(transfer_of_[target])];
    add_output(drop.name, copy.to, Shape(plan_.outputs[target].shape), std::move(copy));
    plan_.outputs.back().witnesses_of = plan_.outputs[target].witnesses_of;
    return;
  }
  if (!sidecar_has(*before) || !origin_.sidecar_keeps(drop.name)) {
    left_out_.insert(drop.name);
    plan_.left_out.push_back({printable(drop.name), drop.drop->reason});
    return;
  }
  add_as_it_was(*before, keep_of_sidecar(drop.name));
}

// Returns how the origin quantized a copy that its original is not; nullptr: it did not.
const mappings::BlockScheme* ExportPlanner::scheme_of_copy(
    const HfTensor* before, const mappings::DroppedTensor& drop) const {
  if (before == nullptr || drop.equals.empty()) return nullptr;
  const HfTensor* original = layout_->find(drop.equals);
  return original == nullptr || original->dtype == before->dtype ? nullptr
                                                                 : find_scheme(binding_, *before);
}

// Puts back a quantized tensor with its scales; returns false if their bytes are nowhere.
bool ExportPlanner::put_back_quantized(const HfTensor& before,
                                       const mappings::BlockScheme& scheme) {
  const auto input = held_input(before);
  if (!input) return false;
  add_as_it_was(before, *input);
  for_each_beside(*layout_, scheme, before.name,
                  [&](const HfTensor& beside) { add_as_it_was(beside, *held_input(beside)); });
  return true;
}

// Puts back a tensor that Megatron has no place for, from the sidecar if it kept the bytes, else
// from the reference.
void ExportPlanner::put_back(const HfTensor& before) {
  if (by_name_.contains(before.name)) return;
  const bool in_sidecar = sidecar_has(before) && origin_.sidecar_keeps(before.name);
  std::string why = *binding_.uncounted_mtp();
  if (options_.dtype || plan_.text_form || (!in_sidecar && !origin_.from_reference())) {
    if (options_.dtype) why += ", and --dtype is for what Megatron has";
    left_out_.insert(before.name);
    plan_.left_out.push_back({printable(before.name), std::move(why)});
    return;
  }
  add_as_it_was(before, in_sidecar ? keep_of_sidecar(before.name) : keep_of_reference(before));
  say_put_back(before.name, !in_sidecar, why);
}

void ExportPlanner::say_put_back(const std::string& name, bool of_reference, std::string_view why) {
  plan_.put_back.push_back(
      {printable(name),
       fmt::format("from the {}, as {}", of_reference ? "reference" : "sidecar", why)});
}

// Puts back a part that the checkpoint was made without. Only --dtype changes its bytes.
void ExportPlanner::put_back(const std::string& part) {
  const PartOrigin from = find_part_origin(binding_, origin_, plan_.dialect, part);
  const HfFolder& folder = from.of_reference ? *origin_.reference : origin_.sidecar->source;
  const auto keep = [&](int32_t tensor) {
    return add_input(
        {from.of_reference ? ExportPlan::Input::Of::kReference : ExportPlan::Input::Of::kSidecar,
         {},
         tensor});
  };
  const std::string why = fmt::format("the checkpoint has no tensor of its {}", part);
  for (const PartTensor& tensor : from.tensors) {
    const HfTensor& stored = folder.tensors[static_cast<size_t>(tensor.stored.tensor)];
    TransferInput input = tensor.stored;
    input.tensor = keep(input.tensor);
    say_put_back(tensor.name, from.of_reference, why);
    BlockScales& scales = input.scales;
    if (options_.dtype && !tensor.row->keep &&
        (scales.quantized() || is_plain_float(stored.dtype))) {
      if (scales.quantized()) {
        scales.tensor = keep(scales.tensor);
        leave_scales_out(tensor.name, *find_scheme(binding_, stored));
      }
      add_copy(tensor.name, input, *options_.dtype, tensor.shape);
      continue;
    }
    add_as_it_was(stored, input.tensor);
    if (!scales.quantized()) continue;
    for_each_beside(folder, *find_scheme(binding_, stored), tensor.name,
                    [&](const HfTensor& beside) {
                      const auto index = &beside - folder.tensors.data();
                      add_as_it_was(beside, keep(static_cast<int32_t>(index)));
                    });
  }
  plan_.warnings.push_back(fmt::format("{}; {} tensors are put back from the {}", why,
                                       from.tensors.size(),
                                       from.of_reference ? "reference" : "sidecar"));
}

void ExportPlanner::add_as_it_was(const HfTensor& before, int32_t input) {
  add_copy(before.name, {input, before.dtype, {}}, before.dtype, before.shape);
}

void ExportPlanner::add_copy(const std::string& name, const TransferInput& input, Dtype to,
                             const Shape& shape) {
  Transfer transfer;
  transfer.layout = std::make_shared<OpLayout>(mappings::ops::kCopy, std::vector<Shape>{shape},
                                               mappings::OpNumbers{});
  transfer.inputs = {input};
  transfer.to = to;
  transfer.end = element_count(shape);
  add_output(name, to, shape, std::move(transfer));
  plan_.outputs.back().witnesses_of = -1;
}

}  // namespace bridge
