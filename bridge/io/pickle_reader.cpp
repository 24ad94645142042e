// read_pickle (pickle.h): the stack machine. Tokens come from pickle_lexer.h, pickle_memo.h makes
// the first pass over them, pickle_nodes.h makes the values. Truth: Lib/pickle.py (_Unpickler),
// Modules/_pickle.c.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "bridge/io/checked.h"
#include "bridge/io/pickle.h"
#include "bridge/io/pickle_lexer.h"
#include "bridge/io/pickle_memo.h"
#include "bridge/io/pickle_nodes.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

constexpr int64_t kLargestInteger = 1024;  // bytes

class Decoder {
 public:
  Decoder(PickleLexer& lexer, PickleMemo& memo, const PickleOptions& options, MemoryBudget& budget)
      : lexer_(lexer),
        memo_(memo),
        options_(options),
        budget_(budget),
        nodes_(lexer, options.max_depth, budget),
        stack_charge_(budget, "pickle stack"),
        watched_(options.watched_dicts.size()) {}

  PickleValue decode();

 private:
  void step();
  void push(PickleValue value) { stack_charge_.push_back(stack_, std::move(value)); }
  int64_t fence() const { return marks_.empty() ? 0 : marks_.back(); }
  void need(int64_t count, int64_t above) const;
  PickleValue pop();
  PickleNode& target_below(int64_t begin);
  int64_t pop_mark();
  PickleValue read_text(NodeKind kind);
  PickleValue class_node(const std::string& module, const std::string& name);
  void replace_by_tuple(int64_t begin);
  void make_object(bool with_keywords);
  void build();
  void append(int64_t begin);
  void set_items(int64_t begin);
  PickleNode& content_of(PickleNode& object, NodeKind kind);
  const PickleItemSink* sink_of(int64_t dict_index);

  PickleLexer& lexer_;
  PickleMemo& memo_;
  const PickleOptions& options_;
  MemoryBudget& budget_;
  PickleNodes nodes_;
  PickleCharge stack_charge_;
  PickleToken token_;
  std::vector<PickleValue> stack_;
  std::vector<int64_t> marks_;        // stack sizes
  std::vector<PickleValue> watched_;  // the dict that each watch has found
};

PickleValue Decoder::decode() {
  do {
    lexer_.next(token_);
    step();
  } while (token_.op != PickleOp::kStop);
  if (stack_.size() != 1 || !marks_.empty()) {
    lexer_.fail(fmt::format("{} values are left instead of one", stack_.size()));
  }
  return std::move(stack_.front());
}

void Decoder::step() {
  switch (token_.op) {
    case PickleOp::kProto:
    case PickleOp::kFrame:
    case PickleOp::kStop:
      break;
    case PickleOp::kMark:
      if (std::ssize(marks_) >= options_.max_depth) {
        lexer_.fail(fmt::format("nested deeper than {}", options_.max_depth));
      }
      marks_.push_back(std::ssize(stack_));
      break;
    case PickleOp::kPop:
      if (!marks_.empty() && fence() == std::ssize(stack_)) {
        marks_.pop_back();
      } else {
        pop();
      }
      break;
    case PickleOp::kPopMark:
      stack_.resize(static_cast<size_t>(pop_mark()));
      break;
    case PickleOp::kDup:
      need(1, fence());
      push(stack_.back());
      break;
    case PickleOp::kNone:
      push(nodes_.none());
      break;
    case PickleOp::kNewTrue:
    case PickleOp::kNewFalse:
      push(nodes_.boolean(token_.op == PickleOp::kNewTrue));
      break;
    case PickleOp::kBinInt:
      push(nodes_.integer(static_cast<int32_t>(token_.number)));
      break;
    case PickleOp::kBinInt1:
    case PickleOp::kBinInt2:
      push(nodes_.integer(static_cast<int64_t>(token_.number)));
      break;
    case PickleOp::kLong1:
    case PickleOp::kLong4:
      if (token_.payload > kLargestInteger) {
        lexer_.fail(fmt::format("an integer of {} bytes", token_.payload));
      }
      push(nodes_.integer(lexer_.read_payload(token_)));
      break;
    case PickleOp::kBinFloat:
      push(nodes_.real(std::bit_cast<double>(__builtin_bswap64(token_.number))));
      break;
    case PickleOp::kBinUnicode:
    case PickleOp::kShortBinUnicode:
    case PickleOp::kBinUnicode8:
      push(read_text(NodeKind::kString));
      break;
    case PickleOp::kBinBytes:
    case PickleOp::kShortBinBytes:
    case PickleOp::kBinBytes8:
    case PickleOp::kByteArray8:
      push(read_text(NodeKind::kBytes));
      break;
    case PickleOp::kEmptyTuple:
      push(nodes_.tuple({}));
      break;
    case PickleOp::kEmptyList:
      push(nodes_.make(NodeKind::kList));
      break;
    case PickleOp::kEmptyDict:
      push(nodes_.make(NodeKind::kDict));
      break;
    case PickleOp::kEmptySet:
      push(nodes_.make(NodeKind::kSet));
      break;
    case PickleOp::kTuple1:
    case PickleOp::kTuple2:
    case PickleOp::kTuple3: {
      const int64_t count =
          static_cast<int64_t>(token_.op) - static_cast<int64_t>(PickleOp::kTuple1) + 1;
      need(count, fence());
      replace_by_tuple(std::ssize(stack_) - count);
      break;
    }
    case PickleOp::kTuple:
      replace_by_tuple(pop_mark());
      break;
    case PickleOp::kFrozenSet: {
      const auto begin = static_cast<size_t>(pop_mark());
      PickleValue set = nodes_.make(NodeKind::kSet, std::span(stack_).subspan(begin));
      stack_.resize(begin);
      push(std::move(set));
      break;
    }
    case PickleOp::kAppend:
      need(2, fence());
      append(std::ssize(stack_) - 1);
      break;
    case PickleOp::kAppends:
    case PickleOp::kAddItems:
      append(pop_mark());
      break;
    case PickleOp::kSetItem:
      need(3, fence());
      set_items(std::ssize(stack_) - 2);
      break;
    case PickleOp::kSetItems:
      set_items(pop_mark());
      break;
    case PickleOp::kGlobal:
      push(class_node(token_.module, token_.name));
      break;
    case PickleOp::kStackGlobal: {
      const PickleValue name = pop();
      const PickleValue module = pop();
      if (name->kind != NodeKind::kString || module->kind != NodeKind::kString) {
        lexer_.fail("module and name are not strings");
      }
      push(class_node(module->text, name->text));
      break;
    }
    case PickleOp::kReduce:
    case PickleOp::kNewObj:
    case PickleOp::kNewObjEx:
      make_object(token_.op == PickleOp::kNewObjEx);
      break;
    case PickleOp::kBuild:
      build();
      break;
    case PickleOp::kBinPersId: {
      const PickleValue id = pop();
      push(nodes_.make(NodeKind::kPersistent, std::span(&id, 1)));
      break;
    }
    case PickleOp::kMemoize:
    case PickleOp::kBinPut:
    case PickleOp::kLongBinPut:
      need(1, fence());
      memo_.put(stack_.back());
      break;
    case PickleOp::kBinGet:
    case PickleOp::kLongBinGet:
      push(memo_.get(token_.number));
      break;
  }
}

void Decoder::need(int64_t count, int64_t above) const {
  if (std::ssize(stack_) - above < count) lexer_.fail("too few values on the stack");
}

PickleValue Decoder::pop() {
  need(1, fence());
  PickleValue value = std::move(stack_.back());
  stack_.pop_back();
  return value;
}

int64_t Decoder::pop_mark() {
  if (marks_.empty()) lexer_.fail("no MARK on the stack");
  const int64_t begin = marks_.back();
  marks_.pop_back();
  return begin;
}

// The value below stack_[begin..], which an opcode is going to change.
PickleNode& Decoder::target_below(int64_t begin) {
  if (begin <= fence()) lexer_.fail("too few values on the stack");
  return *stack_[static_cast<size_t>(begin) - 1];
}

PickleValue Decoder::read_text(NodeKind kind) {
  PickleCharge reading(budget_, "pickled text");
  reading.add(token_.payload);
  std::string text = lexer_.read_payload(token_);
  reading.remove(token_.payload);  // the node is charged for it
  return nodes_.text(kind, std::move(text));
}

PickleValue Decoder::class_node(const std::string& module, const std::string& name) {
  const auto is_name = [](std::string_view text) {
    return !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
      return static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
    });
  };
  if (!is_name(module) || !is_name(name)) {
    lexer_.fail(fmt::format("\"{}\" \"{}\" is no class name", printable(module), printable(name)));
  }
  const auto& allowed = options_.allowed_classes;
  if (!allowed.empty() &&
      std::find(allowed.begin(), allowed.end(), std::pair(module, name)) == allowed.end()) {
    lexer_.fail(
        fmt::format("class {}.{} does not belong here", printable(module), printable(name)));
  }
  return nodes_.text(NodeKind::kClass, module + " " + name);
}

void Decoder::replace_by_tuple(int64_t begin) {
  PickleValue tuple = nodes_.tuple(std::span(stack_).subspan(static_cast<size_t>(begin)));
  stack_.resize(static_cast<size_t>(begin));
  push(std::move(tuple));
}

void Decoder::make_object(bool with_keywords) {
  const PickleValue keywords = with_keywords ? pop() : nullptr;
  PickleValue arguments = pop();
  const PickleValue callee = pop();
  if (callee->kind != NodeKind::kClass) lexer_.fail("the callee is not a class");
  if (arguments->kind != NodeKind::kTuple) lexer_.fail("the arguments are not a tuple");
  if (keywords) {
    if (keywords->kind != NodeKind::kDict) lexer_.fail("the keyword arguments are not a dict");
    if (!keywords->items.empty()) {
      std::vector<PickleValue> all = arguments->items;
      all.push_back(keywords);
      arguments = nodes_.make(NodeKind::kTuple, all);
    }
  }
  push(nodes_.make(NodeKind::kObject, std::array{callee, arguments}));
}

void Decoder::build() {
  need(2, fence());
  const PickleValue state = pop();
  PickleNode& object = *stack_.back();
  if (object.kind != NodeKind::kObject) lexer_.fail("the value that gets a state is not an object");
  if (object.items.size() == 2) {
    nodes_.adopt(object, state);
  } else if (object.items.size() == 4 && object.items[2]->kind == NodeKind::kNone) {
    // The content came first, as the pickler writes it: the state takes the place kept for it.
    const PickleValue content = object.items[3];
    object.items.resize(2);
    nodes_.adopt(object, state);
    object.items.push_back(content);
  } else {
    lexer_.fail("the object has a state already");
  }
}

// The list or dict that the items of an object (a subclass of list or dict) go to.
PickleNode& Decoder::content_of(PickleNode& object, NodeKind kind) {
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

void Decoder::append(int64_t begin) {
  PickleNode& target = target_below(begin);
  const bool adds = token_.op == PickleOp::kAddItems;
  const bool is_object = target.kind == NodeKind::kObject && !adds;
  if (!is_object && target.kind != (adds ? NodeKind::kSet : NodeKind::kList)) {
    lexer_.fail(adds ? "not a set" : "not a list");
  }
  const std::span items = std::span(stack_).subspan(static_cast<size_t>(begin));
  if (!items.empty()) {
    PickleNode& into = is_object ? content_of(target, NodeKind::kList) : target;
    for (const PickleValue& item : items) {
      nodes_.adopt(into, item, std::ssize(items));
      if (is_object) nodes_.item_grew(target, item);
    }
  }
  stack_.resize(static_cast<size_t>(begin));
}

void Decoder::set_items(int64_t begin) {
  PickleNode& target = target_below(begin);
  const bool is_object = target.kind == NodeKind::kObject;
  if (!is_object && target.kind != NodeKind::kDict) lexer_.fail("not a dict");
  const std::span items = std::span(stack_).subspan(static_cast<size_t>(begin));
  if (items.size() % 2 != 0) lexer_.fail("a key without a value");
  const PickleItemSink* sink = is_object ? nullptr : sink_of(begin - 1);
  for (size_t i = 0; i < items.size(); i += 2) {
    const NodeKind key = items[i]->kind;
    if (key == NodeKind::kList || key == NodeKind::kDict)
      lexer_.fail("a list or dict as key of a dict");
    if (sink && (*sink)(items[i], items[i + 1])) continue;
    PickleNode& into = is_object ? content_of(target, NodeKind::kDict) : target;
    for (const PickleValue& item : items.subspan(i, 2)) {
      nodes_.adopt(into, item, std::ssize(items));
      if (is_object) nodes_.item_grew(target, item);
    }
  }
  stack_.resize(static_cast<size_t>(begin));
}

// The state of the top object is being filled when the stack is: object, state dict, key, value,
// key, value... with no mark but the one before the first key. A watched dict is one of these
// values.
const PickleItemSink* Decoder::sink_of(int64_t dict_index) {
  constexpr int64_t kFirstKey = 2;
  if (dict_index <= kFirstKey || (dict_index - kFirstKey) % 2 == 0) return nullptr;
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

}  // namespace

PickleValue read_pickle(const File& source, int64_t offset, int64_t length,
                        const PickleOptions& options, MemoryBudget& budget) {
  if (offset < 0 || length < 0 || checked_add(offset, length) > source.size()) {
    bad_input(fmt::format("pickle of {} bytes at {} does not lie in a file of {} bytes", length,
                          offset, source.size()));
  }
  PickleMemo memo(source, offset, length, budget);
  PickleLexer lexer(source, offset, length, budget);
  return Decoder(lexer, memo, options, budget).decode();
}

}  // namespace bridge
