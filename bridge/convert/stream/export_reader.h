// Reads the tensors of an export: the checkpoint's logical tensors, and those of the origin, which
// the sidecar keeps whole or the reference's shards hold.
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
  DcpReader& items() { return checkpoint_.items(); }

 private:
  MegatronReader checkpoint_;
  const ExportPlan& plan_;
  const Origin& origin_;
  std::optional<HfReader> reference_;
};

// The hooks by which an export restores what its source had: witnesses of casts, and source codes
// where several codes dequantize to the same value. All arguments must outlive the hooks.
ExecutorHooks origin_hooks(const ExportPlan& plan, const Origin& origin, ExportReader& reader,
                           BlockCounts& blocks);

}  // namespace bridge
