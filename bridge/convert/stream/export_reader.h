// The tensors an export reads: the checkpoint's logical ones, then those of the origin: kept whole in the sidecar, or in
// the reference's shards.
#pragma once

#include <optional>

#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/convert/stream/tensor_reader.h"

namespace bridge {

class ExportReader : public TensorReader {
 public:
  ExportReader(FileSystem& fs, const MegatronFolder& checkpoint, const ExportPlan& plan,
               const Origin& origin);

  void read(size_t index, int64_t begin, std::span<std::byte> out) override;
  void finish() override { checkpoint_.finish(); }
  int64_t items_without_crc() const { return checkpoint_.items_without_crc(); }

 private:
  MegatronReader checkpoint_;
  const ExportPlan& plan_;
  const Origin& origin_;
  std::optional<HfReader> reference_;
};

// The hooks by which an export gets back what its source had: witnesses of casts, and source codes where several
// dequantize to the same value. All arguments must outlive the hooks.
ExecutorHooks origin_hooks(const ExportPlan& plan, const Origin& origin, ExportReader& reader,
                           BlockCounts& blocks);

}  // namespace bridge
