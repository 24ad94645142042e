// Both ends of a cast's exactness.
//
// convert: after a cast the slice is cast back; elements that do not return bit for bit are witnesses. Runs of them that lie
// close together become one piece (the elements between are right either way).
// export: a witness is used iff the forward cast of its bytes is what the checkpoint still holds, so trained
// weights win over old bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "bridge/convert/executor.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/witness_file.h"

namespace bridge {

// For ExecutorHooks::on_slice of a conversion: writes the slice's witnesses, in ticket order.
void write_witnesses(const SliceView& slice, WitnessWriter& writer);

// For ExecutorHooks::on_slice of an export whose targets are tensors of the sidecar's source: replaces elements
// of slice.output by their witnesses. tensor is the target's index there.
void apply_witnesses(const SliceView& slice, int32_t tensor, const WitnessIndex& witnesses);

}  // namespace bridge
