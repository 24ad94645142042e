#include "bridge/convert/plan/export_plan.h"

#include <fmt/format.h>

#include "bridge/convert/algebra/layout_cache.h"
#include "bridge/convert/match/derived_config.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/part_origin.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/plan/export_planner.h"
#include "bridge/convert/plan/export_shards.h"
#include "bridge/io/base/heap_cost.h"

namespace bridge {

ExportPlan ExportPlanner::make(FileSystem& fs) {
  refuse_missing_scales();
  const size_t dialect = layout_ != nullptr  ? dialect_of(*layout_, binding_)
                         : origin_.is_none() ? derived_dialect(binding_)
                                             : 0;
  plan_.dialect = dialect;
  plan_.text_form = options_.text_only && binding_.has_parts();
  if (plan_.text_form) read_text_names();
  CheckpointMatchOptions match;
  match.dialect = dialect;
  match.local_spec = options_.spec == Spec::kLocal;
  match.hf_vocab_rows = options_.vocab_rows;
  match.layer_keys = options_.layer_keys;
  match.name_prefix = options_.name_prefix;
  match.keep_mtp = options_.keep_mtp;
  match.text_only = options_.text_only;
  match.no_parts = origin_.is_none();
  match.glu_interleave = glu_interleave();
  if (!options_.text_only) match.absent = absent_parts(checkpoint_, binding_, match);
  plan_.match = match_checkpoint(checkpoint_, binding_, match, accounting_,
                                 [&](const CheckpointTensor& tensor) { add(tensor); });
  accounting_.raise_unless_clean(
      printable(checkpoint_.dist_dir.string()),
      fmt::format(
          "is the configuration the one of this checkpoint? table {} describes what is expected",
          binding_.table().file));
  for (const std::string& part : match.absent) put_back(part);
  binding_.for_each_drop(dialect, [&](const mappings::DroppedTensor& drop) { restore(drop); });
  if (layout_ != nullptr) {
    for (const HfTensor* tensor : uncounted_mtp(*layout_, binding_, dialect)) put_back(*tensor);
  }
  check_origin(dialect);
  for (std::string& text : binding_.warnings()) plan_.warnings.push_back(std::move(text));
  // The text form has shards of its own: it is another model than the origin.
  plan_shards(plan_, plan_.text_form ? nullptr : layout_, origin_, options_.max_shard_size, fs,
              budget_);
  return std::move(plan_);
}

// Reads the names of the text form, by the names that the origin has or would have.
void ExportPlanner::read_text_names() {
  binding_.for_each_text_name(plan_.dialect, [&](std::string name, std::string in_text_form) {
    budget_.reserve(heap_cost(name.size()) + heap_cost(in_text_form.size()) +
                        tree_cost<std::pair<std::string, std::string>>() +
                        tree_cost<std::string_view>(),
                    "the plan");
    text_names_.emplace(std::move(name), std::move(in_text_form));
  });
  std::set<std::string_view> seen;
  for (const auto& [name, in_text_form] : text_names_) {
    if (seen.insert(in_text_form).second) continue;
    bad_input(fmt::format("{}: text_form: two tensors are called '{}'",
                          printable(binding_.table().file), printable(in_text_form)));
  }
}

const std::string& ExportPlanner::spelled(const std::string& name) const {
  return plan_.text_form ? text_names_.at(name) : name;
}

void ExportPlanner::add(const CheckpointTensor& tensor) {
  const int32_t index = add_input({ExportPlan::Input::Of::kCheckpoint, tensor.found.stretches, -1});
  for (size_t part = 0; part < tensor.logical.hf.size(); ++part) {
    const mappings::HfTensorSpec& spec = tensor.logical.hf[part];
    Transfer transfer;
    transfer.layout = tensor.layout;
    transfer.inputs = {{index, tensor.found.dtype, {}}};
    transfer.part = static_cast<int>(part);
    transfer.end = element_count(spec.shape);
    const HfTensor* before =
        layout_ == nullptr ? nullptr : find_stored(*layout_, binding_, spec.name);
    const mappings::BlockScheme* scheme =
        before == nullptr ? nullptr : find_scheme(binding_, *before);
    if (scheme != nullptr && !may_be_quantized(*tensor.logical.row)) {
      accounting_.wrong(spec.name,
                        fmt::format("dtype {} in the origin is not one the table allows here",
                                    safetensors_name(before->dtype)));
      continue;
    }
    if (scheme != nullptr && !options_.dtype) {
      add_quantized(spec, *before, *scheme, std::move(transfer));
      continue;
    }
    if (scheme != nullptr) leave_scales_out(spec.name, *scheme);
    transfer.to = output_dtype(*tensor.logical.row, before, tensor.found.dtype);
    const Dtype to = transfer.to;
    if (before == nullptr || plan_.text_form) note_new_matrix(spec, *tensor.logical.row);
    add_output(spec.name, to, spec.shape, std::move(transfer));
  }
  if (tensor.logical.row->op->is_vocabulary && options_.vocab_rows > 0) {
    plan_.hf_vocab_rows = options_.vocab_rows;
  }
}

// Returns --dtype, else the origin's dtype, else the checkpoint's. A row that keeps a dtype ignores
// --dtype: it has the origin's dtype. Without an origin it has the dtype that it keeps, and also
// with --dtype fp32, because nothing else is narrower then.
Dtype ExportPlanner::output_dtype(const mappings::Row& row, const HfTensor* before,
                                  Dtype current) const {
  if (row.keep && is_plain_float(*row.keep) && is_plain_float(current)) {
    const bool as_before =
        before != nullptr && is_plain_float(before->dtype) && options_.dtype != Dtype::kF32;
    return as_before ? before->dtype : *row.keep;
  }
  if (options_.dtype && !row.keep && is_plain_float(current)) return *options_.dtype;
  // Without an origin, integers take the dtype that the table names first.
  if (before == nullptr) return is_plain_float(current) ? current : row.dtypes.front();
  return is_plain_float(before->dtype) == is_plain_float(current) ? before->dtype : current;
}

// Notes a plain weight that a list of quantized modules, made without it, may mean to have.
void ExportPlanner::note_new_matrix(const mappings::HfTensorSpec& spec, const mappings::Row& row) {
  constexpr std::string_view kWeight = ".weight";
  const bool is_listed = layout_ != nullptr && !options_.dtype &&
                         binding_.quantization_targets() != nullptr && spec.shape.size() == 2 &&
                         spec.name.ends_with(kWeight) && may_be_quantized(row);
  if (!is_listed) return;
  budget_.reserve(heap_cost(spec.name.size()), "the plan");
  plan_.new_matrices.push_back(spelled(spec.name));
}

void ExportPlanner::add_output(const std::string& name, Dtype dtype, const Shape& shape,
                               Transfer transfer) {
  transfer.target = static_cast<int32_t>(plan_.outputs.size());
  transfer_of_.resize(plan_.outputs.size() + 1, -1);
  transfer_of_.back() = static_cast<int32_t>(plan_.transfers.size());
  plan_.transfers.push_back(std::move(transfer));
  name_output(name, dtype, shape);
}

void ExportPlanner::name_output(const std::string& name, Dtype dtype, const Shape& shape) {
  by_name_[name] = static_cast<int32_t>(plan_.outputs.size());
  budget_.reserve(output_cost(name, shape), "the plan");
  plan_.output_bytes = checked_add(plan_.output_bytes, byte_size(dtype, shape));
  const int32_t sidecar_tensor = origin_.sidecar_tensor(name);
  plan_.outputs.push_back({spelled(name), dtype, shape, sidecar_tensor, sidecar_tensor});
}

// Counts an output, its transfer, and its name as a key here and in the shards.
int64_t ExportPlanner::output_cost(const std::string& name, const Shape& shape) {
  return static_cast<int64_t>(sizeof(Transfer) + sizeof(ExportPlan::Output)) +
         2 * heap_cost(name.size()) + tree_cost<std::pair<std::string, int32_t>>() +
         tree_cost<std::pair<std::string_view, int32_t>>() +
         heap_cost(shape.size() * sizeof(int64_t)) + heap_cost(sizeof(TransferInput));
}

int32_t ExportPlanner::add_input(ExportPlan::Input input) {
  plan_.inputs.push_back(std::move(input));
  return static_cast<int32_t>(plan_.inputs.size()) - 1;
}

int32_t ExportPlanner::keep_of_sidecar(const std::string& name) {
  return add_input({ExportPlan::Input::Of::kSidecar, {}, origin_.sidecar_tensor(name)});
}

int32_t ExportPlanner::keep_of_reference(const HfTensor& tensor) {
  const auto index = &tensor - origin_.reference->tensors.data();
  return add_input({ExportPlan::Input::Of::kReference, {}, static_cast<int32_t>(index)});
}

void ExportPlanner::add_quantized(const mappings::HfTensorSpec& spec, const HfTensor& before,
                                  const mappings::BlockScheme& scheme, Transfer transfer) {
  const auto name = scheme.scale_name(spec.name);
  const HfTensor* scales = name ? layout_->find(*name) : nullptr;
  if (before.shape != scheme.stored_shape(spec.shape) || !scheme.fits(spec.shape) ||
      scales == nullptr || !scheme.fits_scales(scales->shape, spec.shape)) {
    accounting_.wrong(
        spec.name, fmt::format("{} {} with scales {} in the origin", safetensors_name(before.dtype),
                               shape_text(before.shape),
                               scales == nullptr ? "missing" : shape_text(scales->shape)));
    return;
  }
  auto again = std::make_shared<Requantize>();
  const Shape block = scheme.block_of(spec.shape);
  again->source = {-1, scales->dtype, static_cast<int32_t>(block[0]),
                   static_cast<int32_t>(block[1])};
  const bool in_sidecar =
      sidecar_has(before) && sidecar_has(*scales) && origin_.sidecar_keeps(scales->name);
  if (in_sidecar) {
    again->source.tensor = keep_of_sidecar(*name);
  } else if (origin_.from_reference()) {
    again->source.tensor = keep_of_reference(*scales);
    again->source_codes = keep_of_reference(before);
  } else {
    accounting_.wrong(spec.name, "the sidecar does not hold its scales");
    return;
  }
  again->power_of_two = scheme.power_of_two;
  again->scale_target = static_cast<int32_t>(plan_.outputs.size()) + 1;
  transfer.to = scheme.quantization->dtype;
  transfer.requantize = std::move(again);
  if (plan_.text_form) name_in_text_form(scheme, spec.name);
  add_output(before.name, before.dtype, before.shape, std::move(transfer));
  ExportPlan::Output& output = plan_.outputs.back();
  if (!in_sidecar || !origin_.witnesses->any(output.witnesses_of)) output.witnesses_of = -1;
  name_output(*name, scales->dtype, scales->shape);
  ++plan_.quantized;
  for_each_beside(*layout_, scheme, spec.name, [&](const HfTensor& beside) {
    if (&beside != scales) put_back_beside(beside);
  });
}

// Names what a quantized weight is stored in as the text form names the weight.
void ExportPlanner::name_in_text_form(const mappings::BlockScheme& scheme,
                                      const std::string& weight) {
  const std::string in_text_form = spelled(weight);
  text_names_[*scheme.scale_name(weight)] = *scheme.scale_name(in_text_form);
  text_names_[*scheme.stored_name(weight)] = *scheme.stored_name(in_text_form);
  const std::vector<std::string> names = scheme.names_beside(weight);
  const std::vector<std::string> spellings = scheme.names_beside(in_text_form);
  for (size_t i = 0; i < names.size(); ++i) text_names_[names[i]] = spellings[i];
}

// Returns the user's choice, else that of the training, else that of the conversion.
int64_t ExportPlanner::glu_interleave() const {
  if (options_.glu_interleave > 0) return options_.glu_interleave;
  const int64_t recorded = recorded_glu_interleave(checkpoint_);
  return recorded > 0 ? recorded : origin_.glu_interleave();
}

// Refuses a quantized model whose scales are nowhere: it cannot become itself again.
void ExportPlanner::refuse_missing_scales() const {
  if (layout_ != nullptr || options_.dtype || binding_.block_schemes().empty()) return;
  const auto quantized = binding_.config().find("quantization_config");
  if (quantized == binding_.config().end() || quantized->is_null()) return;
  usage_error(
      fmt::format("{}: config.json says the model is quantized, but nothing here holds its scales",
                  printable(checkpoint_.dist_dir.string())),
      "give --sidecar DIR of its conversion, --reference HF_DIR with the quantized weights, or "
      "--dtype bf16");
}

ExportPlan plan_export(const MegatronFolder& checkpoint, const mappings::Binding& binding,
                       const Origin& origin, const ExportOptions& options, FileSystem& fs,
                       MemoryBudget& budget) {
  refuse_interleaving(binding, options.glu_interleave);
  return ExportPlanner(checkpoint, binding, origin, options, budget).make(fs);
}

}  // namespace bridge
