// Which transfers each of several processes writes. Pure.
//
//   1. A cut is a place between two transfers such that no file is written on both sides of it, so
//      that two processes never write into one file.
//   2. What earlier runs have written are ranges of transfers, one for each journal. Between them
//      are gaps. No file has two gaps: a range begins at a cut or where another one ended.
//   3. The gaps are cut into pieces, and each process gets pieces that follow each other, of about
//      as many bytes as the others get. A piece that begins where a journal ended continues that
//      journal; others begin one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace bridge {

// Transfers [first, last).
struct TransferRange {
  int64_t first = 0;
  int64_t last = 0;
};

// A range that one process writes, and the first transfer of the journal that it belongs to.
struct Section {
  int64_t first = 0;
  int64_t last = 0;
  int64_t journal = 0;
};

// Returns the cuts between `transfers` transfers, ascending, without 0 and the end. files_of
// appends the numbers (below `files`) of the files that a transfer writes into.
std::vector<int64_t> cuts_at_files(
    size_t transfers, size_t files,
    const std::function<void(size_t transfer, std::vector<size_t>& into)>& files_of);

// done: ascending, without overlaps. bytes: of the output of a range. Returns the sections of each
// of `processes` processes; some may have none.
std::vector<std::vector<Section>> share_out(
    int64_t transfers, const std::vector<TransferRange>& done, const std::vector<int64_t>& cuts,
    int processes, const std::function<int64_t(const TransferRange&)>& bytes);

}  // namespace bridge
