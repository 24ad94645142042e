// Whether the multi-token prediction layers that config.json promises are there, and no others: a checkpoint that
// is silent about them loads, and trains them from random weights.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/hf_folder.h"
#include "bridge/io/torch_dist.h"
#include "mappings/table.h"

namespace bridge {

// The tensors whose names start with prefix, which are neighbours.
std::span<const HfTensor> tensors_with_prefix(const HfFolder& folder, std::string_view prefix);
std::span<const DcpTensor> tensors_with_prefix(const MegatronFolder& folder,
                                               std::string_view prefix);

// The prefixes under which MTP tensors lie. Unless they are to be dropped, those must be the promised ones: else
// kBadInput, naming --mtp drop; on the Hugging Face side more of them may be left to a rule of the table
// (uncounted_mtp.h). What is to be dropped must be MTP, not a layer that config.json does not count.
std::vector<std::string> check_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                   size_t dialect, bool keep_mtp);
std::vector<std::string> check_mtp(const MegatronFolder& folder, const mappings::Binding& binding,
                                   std::string_view key_prefix, bool keep_mtp);

}  // namespace bridge
