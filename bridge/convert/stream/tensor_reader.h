// Where the bytes of dense row-major tensors come from, whatever the format: the executor asks for byte
// ranges of tensors by index and knows nothing else about the source.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bridge/convert/match/key_naming.h"
#include "bridge/io/file/file_pool.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {

class TensorReader {
 public:
  virtual ~TensorReader() = default;
  // Bytes [begin, begin + out.size()) of tensor `index`. Thread-safe. Errors: kBadInput, kIo.
  virtual void read(size_t index, int64_t begin, std::span<std::byte> out) = 0;
  // Called once after the last read: a reader that can verify what it read does so here.
  virtual void finish() {}
};

// Tensors of a Hugging Face folder, by their index in HfFolder::tensors.
class HfReader : public TensorReader {
 public:
  HfReader(FileSystem& fs, const HfFolder& folder);
  void read(size_t index, int64_t begin, std::span<std::byte> out) override;

 private:
  const HfFolder& folder_;
  FilePool files_;
};

// Logical tensors of a Megatron checkpoint: each is stretches of raw tensors laid end to end.
class MegatronReader : public TensorReader {
 public:
  MegatronReader(FileSystem& fs, const MegatronFolder& folder,
                 std::vector<std::vector<RawStretch>> logical);
  void read(size_t index, int64_t begin, std::span<std::byte> out) override;
  void finish() override { reader_.finish(); }
  // Items read whose CRCs were never written: nothing could be verified.
  int64_t items_without_crc() const { return reader_.items_without_crc(); }

 private:
  DcpReader reader_;
  std::vector<std::vector<RawStretch>> logical_;
};

}  // namespace bridge
