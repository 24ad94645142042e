// A Megatron-Core `torch_dist` checkpoint on disk: finding the iteration, common state, and reading any byte
// range of any tensor across its chunks with CRCs verified.
//
//   ROOT/latest_checkpointed_iteration.txt   "release" | "N"
//   ROOT/iter_0000000/ or ROOT/release/      .metadata  *.distcp  metadata.json  [common.pt]  [run_config.yaml]
// A bare folder with .metadata and metadata.json is accepted too. The common state is common.pt or (core >= 0.19)
// the object common_state/shard_0_1 inside the DCP data; both are read. Truth: megatron/core/dist_checkpointing (0.16.1, 0.20).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bridge/io/dcp_metadata.h"
#include "bridge/io/file_system.h"
#include "bridge/io/memory_budget.h"
#include "bridge/io/pickle.h"
#include "bridge/io/range_crc.h"
#include "bridge/io/torch_item.h"

namespace bridge {

struct MegatronFolder {
  Path root;        // where the tracker and causeway/ lie; equals dist_dir for a bare folder
  Path dist_dir;    // holds .metadata
  std::string iteration;  // "release", "0", "1000"; empty for a bare folder
  DcpMetadata metadata;
  PickleValue common;     // dict; nullptr when there is none (checkpoints of plain torch DCP)
  bool has_run_config = false;  // dist_dir/run_config.yaml

  const DcpTensor* find(std::string_view key) const;
};

// True when path looks like a Megatron checkpoint of any kind, unsupported kinds included.
bool looks_like_megatron(FileSystem& fs, const Path& path);

// iteration: "" (the tracker decides; without one the only or the latest iter_*), "latest", "release", or a number.
// Recognised and refused by name with the remedy (kUnsupported): mp_rank_* (legacy torch), fsdp_dtensor / torch_dcp
// (.metadata without metadata.json), zarr, .nemo archives, modelopt_state (NVFP4 and other quantized models).
MegatronFolder open_megatron(FileSystem& fs, const Path& path, std::string_view iteration,
                             MemoryBudget& budget);

// Reads byte ranges of the logical (whole, row-major) tensors of a folder. Item headers are parsed on first
// use and checked against .metadata (dtype, shape, lengths). Each chunk's bytes are CRC-ed as they are read and
// compared when the chunk is complete; finish() reads what nobody asked for of chunks begun (vocabulary padding) and
// verifies them too. Thread-safe. Errors: kBadInput "file: key: what (numbers)".
class DcpReader {
 public:
  DcpReader(FileSystem& fs, const Path& dist_dir, const DcpMetadata& metadata);
  ~DcpReader();
  // Bytes [begin, begin + out.size()) of tensor `index` (into metadata.tensors), both multiples of the element size.
  void read(size_t index, int64_t begin, std::span<std::byte> out);
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bridge
