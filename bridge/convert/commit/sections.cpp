#include "bridge/convert/commit/sections.h"

#include <algorithm>

namespace bridge {
namespace {

struct Piece {
  TransferRange range;
  int64_t journal;
  int64_t bytes;
};

}  // namespace

std::vector<int64_t> cuts_at_files(
    size_t transfers, size_t files,
    const std::function<void(size_t transfer, std::vector<size_t>& into)>& files_of) {
  std::vector<size_t> last_use(files, 0);
  std::vector<size_t> into;
  for (size_t i = 0; i < transfers; ++i) {
    into.clear();
    files_of(i, into);
    for (const size_t file : into) last_use[file] = i;
  }
  std::vector<int64_t> cuts;
  size_t open_until = 0;  // the last transfer that writes into a file begun so far
  for (size_t i = 0; i < transfers; ++i) {
    if (i > open_until) cuts.push_back(static_cast<int64_t>(i));
    into.clear();
    files_of(i, into);
    open_until = std::max(open_until, i);
    for (const size_t file : into) open_until = std::max(open_until, last_use[file]);
  }
  return cuts;
}

std::vector<std::vector<Section>> share_out(
    int64_t transfers, const std::vector<TransferRange>& done, const std::vector<int64_t>& cuts,
    int processes, const std::function<int64_t(const TransferRange&)>& bytes) {
  std::vector<Piece> pieces;
  int64_t total = 0;
  const auto add_gap = [&](int64_t first, int64_t last, int64_t journal) {
    while (first < last) {
      const auto cut = std::upper_bound(cuts.begin(), cuts.end(), first);
      const int64_t end = cut == cuts.end() ? last : std::min(*cut, last);
      pieces.push_back({{first, end}, journal, bytes({first, end})});
      total += pieces.back().bytes;
      first = journal = end;
    }
  };
  int64_t end = 0;      // of the range before
  int64_t journal = 0;  // that a piece beginning there continues
  for (const TransferRange& range : done) {
    add_gap(end, range.first, journal);
    end = range.last;
    journal = range.first;
  }
  add_gap(end, transfers, journal);

  std::vector<std::vector<Section>> shares(static_cast<size_t>(processes));
  int64_t before = 0;
  for (const Piece& piece : pieces) {
    // The process in whose part of all bytes the middle of the piece lies.
    const int64_t middle = before + piece.bytes / 2;
    const int64_t process =
        total == 0 ? 0 : std::min<int64_t>(processes - 1, middle * processes / total);
    std::vector<Section>& share = shares[static_cast<size_t>(process)];
    if (!share.empty() && share.back().last == piece.range.first &&
        piece.journal == piece.range.first) {
      share.back().last = piece.range.last;
    } else {
      share.push_back({piece.range.first, piece.range.last, piece.journal});
    }
    before += piece.bytes;
  }
  return shares;
}

}  // namespace bridge
