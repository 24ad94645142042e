// Reads the bytes of dense row-major tensors, whatever the format. The executor asks for byte
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
  // Reads bytes [begin, begin + out.size()) of tensor `index`. Thread-safe. Errors: kBadInput, kIo.
  virtual void read(size_t index, int64_t begin, std::span<std::byte> out) = 0;
  // Called once after the last read. A reader that can verify what it read does so here.
  virtual void finish() {}
};

// Reads tensors of a Hugging Face folder by their index in HfFolder::tensors.
class HfReader : public TensorReader {
 public:
  HfReader(FileSystem& fs, const HfFolder& folder);
  void read(size_t index, int64_t begin, std::span<std::byte> out) override;

 private:
  const HfFolder& folder_;
  FilePool files_;
};

// Reads logical tensors of a Megatron checkpoint. Each consists of stretches of raw tensors, end to
// end.
class MegatronReader : public TensorReader {
 public:
  MegatronReader(FileSystem& fs, const MegatronFolder& folder,
                 std::vector<std::vector<RawStretch>> logical);
  void read(size_t index, int64_t begin, std::span<std::byte> out) override;
  void finish() override { reader_.finish(); }
  // The number of items that were read but could not be verified, because they carry no CRC.
  int64_t items_without_crc() const { return reader_.items_without_crc(); }
  // What is needed to go on where another reader stopped: see dcp_reader.h.
  DcpReader& items() { return reader_; }

 private:
  DcpReader reader_;
  std::vector<std::vector<RawStretch>> logical_;
};

}  // namespace bridge
