// The states of both sides between two decoder layers as a safetensors file: what one process hands
// to the one that has the next layers.
//
//   a.hidden, b.hidden                      the residual stream, as stored
//   a.index.T.q, .keys, .weights            of an index that layers share (ForwardState::indices),
//                                           T: the first token of its sequence; b. likewise
// The metadata `launch` says to which launch the file belongs.
#pragma once

#include <optional>
#include <string>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/compare/forward_comparison.h"

namespace models {

// Writes the file whole or not at all; it replaces one that is there. Tensors may be on any device.
// Error: kIo.
void write_states(bridge::FileSystem& fs, const bridge::Path& path, const std::string& launch,
                  const LayerStates& states);

// Returns the states, on the CPU; nullopt if the file is missing or belongs to another launch.
// Errors: kIo; kBadInput for a file that write_states() did not write.
std::optional<LayerStates> read_states(bridge::FileSystem& fs, const bridge::Path& path,
                                       const std::string& launch, bridge::MemoryBudget& budget);

}  // namespace models
