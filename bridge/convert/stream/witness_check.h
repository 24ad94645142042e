// Both ends of a conversion's exactness.
//
// convert: what was cast or dequantized is turned back; elements that do not return bit for bit are witnesses. Runs of
// them that lie close together become one piece (the elements between are right either way).
// export: a witness is used iff the forward conversion of its bytes is what the checkpoint still holds, so trained
// weights win over old bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "bridge/convert/stream/executor.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/sidecar/witness_file.h"

namespace bridge {

// For ExecutorHooks::on_slice of a conversion: writes the slice's witnesses, in ticket order.
void write_witnesses(const SliceView& slice, WitnessWriter& writer);

// For ExecutorHooks::on_slice of an export whose targets are tensors of the sidecar's source: replaces elements
// of the results by their witnesses. tensor is the target's index there. Returns how many became other than they were.
int64_t apply_witnesses(const SliceView& slice, int32_t tensor, const WitnessIndex& witnesses);

// For ExecutorHooks::on_kept_codes: replaces a code by the one the source had where its dequantization is the value.
// Returns how many bytes of codes changed.
int64_t apply_source_codes(const KeptCodes& kept, std::span<const std::byte> source_codes);

// The same for the codes of source tensor `tensor` that the sidecar's witnesses hold.
int64_t apply_code_witnesses(const KeptCodes& kept, int32_t tensor, const WitnessIndex& witnesses);

}  // namespace bridge
