// The journal records how far a run got, so that another run can go on. It lies beside the lock
// file. It cannot lie in the partial folder, which holds the old output after an exchange.
//
//   1. 8 bytes "CSWYJRN1"
//   2. a block HEAD: the inodes of the partial folders, the number of transfers in the plan, the
//      range of them that this journal covers, and the facts of the plan (plan_facts.h)
//   3. blocks MARK, one for each watermark: all transfers below `next` are durable
// A block is its kind (4 bytes), the length of its payload (u64), the CRC-32 of kind, length and
// payload (u32), and the payload. Numbers are little-endian. The first torn or damaged block ends
// the journal; the blocks before it count. docs/formats.md lists the payloads. The format is
// Causeway's own (format 1). The reader trusts nothing: it checks every number against the file,
// and its caller checks the rest against the plan and the partial folder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/commit/plan_facts.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/range_crc.h"
#include "bridge/io/sidecar/witness_file.h"

namespace bridge {

struct JournalHeader {
  std::vector<uint64_t> folders;  // inodes of the partial folders; no device, which a mount changes
  int64_t transfers = 0;          // of the plan
  int64_t first = 0;              // the journal covers transfers [first, last):
  int64_t last = 0;               // all, or those of one process among several
  PlanFacts facts;
};

struct Watermark {
  int64_t since = 0;    // `next` of the watermark before, or the journal's first
  int64_t next = 0;     // the transfers below are durable
  int64_t bytes = 0;    // of their output, for messages
  int64_t checked = 0;  // written_crc is of the output of transfers [checked, next)
  uint32_t written_crc = 0;
  WitnessWriter::Mark witnesses;      // size 0: there are none
  std::vector<NumberedCrc> complete;  // source tensors read whole since the watermark before
  std::vector<NumberedPart> open;     // what was read of those that were not read whole
  std::vector<int64_t> counts;        // of the verb, for its summary
};

// A watermark with more open parts than this is left out, which keeps the journal small.
constexpr size_t kMostOpenParts = 4096;

struct Journal {
  JournalHeader header;
  std::optional<Watermark> last;  // `complete` is that of all watermarks; nullopt: there is none
  int64_t end = 0;                // of its last whole block
};

// Reads the blocks up to the first torn one. On return the budget is charged for the result.
// Errors: kBadInput if the header is torn or one block contradicts another; kUsage if --memory is
// too small.
Journal read_journal(FileSystem& fs, const Path& path, MemoryBudget& budget);

// Appends to a journal. Not thread-safe.
class JournalWriter {
 public:
  // Creates the file with its header, which becomes durable with the first watermark.
  JournalWriter(FileSystem& fs, const Path& path, const JournalHeader& header);
  // Continues a journal behind its last whole block.
  JournalWriter(FileSystem& fs, const Path& path, int64_t end);

  // The watermark is durable on return. The name of a new file is not.
  void append(const Watermark& mark);

 private:
  void write(std::string_view bytes);

  std::unique_ptr<File> file_;
  int64_t end_ = 0;
};

}  // namespace bridge
