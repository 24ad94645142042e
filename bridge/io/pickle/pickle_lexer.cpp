// See pickle_lexer.h.
#include "bridge/io/pickle/pickle_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bridge/io/base/error.h"
#include "bridge/io/base/little_endian.h"

namespace bridge {
namespace {

constexpr int64_t kBufferSize = 64 << 10;
constexpr int64_t kLongestLine = 1 << 10;  // of a module or class name

// What follows the opcode byte: the bytes of a number, which is the length of a payload or the
// argument.
struct Form {
  std::string_view name;
  int number_bytes = 0;
  bool counts_payload = false;
  // The reason, for opcodes that Causeway knows and does not accept.
  std::string_view refused = {};
};

constexpr std::string_view kText = "protocol 0 and 1 pickles are not read";
constexpr std::string_view kInstance = "Python 2 instances are not read";
constexpr std::string_view kExtension = "extension registry codes are not read";
constexpr std::string_view kBuffer = "out-of-band buffers are not read";

constexpr std::array<Form, 256> make_forms() {
  std::array<Form, 256> forms{};
  const auto set = [&](PickleOp op, Form form) { forms[static_cast<size_t>(op)] = form; };
  set(PickleOp::kMark, {"MARK"});
  set(PickleOp::kStop, {"STOP"});
  set(PickleOp::kPop, {"POP"});
  set(PickleOp::kPopMark, {"POP_MARK"});
  set(PickleOp::kDup, {"DUP"});
  set(PickleOp::kBinFloat, {"BINFLOAT", 8});
  set(PickleOp::kBinInt, {"BININT", 4});
  set(PickleOp::kBinInt1, {"BININT1", 1});
  set(PickleOp::kBinInt2, {"BININT2", 2});
  set(PickleOp::kNone, {"NONE"});
  set(PickleOp::kBinPersId, {"BINPERSID"});
  set(PickleOp::kReduce, {"REDUCE"});
  set(PickleOp::kBinUnicode, {"BINUNICODE", 4, true});
  set(PickleOp::kAppend, {"APPEND"});
  set(PickleOp::kBuild, {"BUILD"});
  set(PickleOp::kGlobal, {"GLOBAL"});
  set(PickleOp::kEmptyDict, {"EMPTY_DICT"});
  set(PickleOp::kAppends, {"APPENDS"});
  set(PickleOp::kBinGet, {"BINGET", 1});
  set(PickleOp::kLongBinGet, {"LONG_BINGET", 4});
  set(PickleOp::kEmptyList, {"EMPTY_LIST"});
  set(PickleOp::kBinPut, {"BINPUT", 1});
  set(PickleOp::kLongBinPut, {"LONG_BINPUT", 4});
  set(PickleOp::kSetItem, {"SETITEM"});
  set(PickleOp::kTuple, {"TUPLE"});
  set(PickleOp::kEmptyTuple, {"EMPTY_TUPLE"});
  set(PickleOp::kSetItems, {"SETITEMS"});
  set(PickleOp::kBinBytes, {"BINBYTES", 4, true});
  set(PickleOp::kShortBinBytes, {"SHORT_BINBYTES", 1, true});
  set(PickleOp::kProto, {"PROTO", 1});
  set(PickleOp::kNewObj, {"NEWOBJ"});
  set(PickleOp::kTuple1, {"TUPLE1"});
  set(PickleOp::kTuple2, {"TUPLE2"});
  set(PickleOp::kTuple3, {"TUPLE3"});
  set(PickleOp::kNewTrue, {"NEWTRUE"});
  set(PickleOp::kNewFalse, {"NEWFALSE"});
  set(PickleOp::kLong1, {"LONG1", 1, true});
  set(PickleOp::kLong4, {"LONG4", 4, true});
  set(PickleOp::kShortBinUnicode, {"SHORT_BINUNICODE", 1, true});
  set(PickleOp::kBinUnicode8, {"BINUNICODE8", 8, true});
  set(PickleOp::kBinBytes8, {"BINBYTES8", 8, true});
  set(PickleOp::kEmptySet, {"EMPTY_SET"});
  set(PickleOp::kAddItems, {"ADDITEMS"});
  set(PickleOp::kFrozenSet, {"FROZENSET"});
  set(PickleOp::kNewObjEx, {"NEWOBJ_EX"});
  set(PickleOp::kStackGlobal, {"STACK_GLOBAL"});
  set(PickleOp::kMemoize, {"MEMOIZE"});
  set(PickleOp::kFrame, {"FRAME", 8});
  set(PickleOp::kByteArray8, {"BYTEARRAY8", 8, true});

  const auto refuse = [&](uint8_t byte, std::string_view name, std::string_view why) {
    forms[byte] = {name, 0, false, why};
  };
  refuse('F', "FLOAT", kText);
  refuse('I', "INT", kText);
  refuse('L', "LONG", kText);
  refuse('P', "PERSID", kText);
  refuse('S', "STRING", kText);
  refuse('T', "BINSTRING", kText);
  refuse('U', "SHORT_BINSTRING", kText);
  refuse('V', "UNICODE", kText);
  refuse('d', "DICT", kText);
  refuse('g', "GET", kText);
  refuse('l', "LIST", kText);
  refuse('p', "PUT", kText);
  refuse('i', "INST", kInstance);
  refuse('o', "OBJ", kInstance);
  refuse(0x82, "EXT1", kExtension);
  refuse(0x83, "EXT2", kExtension);
  refuse(0x84, "EXT4", kExtension);
  refuse(0x97, "NEXT_BUFFER", kBuffer);
  refuse(0x98, "READONLY_BUFFER", kBuffer);
  return forms;
}

constexpr std::array<Form, 256> kForms = make_forms();

}  // namespace

std::string_view name_of(PickleOp op) {
  return kForms[static_cast<size_t>(op)].name;
}

PickleLexer::PickleLexer(const File& file, int64_t offset, int64_t length, MemoryBudget& budget)
    : file_(file), offset_(offset), length_(length), memory_(&budget, "pickle buffer") {
  memory_.grow(kBufferSize);
}

void PickleLexer::next(PickleToken& token) {
  token_start_ = position_;
  opcode_ = 0;
  if (at_end()) fail("the pickle ends without STOP");
  opcode_ = static_cast<uint8_t>(read_number(1));
  const Form& form = kForms[opcode_];
  if (form.name.empty()) fail("unknown opcode");
  if (!form.refused.empty()) fail(form.refused);
  token.op = static_cast<PickleOp>(opcode_);
  token.number = read_number(form.number_bytes);
  token.payload = 0;
  if (form.counts_payload) {
    const int64_t left = length_ - position_;
    if (token.number > static_cast<uint64_t>(left)) {
      fail(fmt::format("{} bytes announced, {} left", token.number, left));
    }
    token.payload = static_cast<int64_t>(token.number);
  } else if (token.op == PickleOp::kGlobal) {
    token.module = read_line();
    token.name = read_line();
  }
}

std::string PickleLexer::read_payload(const PickleToken& token) {
  std::string bytes(static_cast<size_t>(token.payload), '\0');
  read(bytes.data(), token.payload);
  return bytes;
}

void PickleLexer::skip_payload(const PickleToken& token) {
  position_ += token.payload;
}

void PickleLexer::fail(std::string_view message) const {
  const std::string_view known = kForms[opcode_].name;
  const std::string name =
      known.empty() ? fmt::format("opcode {:#04x}", opcode_) : std::string(known);
  bad_input(fmt::format("pickle: {} at byte {}: {}", name, token_start_, message));
}

void PickleLexer::read(char* out, int64_t size) {
  if (size > length_ - position_) fail("the pickle is cut short");
  while (size > 0) {
    const int64_t in_buffer = position_ - buffer_start_;
    const int64_t held = std::ssize(buffer_) - in_buffer;
    if (in_buffer >= 0 && held > 0) {
      const int64_t part = std::min(held, size);
      std::memcpy(out, buffer_.data() + in_buffer, static_cast<size_t>(part));
      out += part;
      size -= part;
      position_ += part;
    } else {
      buffer_start_ = position_;
      buffer_.resize(static_cast<size_t>(std::min(kBufferSize, length_ - position_)));
      file_.read_at(offset_ + position_, std::as_writable_bytes(std::span(buffer_)));
    }
  }
}

uint64_t PickleLexer::read_number(int bytes) {
  std::array<char, 8> raw{};
  read(raw.data(), bytes);
  return load_le<uint64_t>(std::string_view(raw.data(), raw.size()));
}

std::string PickleLexer::read_line() {
  std::string line;
  for (;;) {
    char byte = 0;
    read(&byte, 1);
    if (byte == '\n') return line;
    line.push_back(byte);
    if (std::ssize(line) > kLongestLine) fail("the name is too long");
  }
}

}  // namespace bridge
