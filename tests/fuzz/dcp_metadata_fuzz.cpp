// `.metadata`: chunks of what is accepted refer to files of the checkpoint and lie inside their
// tensor, and the metadata written from it reads back with the same chunks.
#include "bridge/io/torch_dist/dcp_metadata.h"
#include "tests/fuzz/fuzz.h"

void fuzz_one(std::string_view input) {
  fuzz::accepts([&] {
    bridge::MemoryBudget budget(fuzz::kMemory);
    const fuzz::MemoryFile file{std::string(input)};
    const bridge::DcpMetadata metadata = bridge::read_dcp_metadata(file, budget);
    const auto file_count = static_cast<int64_t>(metadata.files.size());
    for (const auto& tensor : metadata.tensors) {
      for (const auto& chunk : tensor.chunks) {
        fuzz::require(chunk.file >= 0 && chunk.file < file_count);
        fuzz::require(chunk.offset >= 0 && chunk.length >= 0);
        fuzz::require(chunk.offsets.size() == tensor.shape.size());
        fuzz::require(chunk.sizes.size() == tensor.shape.size());
        for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
          fuzz::require(chunk.offsets[axis] >= 0 && chunk.sizes[axis] >= 0);
          fuzz::require(chunk.sizes[axis] <= tensor.shape[axis] - chunk.offsets[axis]);
        }
      }
    }

    std::string written;
    bridge::write_dcp_metadata(metadata.files, metadata.tensors, metadata.objects,
                               [&](std::string_view piece) { written += piece; });
    bridge::MemoryBudget again_budget(fuzz::kMemory);
    const fuzz::MemoryFile again_file{std::move(written)};
    const bridge::DcpMetadata again = bridge::read_dcp_metadata(again_file, again_budget);
    fuzz::require(again.tensors.size() == metadata.tensors.size());
    for (size_t i = 0; i < metadata.tensors.size(); ++i) {
      fuzz::require(again.tensors[i].key == metadata.tensors[i].key);
      fuzz::require(again.tensors[i].chunks.size() == metadata.tensors[i].chunks.size());
    }
  });
}
