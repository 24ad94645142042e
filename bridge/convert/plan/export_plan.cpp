#include "bridge/convert/plan/export_plan.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "bridge/convert/algebra/layout_cache.h"
#include "bridge/convert/match/derived_config.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/part_origin.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/plan/export_shards.h"
#include "bridge/io/base/heap_cost.h"

namespace bridge {
namespace {

class Planner {
 public:
  Planner(const MegatronFolder& checkpoint, const mappings::Binding& binding, const Origin& origin,
          const ExportOptions& options, MemoryBudget& budget)
      : checkpoint_(checkpoint),
        binding_(binding),
        origin_(origin),
        layout_(origin.layout()),
        options_(options),
        budget_(budget) {}

  ExportPlan make(FileSystem& fs) {
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

 private:
  // Reads the names of the text form, by the names that the origin has or would have.
  void read_text_names() {
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

  const std::string& spelled(const std::string& name) const {
    return plan_.text_form ? text_names_.at(name) : name;
  }

  void add(const CheckpointTensor& tensor) {
    const int32_t index =
        add_input({ExportPlan::Input::Of::kCheckpoint, tensor.found.stretches, -1});
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
          before == nullptr ? nullptr : find_scheme(binding_, before->dtype);
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
      add_output(spec.name, to, spec.shape, std::move(transfer));
    }
    if (tensor.logical.row->op->is_vocabulary && options_.vocab_rows > 0) {
      plan_.hf_vocab_rows = options_.vocab_rows;
    }
  }

  // Returns --dtype, else the origin's dtype, else the checkpoint's. Rows that keep a dtype never
  // follow --dtype: they take the origin's dtype, or the one they keep if there is no origin or
  // --dtype fp32 leaves no reason to be narrower.
  Dtype output_dtype(const mappings::Row& row, const HfTensor* before, Dtype current) const {
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

  void add_output(const std::string& name, Dtype dtype, const Shape& shape, Transfer transfer) {
    transfer.target = static_cast<int32_t>(plan_.outputs.size());
    transfer_of_.resize(plan_.outputs.size() + 1, -1);
    transfer_of_.back() = static_cast<int32_t>(plan_.transfers.size());
    plan_.transfers.push_back(std::move(transfer));
    name_output(name, dtype, shape);
  }

  void name_output(const std::string& name, Dtype dtype, const Shape& shape) {
    by_name_[name] = static_cast<int32_t>(plan_.outputs.size());
    budget_.reserve(output_cost(name, shape), "the plan");
    plan_.output_bytes = checked_add(plan_.output_bytes, byte_size(dtype, shape));
    const int32_t sidecar_tensor = origin_.sidecar_tensor(name);
    plan_.outputs.push_back({spelled(name), dtype, shape, sidecar_tensor, sidecar_tensor});
  }

  // Counts an output, its transfer, and its name as a key here and in the shards.
  static int64_t output_cost(const std::string& name, const Shape& shape) {
    return static_cast<int64_t>(sizeof(Transfer) + sizeof(ExportPlan::Output)) +
           2 * heap_cost(name.size()) + tree_cost<std::pair<std::string, int32_t>>() +
           tree_cost<std::pair<std::string_view, int32_t>>() +
           heap_cost(shape.size() * sizeof(int64_t)) + heap_cost(sizeof(TransferInput));
  }

  int32_t add_input(ExportPlan::Input input) {
    plan_.inputs.push_back(std::move(input));
    return static_cast<int32_t>(plan_.inputs.size()) - 1;
  }
  int32_t keep_of_sidecar(const std::string& name) {
    return add_input({ExportPlan::Input::Of::kSidecar, {}, origin_.sidecar_tensor(name)});
  }
  int32_t keep_of_reference(const HfTensor& tensor) {
    const auto index = &tensor - origin_.reference->tensors.data();
    return add_input({ExportPlan::Input::Of::kReference, {}, static_cast<int32_t>(index)});
  }

  void add_quantized(const mappings::HfTensorSpec& spec, const HfTensor& before,
                     const mappings::BlockScheme& scheme, Transfer transfer) {
    const auto name = scheme.scale_name(spec.name);
    const HfTensor* scales = name ? layout_->find(*name) : nullptr;
    if (before.shape != scheme.stored_shape(spec.shape) || !scheme.fits(spec.shape) ||
        scales == nullptr || !scheme.fits_scales(scales->shape, spec.shape)) {
      accounting_.wrong(spec.name,
                        fmt::format("{} {} with scales {} in the origin",
                                    safetensors_name(before.dtype), shape_text(before.shape),
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
  void name_in_text_form(const mappings::BlockScheme& scheme, const std::string& weight) {
    const std::string in_text_form = spelled(weight);
    text_names_[*scheme.scale_name(weight)] = *scheme.scale_name(in_text_form);
    text_names_[*scheme.stored_name(weight)] = *scheme.stored_name(in_text_form);
    const std::vector<std::string> names = scheme.names_beside(weight);
    const std::vector<std::string> spellings = scheme.names_beside(in_text_form);
    for (size_t i = 0; i < names.size(); ++i) text_names_[names[i]] = spellings[i];
  }

  // Writes what lies beside a quantized weight as the origin holds it: no Megatron tensor says it.
  void put_back_beside(const HfTensor& before) {
    if (const auto input = held_input(before)) {
      add_as_it_was(before, *input);
    } else {
      accounting_.wrong(before.name, "the sidecar does not hold it");
    }
  }

  // An input with the bytes that the sidecar, else the reference, holds of a tensor of the origin.
  std::optional<int32_t> held_input(const HfTensor& before) {
    if (sidecar_has(before) && origin_.sidecar_keeps(before.name)) {
      return keep_of_sidecar(before.name);
    }
    if (origin_.from_reference()) return keep_of_reference(before);
    return std::nullopt;
  }

  bool sidecar_has(const HfTensor& tensor) const {
    const int32_t index = origin_.sidecar_tensor(tensor.name);
    if (index < 0) return false;
    const HfTensor& own = origin_.sidecar->source.tensors[static_cast<size_t>(index)];
    return own.dtype == tensor.dtype && own.shape == tensor.shape;
  }

  void leave_scales_out(const std::string& name, const mappings::BlockScheme& scheme) {
    if (!scheme.scale_name(name)) return;
    leave_stored_out(name, scheme);
    ++plan_.dequantized;
  }

  // What a quantized weight is stored in has no place in the output, unless it has its name.
  void leave_stored_out(const std::string& name, const mappings::BlockScheme& scheme) {
    if (const auto stored = scheme.stored_name(name)) left_out_.insert(*stored);
    for_each_beside(*layout_, scheme, name,
                    [&](const HfTensor& beside) { left_out_.insert(beside.name); });
  }

  // Brings back a tensor that convert-hf dropped by rule if the origin had it or, without an
  // origin, if every published checkpoint has it.
  void restore(const mappings::DroppedTensor& drop) {
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
  const mappings::BlockScheme* scheme_of_copy(const HfTensor* before,
                                              const mappings::DroppedTensor& drop) const {
    if (before == nullptr || drop.equals.empty()) return nullptr;
    const HfTensor* original = layout_->find(drop.equals);
    return original == nullptr || original->dtype == before->dtype
               ? nullptr
               : find_scheme(binding_, before->dtype);
  }

  // Puts back a quantized tensor with its scales; returns false if their bytes are nowhere.
  bool put_back_quantized(const HfTensor& before, const mappings::BlockScheme& scheme) {
    const auto input = held_input(before);
    if (!input) return false;
    add_as_it_was(before, *input);
    for_each_beside(*layout_, scheme, before.name,
                    [&](const HfTensor& beside) { add_as_it_was(beside, *held_input(beside)); });
    return true;
  }

  // Puts back a tensor that Megatron has no place for, from the sidecar if it kept the bytes, else
  // from the reference.
  void put_back(const HfTensor& before) {
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

  void say_put_back(const std::string& name, bool of_reference, std::string_view why) {
    plan_.put_back.push_back(
        {printable(name),
         fmt::format("from the {}, as {}", of_reference ? "reference" : "sidecar", why)});
  }

  // Puts back a part that the checkpoint was made without. Only --dtype changes its bytes.
  void put_back(const std::string& part) {
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
          leave_scales_out(tensor.name, *find_scheme(binding_, stored.dtype));
        }
        add_copy(tensor.name, input, *options_.dtype, tensor.shape);
        continue;
      }
      add_as_it_was(stored, input.tensor);
      if (!scales.quantized()) continue;
      for_each_beside(folder, *find_scheme(binding_, stored.dtype), tensor.name,
                      [&](const HfTensor& beside) {
                        const auto index = &beside - folder.tensors.data();
                        add_as_it_was(beside, keep(static_cast<int32_t>(index)));
                      });
    }
    plan_.warnings.push_back(fmt::format("{}; {} tensors are put back from the {}", why,
                                         from.tensors.size(),
                                         from.of_reference ? "reference" : "sidecar"));
  }

  void add_as_it_was(const HfTensor& before, int32_t input) {
    add_copy(before.name, {input, before.dtype, {}}, before.dtype, before.shape);
  }

  void add_copy(const std::string& name, const TransferInput& input, Dtype to, const Shape& shape) {
    Transfer transfer;
    transfer.layout = std::make_shared<OpLayout>(mappings::ops::kCopy, std::vector<Shape>{shape},
                                                 mappings::OpNumbers{});
    transfer.inputs = {input};
    transfer.to = to;
    transfer.end = element_count(shape);
    add_output(name, to, shape, std::move(transfer));
    plan_.outputs.back().witnesses_of = -1;
  }

  // Reports tensors of the origin that no row and no rule knows, because they would vanish.
  void check_origin(size_t dialect) {
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
  void leave_renamed_out() {
    for (const HfTensor& tensor : layout_->tensors) {
      const mappings::BlockScheme* scheme = find_scheme(binding_, tensor.dtype);
      if (scheme == nullptr || !scheme->quantization->blocks_have_an_axis()) continue;
      const auto scales = scheme->scale_name(tensor.name);
      if (!scales || layout_->find(*scales) == nullptr) continue;
      left_out_.insert(tensor.name);
      leave_scales_out(tensor.name, *scheme);
    }
  }

  void leave_parts_out(size_t dialect) {
    binding_.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor& logical) {
      if (logical.row->part.empty()) return;
      for (const mappings::HfTensorSpec& spec : logical.hf) {
        const HfTensor* tensor = find_stored(*layout_, binding_, spec.name);
        if (tensor == nullptr) continue;
        left_out_.insert(tensor->name);
        const mappings::BlockScheme* scheme = find_scheme(binding_, tensor->dtype);
        if (scheme != nullptr) leave_stored_out(spec.name, *scheme);
      }
    });
  }

  // Returns the user's choice, else that of the training, else that of the conversion.
  int64_t glu_interleave() const {
    if (options_.glu_interleave > 0) return options_.glu_interleave;
    const int64_t recorded = recorded_glu_interleave(checkpoint_);
    return recorded > 0 ? recorded : origin_.glu_interleave();
  }

  // Refuses a quantized model whose scales are nowhere: it cannot become itself again.
  void refuse_missing_scales() const {
    if (layout_ != nullptr || options_.dtype || binding_.block_schemes().empty()) return;
    const auto quantized = binding_.config().find("quantization_config");
    if (quantized == binding_.config().end() || quantized->is_null()) return;
    usage_error(
        fmt::format(
            "{}: config.json says the model is quantized, but nothing here holds its scales",
            printable(checkpoint_.dist_dir.string())),
        "give --sidecar DIR of its conversion, --reference HF_DIR with the quantized weights, or "
        "--dtype bf16");
  }

  const MegatronFolder& checkpoint_;
  const mappings::Binding& binding_;
  const Origin& origin_;
  const HfFolder* layout_;
  const ExportOptions& options_;
  MemoryBudget& budget_;
  Accounting accounting_;
  std::map<std::string, int32_t, std::less<>> by_name_;         // outputs by the origin's names
  std::map<std::string, std::string, std::less<>> text_names_;  // from these to the text form's
  std::vector<int32_t> transfer_of_;  // by output; -1: scales, which come with their tensor
  std::set<std::string, std::less<>> left_out_;
  ExportPlan plan_;
};

}  // namespace

ExportPlan plan_export(const MegatronFolder& checkpoint, const mappings::Binding& binding,
                       const Origin& origin, const ExportOptions& options, FileSystem& fs,
                       MemoryBudget& budget) {
  refuse_interleaving(binding, options.glu_interleave);
  return Planner(checkpoint, binding, origin, options, budget).make(fs);
}

}  // namespace bridge
