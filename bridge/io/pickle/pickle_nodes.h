// Makes the nodes of a decoded pickle, charged to a budget while they live, and shares equal ones.
//
//   1. A node costs its size and the heap blocks of its text and items; its allocator gives that
//      back.
//   2. None, True, False and () exist once; ints and small tuples of ints (the shapes and offsets
//      that fill checkpoint metadata) are shared through caches of fixed size.
//   3. adopt() puts a node into another one, and keeps height, weight and closed right.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/pickle/pickle_lexer.h"

namespace bridge {

class PickleNodes {
 public:
  // Failures are reported at the last token of lexer.
  PickleNodes(const PickleLexer& lexer, int max_depth, MemoryBudget& budget);

  PickleValue none() const { return none_; }
  PickleValue boolean(bool value) const { return value ? true_ : false_; }
  PickleValue integer(int64_t value);
  // Makes an integer from little-endian two's complement: kInt if 8 bytes hold it, else kBigInt.
  PickleValue integer(std::string bytes);
  PickleValue real(double value);
  PickleValue text(PickleNode::Kind kind, std::string text);
  PickleValue tuple(std::span<const PickleValue> items);
  // Makes a node of any other kind.
  PickleValue make(PickleNode::Kind kind, std::span<const PickleValue> items = {});

  // Appends child to the items of parent, which must not be closed. Makes room for `coming` items
  // first.
  void adopt(PickleNode& parent, const PickleValue& child, int64_t coming = 1);
  // Updates parent after `added` was appended to its last item.
  void item_grew(PickleNode& parent, const PickleValue& added);

 private:
  void make_room(PickleNode& node, int64_t coming);
  void measure(PickleNode& parent, const PickleNode& child, int levels);

  const PickleLexer& lexer_;
  int max_depth_;
  MemoryBudget& budget_;
  Reservation memory_;  // of the caches
  PickleValue none_, true_, false_, empty_tuple_;
  // By hash of the value; a new integer replaces the one in its slot.
  std::vector<PickleValue> integers_;
  std::vector<PickleValue> tuples_;  // by hash of the items' addresses
};

}  // namespace bridge
