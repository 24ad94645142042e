// Splits a pickle into opcodes and their arguments, reading through a buffer of fixed size.
//
//   1. A token is an opcode byte and an argument whose form depends on the opcode: nothing, a
//      number, a counted run of bytes (the payload), or two lines (GLOBAL).
//   2. The payload is not read until the caller asks for it; its length has been checked against
//      the bytes left.
//   3. Unsupported opcodes are refused here: protocol 0 and 1 text, INST/OBJ, EXT, buffers.
//
// Truth: Lib/pickletools.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/reservation.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

enum class PickleOp : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kEmptyDict = '}',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kEmptyList = ']',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

// The name of an opcode, such as "BINUNICODE".
std::string_view name_of(PickleOp op);

struct PickleToken {
  PickleOp op = PickleOp::kStop;
  uint64_t number = 0;       // fixed-size argument, as little-endian bits
  int64_t payload = 0;       // bytes still to be read or skipped
  std::string module, name;  // kGlobal
};

class PickleLexer {
 public:
  // The pickle is [offset, offset + length) of the file; positions count from its start.
  PickleLexer(const File& file, int64_t offset, int64_t length, MemoryBudget& budget);
  PickleLexer(const PickleLexer&) = delete;
  PickleLexer& operator=(const PickleLexer&) = delete;

  // The payload of the last token must have been read or skipped.
  void next(PickleToken& token);
  std::string read_payload(const PickleToken& token);
  void skip_payload(const PickleToken& token);
  bool at_end() const { return position_ == length_; }
  // Throws bad input "pickle: OPCODE at byte N: message" about the last token.
  [[noreturn]] void fail(std::string_view message) const;

 private:
  void read(char* out, int64_t size);
  uint64_t read_number(int bytes);
  std::string read_line();

  const File& file_;
  int64_t offset_;
  int64_t length_;
  Reservation memory_;
  int64_t position_ = 0;     // of the next byte
  int64_t token_start_ = 0;  // of the last token's opcode
  uint8_t opcode_ = 0;       // of the last token
  std::vector<char> buffer_;
  int64_t buffer_start_ = 0;  // position of its first byte
};

}  // namespace bridge
