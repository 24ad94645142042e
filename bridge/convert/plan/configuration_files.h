// The two files that say how a Megatron model is built, as bytes: common.pt with Megatron-LM's arguments, and Megatron-Bridge's
// run_config.yaml. They belong to the plan, so that a configuration that cannot be written is refused before a byte is copied.
//
//   1. the table's megatron_config is evaluated, and the choices that Megatron models share are added
//   2. common.pt: a dict of checkpoint_version 3.0, iteration, content_metadata and args, as a protocol-2 pickle
//   3. run_config.yaml: the same fields as text
// Truth: megatron/training/checkpointing.py, megatron/core/dist_checkpointing (0.16.1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/convert/options.h"
#include "bridge/io/number/dtype.h"
#include "mappings/binding/binding.h"

namespace bridge {

struct ConfigurationFiles {
  std::string common_pt;
  std::string run_config;
  std::vector<std::string> warnings;  // fields that one of the two cannot hold
};

// What the configuration says of the weights that are written.
struct WrittenModel {
  Dtype main_dtype = Dtype::kBF16;
  int64_t vocab_rows = 0;            // of word_embeddings, 0: the table has no such tensor
  bool asks_for_each_layer = false;  // no key holds the layers of a family
};

// Errors: kBadInput where a field cannot be evaluated or has no place in the files.
ConfigurationFiles make_configuration_files(const mappings::Binding& binding,
                                            const ConvertOptions& options,
                                            const WrittenModel& model);

}  // namespace bridge
