// The journal records how far a run got, so that another run can go on. It lies beside the lock
// file. It cannot lie in the partial folder, which holds the old output after an exchange.
//
//   1. 8 bytes "CSWYJRN1"
//   2. a block HEAD: the inodes of the partial folders, the number of transfers in the plan, the
//      first of them that this journal covers, and the facts of the plan (plan_facts.h)
//   3. blocks MARK, one for each watermark: all transfers from the first up to `next` are durable
//   4. a block DONE, if everything else is durable too and two folders are about to be renamed
// The blocks are those of blocks.h. The first torn or damaged one ends the journal; those before it
// count. docs/formats.md lists the payloads. The format is Causeway's own (format 2). The reader
// trusts nothing: it checks every number against the file, and its caller checks the rest against
// the plan and the partial folder.
//
// A run of one process has one journal. Several processes keep one each, and the journals of an
// output cover ranges that do not overlap, however often it was resumed (sections.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/commit/plan_facts.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/range_crc.h"
#include "bridge/io/launch/blocks.h"
#include "bridge/io/sidecar/witness_file.h"

namespace bridge {

struct JournalHeader {
  std::vector<uint64_t> folders;  // inodes of the partial folders; no device, which a mount changes
  int64_t transfers = 0;          // of the plan
  int64_t first = 0;              // transfer that the journal begins with
  PlanFacts facts;
};

struct Watermark {
  int64_t since = 0;    // `next` of the watermark before, or the journal's first
  int64_t next = 0;     // the transfers below are durable
  int64_t bytes = 0;    // of the output from the journal's first on, for messages
  int64_t checked = 0;  // written_crc is of the output of transfers [checked, next)
  uint32_t written_crc = 0;
  WitnessWriter::Mark witnesses;  // size 0: there are none
  // Since the watermark before: source tensors that were read whole; in an export, items of the
  // checkpoint that have no CRC and were touched (crc: 0).
  std::vector<NumberedCrc> complete;
  std::vector<NumberedPart> open;  // what was read of those that were not read whole
  std::vector<int64_t> counts;     // of the verb, for its summary
};

// A watermark with more open parts than this is left out, which keeps the journal small, unless it
// ends the part of a process: then another process needs it.
constexpr size_t kMostOpenParts = 4096;

struct Journal {
  JournalHeader header;
  std::optional<Watermark> last;  // `complete` is that of all watermarks; nullopt: there is none
  bool is_done = false;           // its last block is DONE
  int64_t end = 0;                // of its last whole block
  int64_t memory = 0;             // what the budget is charged for it
};

// The payload of a block HEAD, and back. launch.h uses it too. Error: kBadInput.
std::string header_payload(const JournalHeader& header);
JournalHeader parse_header(Payload payload);

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
  void append_done();

 private:
  void write(std::string_view bytes);

  std::unique_ptr<File> file_;
  int64_t end_ = 0;
};

}  // namespace bridge
