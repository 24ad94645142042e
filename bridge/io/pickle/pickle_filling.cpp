// Fills the containers of pickle_decoder.h: lists and sets, dicts, subclasses of these, and watched
// dicts.
#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/pickle/pickle_decoder.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

// Keys and values of a watched dict: how many go to the sink at a time, and how many stay behind.
constexpr int64_t kStreamedItems = 16;
constexpr int64_t kKeptItems = 16;

}  // namespace

// The list or dict that the items of an object (a subclass of list or dict) go to.
PickleNode& PickleDecoder::content_of(PickleNode& object, NodeKind kind) {
  if (object.items.size() == 2) nodes_.adopt(object, nodes_.none());
  if (object.items.size() == 3) {
    const PickleValue content = nodes_.make(kind);
    nodes_.adopt(object, content);
    content->closed = false;  // the object is its only owner
  }
  PickleNode& content = *object.items[3];
  if (object.closed || content.kind != kind) lexer_.fail("cannot add items to this object");
  return content;
}

// Adds an item to a container, or to the list or dict (content) of an object.
void PickleDecoder::add_item(PickleNode& target, NodeKind content, const PickleValue& item,
                             int64_t coming) {
  if (target.kind != NodeKind::kObject) {
    nodes_.adopt(target, item, coming);
    return;
  }
  item->closed = true;  // before content_of looks at the object: it may be the item itself
  nodes_.adopt(content_of(target, content), item, coming);
  nodes_.item_grew(target, item);
}

void PickleDecoder::append(int64_t begin) {
  PickleNode& target = target_below(begin);
  const bool adds = token_.op == PickleOp::kAddItems;
  const bool is_object = target.kind == NodeKind::kObject && !adds;
  if (!is_object && target.kind != (adds ? NodeKind::kSet : NodeKind::kList)) {
    lexer_.fail(adds ? "not a set" : "not a list");
  }
  const std::span items = std::span(stack_).subspan(static_cast<size_t>(begin));
  for (const PickleValue& item : items) add_item(target, NodeKind::kList, item, std::ssize(items));
  stack_.resize(static_cast<size_t>(begin));
}

void PickleDecoder::set_items(int64_t begin) {
  PickleNode& target = target_below(begin);
  const bool is_dict = target.kind == NodeKind::kDict;
  if (!is_dict && target.kind != NodeKind::kObject) lexer_.fail("not a dict");
  const std::span items = std::span(stack_).subspan(static_cast<size_t>(begin));
  if (items.size() % 2 != 0) lexer_.fail("a key without a value");
  add_pairs(target, items, is_dict ? sink_of(begin - 1) : nullptr);
  stack_.resize(static_cast<size_t>(begin));
}

void PickleDecoder::add_pairs(PickleNode& target, std::span<const PickleValue> items,
                              const PickleItemSink* sink) {
  for (size_t i = 0; i < items.size(); i += 2) {
    const NodeKind key = items[i]->kind;
    if (key == NodeKind::kList || key == NodeKind::kDict) {
      lexer_.fail("a list or dict as key of a dict");
    }
    if (sink && (*sink)(items[i], items[i + 1])) continue;
    for (const PickleValue& item : items.subspan(i, 2)) {
      add_item(target, NodeKind::kDict, item, std::ssize(items));
    }
  }
}

// Called after a push among the pairs of a watched dict. A value may have any size (a tensor of
// 24,000 chunks), so a pair should leave as soon as it is complete. That is certain when the next
// key begins: the value is an object and a string or class follows, which no pickler gives an
// object as state. Otherwise the oldest pairs leave once many lie on the stack; the youngest stay,
// because they may be the beginning of a value (class and arguments, the items of a tuple).
void PickleDecoder::stream_pairs() {
  const int64_t size = std::ssize(stack_) - stream_.mark;
  int64_t complete = size >= kStreamedItems + kKeptItems ? kStreamedItems : 0;
  if (size >= 3 && size % 2 == 1 && stack_[stack_.size() - 2]->kind == NodeKind::kObject &&
      (stack_.back()->kind == NodeKind::kString || stack_.back()->kind == NodeKind::kClass)) {
    complete = size - 1;
  }
  if (complete == 0) return;
  stream_.begun = true;
  const auto begin = stack_.begin() + stream_.mark;
  add_pairs(*stack_[static_cast<size_t>(stream_.mark) - 1],
            std::span(begin, static_cast<size_t>(complete)), stream_.sink);
  stack_.erase(begin, begin + complete);
}

// Returns the sink of a watched dict whose items are about to be stored. The state of the top
// object is being filled when the stack is: object, state dict, key, value, key, value... with no
// mark but the one before the first key. A watched dict is one of these values.
const PickleItemSink* PickleDecoder::sink_of(int64_t dict_index) {
  constexpr int64_t kFirstKey = 2;
  if (dict_index <= kFirstKey || stack_[static_cast<size_t>(dict_index)]->kind != NodeKind::kDict ||
      (dict_index - kFirstKey) % 2 == 0)
    return nullptr;
  if (marks_.size() > 1 || fence() > kFirstKey) return nullptr;
  if (stack_[0]->kind != NodeKind::kObject || stack_[1]->kind != NodeKind::kDict) return nullptr;
  const PickleNode& key = *stack_[static_cast<size_t>(dict_index) - 1];
  for (size_t i = 0; i < watched_.size(); ++i) {
    if (key.kind != NodeKind::kString || key.text != options_.watched_dicts[i].first) continue;
    const PickleValue& dict = stack_[static_cast<size_t>(dict_index)];
    if (watched_[i] && watched_[i] != dict) {
      lexer_.fail(fmt::format("a second {}", printable(key.text)));
    }
    watched_[i] = dict;
    return &options_.watched_dicts[i].second;
  }
  return nullptr;
}

}  // namespace bridge
