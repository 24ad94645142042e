// Multi-token prediction layers of a checkpoint against those that config.json counts.
//
//   check_mtp         the promised ones are there, and no others
//   found_mtp_depths  how many there are, where config.json does not count them
//   uncounted_mtp     those that nothing promises, where a rule of the table drops them
//
// Whether the multi-token prediction layers that config.json promises are there, and no others: a checkpoint that
// is silent about them loads, and trains them from random weights.
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

// The tensors whose names start with prefix, which are neighbours.
std::span<const HfTensor> tensors_with_prefix(const HfFolder& folder, std::string_view prefix);
std::span<const DcpTensor> tensors_with_prefix(const MegatronFolder& folder,
                                               std::string_view prefix);

// The prefixes under which MTP tensors lie. Unless they are to be dropped, those must be the promised ones: else
// kBadInput, naming --mtp drop; on the Hugging Face side more of them may be left to a rule of the table
// (uncounted_mtp()). What is to be dropped must be MTP, not a layer that config.json does not count.
std::vector<std::string> check_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                   size_t dialect, bool keep_mtp);
std::vector<std::string> check_mtp(const MegatronFolder& folder, const mappings::Binding& binding,
                                   std::string_view key_prefix, bool keep_mtp);

// MTP depths of a checkpoint whose config.json does not count them, by the tensors that are there.
int64_t found_mtp_depths(const HfFolder& folder, const mappings::Binding& binding);
// name_prefix: as asked, where a checkpoint holds two text models.
int64_t found_mtp_depths(const MegatronFolder& folder, const mappings::Binding& binding,
                         const std::optional<std::string>& name_prefix = std::nullopt);

// Those that the table's rows and drops name in depths beyond the promised ones, each with its scales; none where the
// table has no rule for them. What else lies there is not among them.
std::vector<const HfTensor*> uncounted_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                           size_t dialect);

}  // namespace bridge
