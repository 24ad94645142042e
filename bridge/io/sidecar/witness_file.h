// Witnesses: source bytes that the Megatron side cannot give back (bits that a cast loses, tensors
// that a named rule drops), kept in the sidecar so that an export is byte-exact all the same.
//
//   1. 8 bytes "CSWYWIT1"
//   2. records: i64 tensor, i64 byte offset in the source tensor, i64 length, payload
// Numbers are little-endian. tensor is the index in the source's tensors sorted by name; records of
// one tensor do not overlap. The file's CRC is in the sidecar's manifest and is checked when the
// file is opened. The format is Causeway's own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct WitnessRecord {
  int32_t tensor;
  int64_t begin;  // bytes in the source tensor
  int64_t length;
  int64_t offset;  // of the payload in the file
};

// Appends records. The output is the same for any number of threads, because writers take turns by
// ticket.
class WitnessWriter {
 public:
  WitnessWriter(FileSystem& fs, const Path& path);
  // How far a file was written.
  struct Mark {
    int64_t size = 0;
    uint32_t crc = 0;  // of these bytes
  };
  // Continues a file that an earlier run left, and cuts off what lies behind the mark. Reports
  // kBadInput if the bytes before the mark have another CRC.
  WitnessWriter(FileSystem& fs, const Path& path, const Mark& mark);

  struct Piece {
    int32_t tensor;
    int64_t begin;
    std::span<const std::byte> bytes;
  };
  // Blocks until every lower ticket has been written. Every ticket must be written once, empty or
  // not.
  void write(size_t ticket, std::span<const Piece> pieces);
  // Appends without a ticket, from one thread, before or after the ticketed writes.
  void append(const Piece& piece);
  // Appends the records of another file, as far as `mark`, likewise. Reports kBadInput if the bytes
  // before the mark have another CRC.
  void append_file(FileSystem& fs, const Path& path, const Mark& mark);
  // Ends the waits of all writers after an error elsewhere.
  void abort();
  // Hands everything written so far to the file system. Call it while no thread is in write().
  Mark mark();
  // Makes durable what was marked. Other threads may write meanwhile.
  void sync() { file_->sync(); }

  // Makes the whole file durable. Returns its CRC.
  uint32_t finish();

  int64_t size() const { return size_; }

 private:
  std::unique_ptr<File> file_;
  std::mutex mutex_;
  std::condition_variable turn_;
  size_t next_ticket_ = 0;
  bool aborted_ = false;
  int64_t size_ = 0;  // including what is still in the buffer
  uint32_t crc_ = 0;
  std::vector<std::byte> buffer_;  // records are small and many

  void append_bytes(std::span<const std::byte> bytes);
  void flush();
};

// The records of a file, sorted by tensor and begin. tensor_bytes[i] is the size of source tensor
// i. Checks that every record lies inside its tensor and the file, and that the file's CRC is
// `crc`. Errors: kBadInput.
class WitnessIndex {
 public:
  WitnessIndex(FileSystem& fs, const Path& path, const std::vector<int64_t>& tensor_bytes,
               uint32_t crc, MemoryBudget& budget);

  // Returns the records of `tensor` that overlap bytes [begin, end).
  std::span<const WitnessRecord> find(int32_t tensor, int64_t begin, int64_t end) const;
  // True if the records hold the whole tensor.
  bool covers(int32_t tensor, int64_t size) const;
  bool any(int32_t tensor) const;
  // Reads bytes [from, from + out.size()) of a record's payload.
  void read(const WitnessRecord& record, int64_t from, std::span<std::byte> out) const;
  size_t size() const { return records_.size(); }

 private:
  std::unique_ptr<File> file_;
  std::vector<WitnessRecord> records_;
};

}  // namespace bridge
