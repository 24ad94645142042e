// The stack machine of read_pickle (pickle_decoder.h): opcodes and the stack.
// Truth: Lib/pickle.py (_Unpickler), Modules/_pickle.c.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "bridge/io/base/checked.h"
#include "bridge/io/pickle/pickle_decoder.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

constexpr int64_t kLargestInteger = 1024;  // bytes

}  // namespace

PickleValue PickleDecoder::decode() {
  do {
    lexer_.next(token_);
    step();
  } while (token_.op != PickleOp::kStop);
  if (stack_.size() != 1 || !marks_.empty()) {
    lexer_.fail(fmt::format("{} values are left instead of one", stack_.size()));
  }
  return std::move(stack_.front());
}

void PickleDecoder::step() {
  switch (token_.op) {
    case PickleOp::kProto:
    case PickleOp::kFrame:
    case PickleOp::kStop:
      break;
    case PickleOp::kMark:
      push_mark();
      break;
    case PickleOp::kPop:
      if (!marks_.empty() && fence() == std::ssize(stack_)) {
        pop_mark();
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

void PickleDecoder::need(int64_t count, int64_t above) const {
  if (std::ssize(stack_) - above < count) lexer_.fail("too few values on the stack");
}

PickleValue PickleDecoder::pop() {
  need(1, fence());
  PickleValue value = std::move(stack_.back());
  stack_.pop_back();
  return value;
}

void PickleDecoder::push(PickleValue value) {
  push_reserved(stack_, std::move(value), stack_memory_);
  if (stream_.sink && fence() == stream_.mark) stream_pairs();
}

void PickleDecoder::push_mark() {
  if (std::ssize(marks_) >= options_.max_depth) {
    lexer_.fail(fmt::format("nested deeper than {}", options_.max_depth));
  }
  const int64_t mark = std::ssize(stack_);
  if (const PickleItemSink* sink = sink_of(mark - 1)) stream_ = {sink, mark, false};
  marks_.push_back(mark);
}

int64_t PickleDecoder::pop_mark() {
  if (marks_.empty()) lexer_.fail("no MARK on the stack");
  const int64_t begin = marks_.back();
  marks_.pop_back();
  if (stream_.sink && begin == stream_.mark) {
    if (stream_.begun && token_.op != PickleOp::kSetItems) lexer_.fail("SETITEMS was expected");
    stream_.sink = nullptr;
  }
  return begin;
}

// The container below stack_[begin..], which an opcode is about to change.
PickleNode& PickleDecoder::target_below(int64_t begin) {
  if (begin <= fence()) lexer_.fail("too few values on the stack");
  return *stack_[static_cast<size_t>(begin) - 1];
}

PickleValue PickleDecoder::read_text(NodeKind kind) {
  Reservation reading(&budget_, "pickled text");
  reading.grow(token_.payload);
  std::string text = lexer_.read_payload(token_);
  reading.release();  // the node is charged for it
  return nodes_.text(kind, std::move(text));
}

PickleValue PickleDecoder::class_node(const std::string& module, const std::string& name) {
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

void PickleDecoder::replace_by_tuple(int64_t begin) {
  PickleValue tuple = nodes_.tuple(std::span(stack_).subspan(static_cast<size_t>(begin)));
  stack_.resize(static_cast<size_t>(begin));
  push(std::move(tuple));
}

void PickleDecoder::make_object(bool with_keywords) {
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

void PickleDecoder::build() {
  need(2, fence());
  const PickleValue state = pop();
  PickleNode& object = *stack_.back();
  if (object.kind != NodeKind::kObject) lexer_.fail("the value that gets a state is not an object");
  if (object.items.size() == 2) {
    nodes_.adopt(object, state);
  } else if (object.items.size() == 4 && object.items[2]->kind == NodeKind::kNone) {
    // The content came first, as the pickler writes it; the state takes the place kept for it.
    const PickleValue content = object.items[3];
    object.items.resize(2);
    nodes_.adopt(object, state);
    object.items.push_back(content);
  } else {
    lexer_.fail("the object has a state already");
  }
}

PickleValue read_pickle(const File& source, int64_t offset, int64_t length,
                        const PickleOptions& options, MemoryBudget& budget) {
  if (offset < 0 || length < 0 || checked_add(offset, length) > source.size()) {
    bad_input(fmt::format("pickle of {} bytes at {} does not lie in a file of {} bytes", length,
                          offset, source.size()));
  }
  PickleMemo memo(source, offset, length, budget);
  PickleLexer lexer(source, offset, length, budget);
  return PickleDecoder(lexer, memo, options, budget).decode();
}

}  // namespace bridge
