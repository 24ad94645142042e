// Boxes in a row-major tensor: the chunks of a distributed checkpoint as regions of the whole
// tensor.
//
//   1. The elements of a chunk have the same relative order in the chunk as in the tensor (both are
//      row-major). So the elements that a contiguous range of the tensor shares with a chunk are
//      one contiguous range of the chunk: one read, however the chunk cuts the axes.
//   2. In the tensor that range is a sequence of runs; a run ends where an inner axis is cut.
//   3. Chunks tile a tensor iff each lies inside, their volumes add up to the tensor's, and no two
//      overlap.
#pragma once

#include <cstdint>
#include <vector>

#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

// Errors: kBadInput with the bare fact (rank, outside, gap, overlap). No chunk may be empty.
void check_tiling(const Shape& shape, const std::vector<DcpChunk>& chunks);

// The index in the tensor of the chunk's first element, and the number of elements from there to
// its last, both included.
int64_t first_element(const Shape& shape, const DcpChunk& chunk);
int64_t element_span(const Shape& shape, const DcpChunk& chunk);

// The number of elements of the chunk whose index in the tensor is below limit.
int64_t elements_before(const Shape& shape, const DcpChunk& chunk, int64_t limit);

// The number of elements of the chunk that are also neighbours in the tensor; runs start at
// multiples of it.
int64_t run_length(const Shape& shape, const DcpChunk& chunk);

// Index in the tensor of element number `element` of the chunk.
int64_t element_index(const Shape& shape, const DcpChunk& chunk, int64_t element);

}  // namespace bridge
