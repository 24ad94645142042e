// The part of a conversion that reads every byte of the source once: writes the tensors of the
// checkpoint, and collects what the sidecar keeps of them, the CRC-32 of every source tensor and
// the witnesses. Both go into the journal with every watermark, so that another run can go on.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bridge/convert/commit/portions.h"
#include "bridge/convert/commit/resumption.h"
#include "bridge/convert/options.h"
#include "bridge/convert/plan/convert_plan.h"
#include "bridge/convert/stream/source_crcs.h"
#include "bridge/convert/stream/tensor_reader.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/progress.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/sidecar/witness_file.h"

namespace bridge {

// Not thread-safe; starts the threads of the executor itself.
class TensorCopy {
 public:
  // All must outlive this.
  TensorCopy(FileSystem& fs, const ConvertOptions& options, const HfFolder& source,
             const ConvertPlan& plan, MemoryBudget& budget)
      : fs_(fs),
        options_(options),
        source_(source),
        plan_(plan),
        budget_(budget),
        reader_(fs, source) {}

  // Writes the portions of this process into dist_dir, and their witnesses into sidecar_dir or
  // beside their journals. Errors: kBadInput for a source that differs from its duplicates or from
  // what an earlier run read, and for values that a cast cannot hold; kIo; kUsage if --memory is
  // too small.
  void copy(const Path& dist_dir, const Path& sidecar_dir, const std::vector<Portion>& portions,
            Resumption& resumption);
  // Makes what all processes and runs have found into what one would have: the CRCs of the source,
  // and the witnesses, in the order of the transfers. Rank 0 calls it after copy(), unless
  // Resumption::is_alone(). Errors: those of Resumption::gather().
  void merge(const Path& sidecar_dir, Resumption& resumption);

  // What was found: after merge(), or after copy() by a process that is alone.
  // By index of HfFolder::tensors; nullopt: the tensor was left out and not read.
  const std::vector<std::optional<uint32_t>>& source_crcs() const { return crcs_->values(); }
  // nullopt: there is nothing to witness.
  std::optional<uint32_t> witness_crc() const { return witness_crc_; }
  int64_t witness_bytes() const { return witness_bytes_; }

 private:
  void copy_portion(const Path& dist_dir, const Path& sidecar_dir, const Portion& portion,
                    Resumption& resumption, Progress& progress);
  void read_dropped(std::optional<WitnessWriter>& witnesses);

  FileSystem& fs_;
  const ConvertOptions& options_;
  const HfFolder& source_;
  const ConvertPlan& plan_;
  MemoryBudget& budget_;
  HfReader reader_;
  std::optional<SourceCrcs> crcs_;  // of the portion; at the end, of all
  std::optional<uint32_t> witness_crc_;
  int64_t witness_bytes_ = 0;
};

}  // namespace bridge
