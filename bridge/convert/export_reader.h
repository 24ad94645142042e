// The tensors an export reads: the checkpoint's logical ones, then those kept whole in the sidecar.
#pragma once

#include <algorithm>

#include "bridge/convert/export_plan.h"
#include "bridge/convert/tensor_reader.h"
#include "bridge/convert/witness_check.h"

namespace bridge {

class ExportReader : public TensorReader {
 public:
  ExportReader(FileSystem& fs, const MegatronFolder& checkpoint, const ExportPlan& plan,
               const Origin& origin)
      : checkpoint_(fs, checkpoint, plan.logical), plan_(plan), origin_(origin) {}

  void read(size_t index, int64_t begin, std::span<std::byte> out) override {
    if (index < plan_.logical.size()) {
      checkpoint_.read(index, begin, out);
      return;
    }
    const int32_t tensor = plan_.kept[index - plan_.logical.size()];
    const int64_t end = begin + std::ssize(out);
    for (const WitnessRecord& record : origin_.witnesses->find(tensor, begin, end)) {
      const int64_t from = std::max(begin, record.begin);
      const int64_t to = std::min(end, record.begin + record.length);
      origin_.witnesses->read(
          record, from - record.begin,
          out.subspan(static_cast<size_t>(from - begin), static_cast<size_t>(to - from)));
    }
  }
  void finish() override { checkpoint_.finish(); }
  int64_t items_without_crc() const { return checkpoint_.items_without_crc(); }

 private:
  MegatronReader checkpoint_;
  const ExportPlan& plan_;
  const Origin& origin_;
};

// For ExecutorHooks::on_slice: what a cast of the conversion lost, where the checkpoint still holds what it left.
inline void apply_origin_witnesses(const SliceView& slice, const ExportPlan& plan,
                                   const Origin& origin) {
  const ExportPlan::Output& output = plan.outputs[static_cast<size_t>(slice.transfer.target)];
  if (slice.transfer.from == slice.transfer.to || output.witnesses_of < 0) return;
  const HfTensor& source = origin.sidecar->source.tensors[static_cast<size_t>(output.witnesses_of)];
  if (source.dtype == output.dtype && source.shape == output.shape) {
    apply_witnesses(slice, output.witnesses_of, *origin.witnesses);
  }
}

}  // namespace bridge
