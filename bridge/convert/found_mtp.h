// MTP depths of a checkpoint whose config.json does not count them, by the tensors that are there.
#pragma once

#include <cstdint>

#include "bridge/convert/tensor_reader.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/torch_dist.h"
#include "mappings/table.h"

namespace bridge {

int64_t found_mtp_depths(const HfFolder& folder, const mappings::Binding& binding);
int64_t found_mtp_depths(const MegatronFolder& folder, const mappings::Binding& binding);

}  // namespace bridge
