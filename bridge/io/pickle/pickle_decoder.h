// The stack machine of read_pickle: it takes tokens from pickle_lexer.h, keeps the values that will
// be read back according to pickle_memo.h, and builds values with pickle_nodes.h.
//
// The pairs of a watched dict go to its sink when the next key begins (or, where that is not
// certain, when 16 of them lie on the stack), not only at SETITEMS: CPython puts up to 1,000 pairs
// before that, each as large as the list of a tensor's chunks. The stack no longer holds these
// pairs for a later opcode, so a pickle with an opcode that needs them is refused.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bridge/io/base/reservation.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/pickle/pickle_lexer.h"
#include "bridge/io/pickle/pickle_memo.h"
#include "bridge/io/pickle/pickle_nodes.h"

namespace bridge {

class PickleDecoder {
 public:
  PickleDecoder(PickleLexer& lexer, PickleMemo& memo, const PickleOptions& options,
                MemoryBudget& budget)
      : lexer_(lexer),
        memo_(memo),
        options_(options),
        budget_(budget),
        nodes_(lexer, options.max_depth, budget),
        stack_memory_(&budget, "pickle stack"),
        watched_(options.watched_dicts.size()) {}

  PickleValue decode();

 private:
  void step();
  void push(PickleValue value);
  void push_mark();
  int64_t fence() const { return marks_.empty() ? 0 : marks_.back(); }
  void need(int64_t count, int64_t above) const;
  PickleValue pop();
  PickleNode& target_below(int64_t begin);
  int64_t pop_mark();
  PickleValue read_text(PickleNode::Kind kind);
  PickleValue class_node(const std::string& module, const std::string& name);
  void replace_by_tuple(int64_t begin);
  void make_object(bool with_keywords);
  void build();
  // In pickle_filling.cpp; items from stack_[begin] on go to the container below them.
  void append(int64_t begin);
  void set_items(int64_t begin);
  void add_item(PickleNode& target, PickleNode::Kind content, const PickleValue& item,
                int64_t coming);
  void add_pairs(PickleNode& target, std::span<const PickleValue> items,
                 const PickleItemSink* sink);
  void stream_pairs();
  PickleNode& content_of(PickleNode& object, PickleNode::Kind kind);
  const PickleItemSink* sink_of(int64_t dict_index);

  PickleLexer& lexer_;
  PickleMemo& memo_;
  const PickleOptions& options_;
  MemoryBudget& budget_;
  PickleNodes nodes_;
  Reservation stack_memory_;
  PickleToken token_;
  std::vector<PickleValue> stack_;
  std::vector<int64_t> marks_;        // stack sizes
  std::vector<PickleValue> watched_;  // the dict found for each watch

  // The watched dict that is being filled, whose pairs go to the sink before its SETITEMS.
  struct {
    const PickleItemSink* sink = nullptr;
    int64_t mark = 0;
    // True once pairs have left the stack: only SETITEMS may take the others.
    bool begun = false;
  } stream_;
};

}  // namespace bridge
