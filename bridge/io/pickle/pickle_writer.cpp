// PickleWriter (pickle.h): the opcodes that CPython's pickler writes for the same values, except
// that only globals are memoised. Truth: Lib/pickle.py (_Pickler).
#include <algorithm>
#include <bit>
#include <limits>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/little_endian.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/pickle/pickle_lexer.h"

namespace bridge {
namespace {

void append_op(std::string& out, PickleOp op) {
  out.push_back(static_cast<char>(op));
}

}  // namespace

PickleWriter::PickleWriter(int protocol) : protocol_(protocol) {
  if (protocol != 2 && protocol != 4) internal_error("pickles are written in protocol 2 or 4");
  append_op(out_, PickleOp::kProto);
  out_.push_back(static_cast<char>(protocol));
}

PickleWriter& PickleWriter::op(PickleOp op) {
  append_op(out_, op);
  return *this;
}

PickleWriter& PickleWriter::none() {
  return op(PickleOp::kNone);
}
PickleWriter& PickleWriter::boolean(bool value) {
  return op(value ? PickleOp::kNewTrue : PickleOp::kNewFalse);
}

PickleWriter& PickleWriter::integer(int64_t value) {
  if (value >= 0 && value <= std::numeric_limits<uint8_t>::max()) {
    op(PickleOp::kBinInt1);
    append_le(out_, static_cast<uint8_t>(value));
  } else if (value >= 0 && value <= std::numeric_limits<uint16_t>::max()) {
    op(PickleOp::kBinInt2);
    append_le(out_, static_cast<uint16_t>(value));
  } else if (value >= std::numeric_limits<int32_t>::min() &&
             value <= std::numeric_limits<int32_t>::max()) {
    op(PickleOp::kBinInt);
    append_le(out_, static_cast<uint32_t>(value));
  } else {
    // The shortest two's complement: drop bytes that only repeat the sign.
    std::string bytes;
    append_le(bytes, static_cast<uint64_t>(value));
    const char sign = value < 0 ? '\xff' : '\0';
    while (bytes.back() == sign && (bytes[bytes.size() - 2] & 0x80) == (sign & 0x80)) {
      bytes.pop_back();
    }
    op(PickleOp::kLong1);
    out_.push_back(static_cast<char>(bytes.size()));
    out_ += bytes;
  }
  return *this;
}

PickleWriter& PickleWriter::real(double value) {
  op(PickleOp::kBinFloat);
  append_le(out_, __builtin_bswap64(std::bit_cast<uint64_t>(value)));
  return *this;
}

PickleWriter& PickleWriter::string(std::string_view utf8) {
  if (protocol_ == 4 && utf8.size() <= std::numeric_limits<uint8_t>::max()) {
    op(PickleOp::kShortBinUnicode);
    append_le(out_, static_cast<uint8_t>(utf8.size()));
  } else {
    op(PickleOp::kBinUnicode);
    append_le(out_, checked_cast<uint32_t>(utf8.size(), "string length"));
  }
  out_ += utf8;
  return *this;
}

PickleWriter& PickleWriter::global(std::string_view module, std::string_view name) {
  std::string key(module);
  key += '\n';
  key += name;
  const auto known = std::find(globals_.begin(), globals_.end(), key);
  const auto slot = static_cast<uint32_t>(known - globals_.begin());
  const bool is_short = slot <= std::numeric_limits<uint8_t>::max();
  const auto append_slot = [&](PickleOp short_op, PickleOp long_op) {
    op(is_short ? short_op : long_op);
    is_short ? append_le(out_, static_cast<uint8_t>(slot)) : append_le(out_, slot);
  };
  if (known != globals_.end()) {
    append_slot(PickleOp::kBinGet, PickleOp::kLongBinGet);
    return *this;
  }
  if (protocol_ == 4) {
    string(module).string(name).op(PickleOp::kStackGlobal).op(PickleOp::kMemoize);
  } else {
    op(PickleOp::kGlobal);
    out_ += key + '\n';
    append_slot(PickleOp::kBinPut, PickleOp::kLongBinPut);
  }
  globals_.push_back(std::move(key));
  return *this;
}

PickleWriter& PickleWriter::mark() {
  return op(PickleOp::kMark);
}
PickleWriter& PickleWriter::tuple() {
  return op(PickleOp::kTuple);
}

PickleWriter& PickleWriter::int_tuple(const std::vector<int64_t>& values) {
  if (values.empty()) return empty_tuple();
  if (values.size() > 3) mark();
  for (const int64_t value : values) integer(value);
  switch (values.size()) {
    case 1:
      return op(PickleOp::kTuple1);
    case 2:
      return op(PickleOp::kTuple2);
    case 3:
      return op(PickleOp::kTuple3);
    default:
      return tuple();
  }
}

PickleWriter& PickleWriter::empty_tuple() {
  return op(PickleOp::kEmptyTuple);
}
PickleWriter& PickleWriter::empty_list() {
  return op(PickleOp::kEmptyList);
}
PickleWriter& PickleWriter::appends() {
  return op(PickleOp::kAppends);
}
PickleWriter& PickleWriter::empty_dict() {
  return op(PickleOp::kEmptyDict);
}
PickleWriter& PickleWriter::set_items() {
  return op(PickleOp::kSetItems);
}
PickleWriter& PickleWriter::reduce() {
  return op(PickleOp::kReduce);
}
PickleWriter& PickleWriter::new_object() {
  return op(PickleOp::kNewObj);
}
PickleWriter& PickleWriter::build() {
  return op(PickleOp::kBuild);
}
PickleWriter& PickleWriter::persistent_id() {
  return op(PickleOp::kBinPersId);
}

std::string PickleWriter::finish() {
  op(PickleOp::kStop);
  return take();
}

std::string PickleWriter::take() {
  return std::exchange(out_, {});
}

}  // namespace bridge
