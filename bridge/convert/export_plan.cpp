#include "bridge/convert/export_plan.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "bridge/convert/export_shards.h"
#include "bridge/convert/source_match.h"

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
    const auto known = [&](std::string_view name) {
      return layout_ != nullptr && layout_->find(name) != nullptr;
    };
    const size_t dialect = layout_ == nullptr ? 0 : binding_.choose_dialect(known);
    Accounting accounting;
    CheckpointMatchOptions match;
    match.dialect = dialect;
    match.local_spec = options_.spec == Spec::kLocal;
    match.hf_vocab_rows = options_.vocab_rows;
    match.layer_keys = options_.layer_keys;
    match.name_prefix = options_.name_prefix;
    match_checkpoint(checkpoint_, binding_, match, accounting,
                     [&](const CheckpointTensor& tensor) { add(tensor); });
    accounting.raise_unless_clean(
        printable(checkpoint_.dist_dir.string()),
        fmt::format(
            "is the configuration the one of this checkpoint? table {} describes what is expected",
            binding_.table().file));
    binding_.for_each_drop(dialect, [&](const mappings::DroppedTensor& drop) { restore(drop); });
    check_origin();
    plan_.warnings = binding_.warnings();
    plan_shards(plan_, layout_, origin_, options_.max_shard_size, fs, budget_);
    return std::move(plan_);
  }

 private:
  void add(const CheckpointTensor& tensor) {
    const auto index = static_cast<int32_t>(plan_.logical.size());
    plan_.logical.push_back(tensor.found.stretches);
    for (size_t part = 0; part < tensor.logical.hf.size(); ++part) {
      const mappings::HfTensorSpec& spec = tensor.logical.hf[part];
      Transfer transfer;
      transfer.layout = tensor.layout;
      transfer.inputs = {index};
      transfer.part = static_cast<int>(part);
      transfer.from = tensor.found.dtype;
      transfer.to = output_dtype(*tensor.logical.row, spec.name, tensor.found.dtype);
      transfer.end = element_count(spec.shape);
      add_output(spec.name, spec.shape, std::move(transfer));
    }
    if (tensor.logical.row->op == mappings::Op::kVocab && options_.vocab_rows > 0) {
      plan_.hf_vocab_rows = options_.vocab_rows;
    }
  }

  // --dtype; else what the origin had; else what the checkpoint has. Kept classes never follow --dtype.
  Dtype output_dtype(const mappings::Row& row, const std::string& name, Dtype current) const {
    if (options_.dtype && !row.keep && is_plain_float(current)) return *options_.dtype;
    const HfTensor* before = layout_ == nullptr ? nullptr : layout_->find(name);
    return before != nullptr && is_plain_float(before->dtype) && is_plain_float(current)
               ? before->dtype
               : current;
  }

  void add_output(const std::string& name, const Shape& shape, Transfer transfer) {
    transfer.target = static_cast<int32_t>(plan_.outputs.size());
    by_name_[name] = transfer.target;
    budget_.reserve(
        static_cast<int64_t>(3 * name.size() + sizeof(Transfer) + sizeof(ExportPlan::Output) + 200),
        "the plan");
    plan_.output_bytes = checked_add(plan_.output_bytes, byte_size(transfer.to, shape));
    plan_.outputs.push_back({name, transfer.to, shape, origin_.sidecar_tensor(name)});
    plan_.transfers.push_back(std::move(transfer));
  }

  // A tensor that convert-hf dropped by rule comes back only where the origin had it.
  void restore(const mappings::DroppedTensor& drop) {
    const HfTensor* before = layout_ == nullptr ? nullptr : layout_->find(drop.name);
    if (before == nullptr) return;
    if (!drop.equals.empty()) {
      const auto original = by_name_.find(drop.equals);
      if (original == by_name_.end()) return;
      const auto target = static_cast<size_t>(original->second);
      Transfer copy = plan_.transfers[target];
      add_output(drop.name, Shape(plan_.outputs[target].shape), std::move(copy));
      return;
    }
    const int32_t index = origin_.sidecar_tensor(drop.name);
    if (index < 0 || !origin_.witnesses ||
        !origin_.witnesses->covers(index, before->end - before->begin)) {
      left_out_.insert(drop.name);
      plan_.left_out.push_back(fmt::format("{}: {}", printable(drop.name), drop.drop->reason));
      return;
    }
    Transfer transfer;
    transfer.layout =
        std::make_shared<OpLayout>(mappings::Op::kCopy, std::vector<Shape>{before->shape}, 0, 0);
    // The reader's catalog is the logical tensors, then the kept ones.
    transfer.inputs = {static_cast<int32_t>(plan_.logical.size() + plan_.kept.size())};
    transfer.from = transfer.to = before->dtype;
    transfer.end = element_count(before->shape);
    plan_.kept.push_back(index);
    add_output(drop.name, before->shape, std::move(transfer));
  }

  // The origin's own tensors must be explained too: one that no row and no rule knows would vanish.
  void check_origin() {
    if (layout_ == nullptr) return;
    Accounting accounting;
    for (const HfTensor& tensor : layout_->tensors) {
      if (!by_name_.contains(tensor.name) && !left_out_.contains(tensor.name)) {
        accounting.unknown(tensor.name);
      }
    }
    accounting.raise_unless_clean(
        origin_.reference ? printable(origin_.reference->path.string()) : "the sidecar's source",
        "these tensors would be lost; is it the same architecture?");
  }

  const MegatronFolder& checkpoint_;
  const mappings::Binding& binding_;
  const Origin& origin_;
  const HfFolder* layout_;
  const ExportOptions& options_;
  MemoryBudget& budget_;
  std::map<std::string, int32_t, std::less<>> by_name_;
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
