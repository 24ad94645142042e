// The plan of convert-hf: every output item, its sources, its dtype and its final byte offset, from headers
// and configuration alone. Pure: no I/O. Whatever can be refused is refused here.
//
//   1. match        the table's logical tensors against the source's tensors, exactly once (source_match.h)
//   2. place        each logical tensor gets its key, its place in a stacked tensor, and its natural chunks:
//                   one, or two for [gate; up], as megatron-core writes them
//   3. lay out      items in order of the source's bytes, file after file, at most file_size each
//   4. configure    common.pt and run_config.yaml (configuration_files.h)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/match/key_naming.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/options.h"
#include "bridge/convert/plan/configuration_files.h"
#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

struct ConvertPlan {
  KeyStyle style;
  int64_t vocab_rows = 0;  // of word_embeddings, 0: the table has no such tensor
  SourceMatch match;
  std::vector<std::string> names;   // logical tensors, by Transfer::target
  std::vector<Transfer> transfers;  // one an item, in file order
  struct Item {
    int32_t tensor;  // index into tensors
    int32_t chunk;   // into its chunks
  };
  std::vector<Item> items;         // parallel to transfers
  std::vector<DcpTensor> tensors;  // by key
  std::vector<DcpObject> objects;  // _extra_state, all sharing one range
  std::vector<std::string> files;
  std::vector<int64_t> file_sizes;
  std::string extra_state_item;     // its bytes, at offset 0 of file 0
  int64_t output_bytes = 0;         // of tensors, without headers
  bool stacks = false;              // some key holds the layers of a family
  bool converts = false;            // some tensor is cast, dequantized or shifted
  Dtype main_dtype = Dtype::kBF16;  // of most bytes written, for the configuration
  ConfigurationFiles configuration;
};

// Errors: kBadInput where the source and the table do not agree (names listed), kUsage for options that do
// not fit the model, kUnsupported.
ConvertPlan plan_convert(const HfFolder& source, const mappings::Binding& binding,
                         const ConvertOptions& options, MemoryBudget& budget);

// The dtype a logical tensor is written in.
Dtype target_dtype(const mappings::Row& row, Dtype source, std::optional<Dtype> asked);

// The rows a vocabulary tensor has on the Megatron side. Fewer than the source's: usage error.
int64_t target_vocab_rows(const mappings::LogicalTensor& tensor, int64_t asked);

}  // namespace bridge
