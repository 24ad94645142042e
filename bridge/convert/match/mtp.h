// Compares the multi-token prediction layers of a checkpoint with those that config.json counts. A
// checkpoint that lacks promised layers would load and train them from random weights.
//
//   check_mtp         requires the promised depths, and no others
//   found_mtp_depths  counts the depths where config.json does not
//   uncounted_mtp     lists depths that nothing promises, where a rule of the table drops them
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"

namespace bridge {

// Returns the tensors whose names start with prefix; they are neighbours.
std::span<const HfTensor> tensors_with_prefix(const HfFolder& folder, std::string_view prefix);
std::span<const DcpTensor> tensors_with_prefix(const MegatronFolder& folder,
                                               std::string_view prefix);

// Returns the prefixes of the MTP tensors. With keep_mtp the depths must be the promised ones; on
// the Hugging Face side a rule of the table may drop further ones (uncounted_mtp()). Without
// keep_mtp the tensors must be MTP, not a layer that config.json does not count. Errors: kBadInput;
// the hint names --mtp drop where that helps.
std::vector<std::string> check_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                   size_t dialect, bool keep_mtp);
std::vector<std::string> check_mtp(const MegatronFolder& folder, const mappings::Binding& binding,
                                   std::string_view key_prefix, bool keep_mtp);

// Counts the MTP depths of a checkpoint by its tensors, for a config.json that does not count them.
int64_t found_mtp_depths(const HfFolder& folder, const mappings::Binding& binding);
// name_prefix: the user's choice, where a checkpoint holds two text models.
int64_t found_mtp_depths(const MegatronFolder& folder, const mappings::Binding& binding,
                         const std::optional<std::string>& name_prefix = std::nullopt);

// Returns the tensors that the table's rows and drops name in depths beyond the promised ones, each
// with its scales, but no other tensors there. Returns none if the table has no rule for them.
std::vector<const HfTensor*> uncounted_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                           size_t dialect);

}  // namespace bridge
