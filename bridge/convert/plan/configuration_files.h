// Makes the two files that say how a Megatron model is built: common.pt with Megatron-LM's
// arguments, and Megatron-Bridge's run_config.yaml. The plan makes them, so that a configuration
// that cannot be written is refused before a byte is copied. Only the id in common.pt comes later,
// because it is a hash of what was copied (commit/conversion_id.h).
//
//   1. Evaluate the table's megatron_config and add the choices that Megatron models share.
//   2. common.pt: pickle (protocol 2) a dict of checkpoint_version 3.0, iteration,
//      content_metadata, the id and args.
//   3. run_config.yaml: write the same fields as text.
//
// Truth: megatron/training/checkpointing.py, megatron/core/dist_checkpointing (0.16.1).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/options.h"
#include "bridge/io/number/dtype.h"
#include "mappings/binding/binding.h"

namespace bridge {

// The content of common.pt beside the id.
struct CommonState {
  mappings::Json args;
  mappings::Json content_metadata;
};

struct ConfigurationFiles {
  CommonState common;
  std::string run_config;
  std::vector<std::string> warnings;  // fields that one of the two cannot hold
};

// The facts about the written weights that the configuration states.
struct WrittenModel {
  Dtype main_dtype = Dtype::kBF16;
  int64_t vocab_rows = 0;            // of word_embeddings; 0: the table has no such tensor
  bool asks_for_each_layer = false;  // no key holds the layers of a family
};

// Errors: kBadInput if a field cannot be evaluated or has no place in the files.
ConfigurationFiles make_configuration_files(const mappings::Binding& binding,
                                            const ConvertOptions& options,
                                            const WrittenModel& model);

// Returns the bytes of common.pt. A state from make_configuration_files() can be written with any
// id.
std::string common_pt(const CommonState& common, std::string_view id);

}  // namespace bridge
