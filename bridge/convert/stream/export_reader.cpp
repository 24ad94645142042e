#include "bridge/convert/stream/export_reader.h"

#include <algorithm>
#include <cmath>

#include "bridge/convert/stream/witness_check.h"

namespace bridge {
namespace {

using Of = ExportPlan::Input::Of;

// By index of the plan's inputs; empty for inputs that are not the checkpoint's.
std::vector<std::vector<RawStretch>> stretches_of(const ExportPlan& plan) {
  std::vector<std::vector<RawStretch>> stretches;
  stretches.reserve(plan.inputs.size());
  for (const ExportPlan::Input& input : plan.inputs) stretches.push_back(input.stretches);
  return stretches;
}

// Under a scale of ordinary size no two codes dequantize to the same BF16 or F32 value: both dtypes
// have an exponent range that such products do not leave, and more digits than a code.
bool codes_are_unique(Dtype value_dtype, float scale) {
  constexpr float kLeast = 0x1p-100F;
  constexpr float kMost = 0x1p100F;
  return value_dtype != Dtype::kF16 && scale >= kLeast && scale <= kMost;
}

}  // namespace

ExportReader::ExportReader(FileSystem& fs, const MegatronFolder& checkpoint, const ExportPlan& plan,
                           const Origin& origin)
    : checkpoint_(fs, checkpoint, stretches_of(plan)), plan_(plan), origin_(origin) {
  const bool needs_reference =
      std::any_of(plan.inputs.begin(), plan.inputs.end(),
                  [](const ExportPlan::Input& input) { return input.of == Of::kReference; });
  if (needs_reference) reference_.emplace(fs, *origin.reference);
}

void ExportReader::read(size_t index, int64_t begin, std::span<std::byte> out) {
  const ExportPlan::Input& input = plan_.inputs[index];
  if (input.of == Of::kCheckpoint) {
    checkpoint_.read(index, begin, out);
    return;
  }
  if (input.of == Of::kReference) {
    reference_->read(static_cast<size_t>(input.tensor), begin, out);
    return;
  }
  const int64_t end = begin + std::ssize(out);
  for (const WitnessRecord& record : origin_.witnesses->find(input.tensor, begin, end)) {
    const int64_t from = std::max(begin, record.begin);
    const int64_t to = std::min(end, record.begin + record.length);
    origin_.witnesses->read(
        record, from - record.begin,
        out.subspan(static_cast<size_t>(from - begin), static_cast<size_t>(to - from)));
  }
}

ExecutorHooks origin_hooks(const ExportPlan& plan, const Origin& origin, ExportReader& reader,
                           BlockCounts& blocks) {
  ExecutorHooks hooks;
  hooks.blocks = &blocks;
  const auto output_of = [&plan](const Transfer& transfer) -> const ExportPlan::Output& {
    return plan.outputs[static_cast<size_t>(transfer.target)];
  };
  if (origin.witnesses) {
    hooks.on_slice = [&origin, &blocks, output_of](const SliceView& slice) {
      const ExportPlan::Output& output = output_of(slice.transfer);
      if (slice.segments.empty() || output.witnesses_of < 0) return;
      const HfTensor& source =
          origin.sidecar->source.tensors[static_cast<size_t>(output.witnesses_of)];
      if (source.dtype == output.dtype && source.shape == output.shape) {
        blocks.witnesses += apply_witnesses(slice, output.witnesses_of, *origin.witnesses);
      }
    };
  }
  // Most exports have nothing to look up; they go without the hook, which is called for every row
  // of every block.
  const bool any_codes = std::any_of(
      plan.transfers.begin(), plan.transfers.end(), [&output_of](const Transfer& transfer) {
        return transfer.requantize &&
               (transfer.requantize->source_codes >= 0 || output_of(transfer).witnesses_of >= 0);
      });
  if (!any_codes) return hooks;
  hooks.on_kept_codes = [&origin, &reader, output_of](const KeptCodes& kept) {
    int64_t changed = 0;
    const Transfer& transfer = kept.transfer;
    const int32_t source = transfer.requantize->source_codes;
    if (source >= 0 && !codes_are_unique(transfer.inputs[0].dtype, kept.scale)) {
      std::vector<std::byte> bytes(kept.codes.size());
      reader.read(static_cast<size_t>(source), bytes_of(transfer.to, kept.begin), bytes);
      changed += apply_source_codes(kept, bytes);
    }
    const int32_t witnesses = output_of(transfer).witnesses_of;
    if (witnesses >= 0) {
      changed += apply_code_witnesses(kept, witnesses, *origin.witnesses);
    }
    return changed;
  };
  return hooks;
}

}  // namespace bridge
