// Byte ranges of the tensors of a torch_dist checkpoint, read across chunks with the CRCs verified.
//
//   1. A tensor is addressed as one row-major array. A range of it is cut at the chunks
//      (dcp_geometry.h); the part in one chunk is one read: straight into the caller's buffer or,
//      where the chunk cuts an inner axis, in bounded pieces that are then scattered row by row.
//   2. A chunk's item (a torch.save archive) is parsed when the chunk is first touched and must
//      agree with `.metadata` in dtype and shape.
//   3. The CRC of an item is combined from the pieces as they are read, in any order, and compared
//      with the archive's when the last piece has arrived. finish() reads the bytes that read() did
//      not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bridge/io/file/file_system.h"
#include "bridge/io/file/range_crc.h"
#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

// Thread-safe. metadata must outlive the reader. Memory: about 40 bytes a chunk (counted when
// `.metadata` was read), at most 64 open files, and 1 MiB during a call that scatters. Errors:
// kBadInput "file: key: what (numbers)".
class DcpReader {
 public:
  DcpReader(FileSystem& fs, const Path& dist_dir, const DcpMetadata& metadata);
  ~DcpReader();
  DcpReader(const DcpReader&) = delete;
  DcpReader& operator=(const DcpReader&) = delete;

  // Reads bytes [begin, begin + out.size()) of tensor `index` (into metadata.tensors), both
  // multiples of the element size. Bytes may be read again; they count once.
  void read(size_t index, int64_t begin, std::span<std::byte> out);

  // Completes and verifies every item that read() has touched: it reads the bytes that no call has
  // read (vocabulary padding, storages larger than their tensor).
  void finish();

  // Returns what was read of the items that are not verified yet: parts of their storage records,
  // by item and offset. Items are numbered through all tensors and chunks. Call it while no thread
  // reads.
  std::vector<NumberedPart> open_parts() const;
  // Returns the numbers of the items without CRCs that were touched since the last call. Call it
  // while no thread reads.
  std::vector<int64_t> take_without_crc();
  // Takes up what other readers of the same checkpoint read. Call it before read(). Reports
  // kBadInput for parts that do not fit, and for numbers that no item has.
  void restore(const std::vector<NumberedPart>& parts, const std::vector<int64_t>& without_crc);

  // The number of touched items that were written without CRCs: their bytes cannot be verified.
  int64_t items_without_crc() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bridge
