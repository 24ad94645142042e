// The plan of export-to-hf: every tensor of every output shard, where its bytes come from, its
// dtype and its final offset. Pure but for the headers it was given.
//
//   1. match        the checkpoint's tensors against the table, exactly once (checkpoint_match.h)
//   2. name         each HF part becomes an output, in the dialect of the origin. A part that was
//                   quantized gets its scales beside it. Duplicates and tensors that a rule dropped
//                   come back where the origin had them, and so do the parts of a multimodal model
//                   that the checkpoint was made without (part_origin.h). With --parts text these
//                   are left out, and the names are those of the table's text form
//   3. shards       the origin's shard map; a shard whose tensors are all unchanged keeps its
//                   header verbatim. Without an origin, or with --max-shard-size, new shards
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/match/accounting.h"
#include "bridge/convert/match/checkpoint_match.h"
#include "bridge/convert/match/origin.h"
#include "bridge/convert/options.h"

namespace bridge {

struct ExportPlan {
  struct Output {
    std::string name;
    Dtype dtype;
    Shape shape;
    int32_t sidecar_tensor = -1;  // the sidecar tensor of this name
    // The sidecar tensor whose witnesses apply: this one, or the one it is a copy of; -1: none.
    int32_t witnesses_of = -1;
    int32_t shard = -1;
    int64_t begin = 0;  // in the shard's payload
  };
  struct Shard {
    std::string name;
    int32_t verbatim = -1;         // the shard of the origin whose header is kept; -1: a new header
    std::vector<int32_t> outputs;  // in order of begin
    int64_t payload_offset = 0;
    int64_t size = 0;  // of the file
  };
  // A tensor that is read for its bytes.
  struct Input {
    enum class Of : uint8_t {
      kCheckpoint,
      kSidecar,  // the bytes are witnesses
      kReference,
    };
    Of of = Of::kCheckpoint;
    std::vector<RawStretch> stretches;  // of the checkpoint
    int32_t tensor = -1;                // index in the sidecar's source or in the reference
  };
  std::vector<Input> inputs;        // by the tensor indices that transfers use
  std::vector<Output> outputs;      // by Transfer::target
  std::vector<Transfer> transfers;  // in order of shard and begin
  std::vector<Shard> shards;
  bool index_verbatim = false;  // the origin's index file is right as it is
  bool needs_index = false;     // if it is not: whether to write a new one
  int64_t hf_vocab_rows = 0;    // 0: as the configuration says
  int64_t quantized = 0;        // outputs that are quantized again
  int64_t dequantized = 0;      // tensors that the origin has quantized and --dtype does not
  CheckpointMatch match;        // what the export leaves out of the checkpoint
  bool text_form = false;       // the text model of a multimodal one, on its own
  size_t dialect = 0;           // of the origin's names
  int64_t output_bytes = 0;
  // Matrices that are written plain and that the origin has not, or not under these names.
  std::vector<std::string> new_matrices;
  std::vector<NamedReason> left_out;  // tensors of the origin that cannot be made
  // Tensors that Megatron does not have, written as the origin holds them.
  std::vector<NamedReason> put_back;
  std::vector<std::string> warnings;
};

ExportPlan plan_export(const MegatronFolder& checkpoint, const mappings::Binding& binding,
                       const Origin& origin, const ExportOptions& options, FileSystem& fs,
                       MemoryBudget& budget);

// The header bytes of a new shard.
std::string new_header(const ExportPlan& plan, const ExportPlan::Shard& shard);

}  // namespace bridge
