// See pickle_memo.h.
#include "bridge/io/pickle/pickle_memo.h"

#include <fmt/format.h>

#include "bridge/io/base/heap_cost.h"
#include "bridge/io/pickle/pickle_lexer.h"

namespace bridge {
namespace {

constexpr uint8_t kManyReads = 255;  // or more: the slot is kept to the end

}  // namespace

PickleMemo::PickleMemo(const File& file, int64_t offset, int64_t length, MemoryBudget& budget)
    : memory_(&budget, "pickle memo") {
  PickleLexer lexer(file, offset, length, budget);
  uint64_t puts = 0;
  PickleToken token;
  lexer.next(token);
  if (token.op != PickleOp::kProto) lexer.fail("not a pickle of protocol 2 or later");
  if (token.number < 2 || token.number > 5) {
    lexer.fail(fmt::format("protocol {} is not read", token.number));
  }
  do {
    lexer.next(token);
    lexer.skip_payload(token);
    switch (token.op) {
      case PickleOp::kProto:
        lexer.fail("protocol given twice");
      case PickleOp::kMemoize:
        ++puts;
        break;
      case PickleOp::kBinPut:
      case PickleOp::kLongBinPut:
        if (token.number != puts) {
          lexer.fail(fmt::format("memo slot {} is out of order, {} is next", token.number, puts));
        }
        ++puts;
        break;
      case PickleOp::kBinGet:
      case PickleOp::kLongBinGet:
        if (token.number >= puts) lexer.fail(fmt::format("memo slot {} is not set", token.number));
        while (reads_.size() <= token.number) push_reserved<uint8_t>(reads_, 0, memory_);
        if (reads_[token.number] < kManyReads) ++reads_[token.number];
        break;
      default:
        break;
    }
  } while (token.op != PickleOp::kStop);
  if (!lexer.at_end()) lexer.fail("bytes after the end of the pickle");
}

void PickleMemo::put(const PickleValue& value) {
  const uint64_t slot = size_++;
  if (slot >= reads_.size() || reads_[slot] == 0) return;
  memory_.grow(kHashEntryCost);
  values_.emplace(slot, value);
}

PickleValue PickleMemo::get(uint64_t slot) {
  const auto it = values_.find(slot);
  PickleValue value = it->second;
  if (reads_[slot] != kManyReads && --reads_[slot] == 0) {
    values_.erase(it);
    memory_.shrink_to(memory_.bytes() - kHashEntryCost);
  }
  return value;
}

}  // namespace bridge
