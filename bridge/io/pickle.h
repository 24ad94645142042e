// Python pickles as data: a reader that never executes anything and a writer of the few opcodes we need.
// Hand-written because no C++ library reads protocol 4 or torch's metadata classes, and LibTorch's own
// unpickler allocates and crashes on hostile input.
//
// The reader understands protocols 2..5 (the opcodes CPython's pickler emits for plain data and dataclasses). GLOBALs
// become opaque class nodes (module, name); REDUCE, NEWOBJ and BUILD make nodes that record callee,
// arguments and state; nothing is called. Limits: depth 64, bytes of decoded tree reserved from a budget.
// Truth: Lib/pickletools.py, Lib/pickle.py.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/file_system.h"
#include "bridge/io/memory_budget.h"

namespace bridge {

struct PickleNode;
using PickleValue = std::shared_ptr<PickleNode>;  // immutable once returned; cycles are refused

struct PickleNode {
  enum class Kind {
    kNone, kBool, kInt, kBigInt, kReal, kString, kBytes, kTuple, kList, kSet, kDict,
    kClass,       // text = "module name"
    kObject,      // REDUCE or NEWOBJ: items[0] = class, items[1] = args tuple; items[2] = BUILD state, if any
    kPersistent,  // BINPERSID: items[0] = the id
  };
  Kind kind = Kind::kNone;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;                 // kString (UTF-8, surrogates allowed), kBytes, kClass, kBigInt (decimal or hex text)
  std::vector<PickleValue> items;   // kTuple, kList, kSet, kObject, kPersistent; kDict: key, value, key, value...

  bool is_class(std::string_view module, std::string_view name) const;
  // kObject made from this class?
  bool is_object_of(std::string_view module, std::string_view name) const;
  // Value of a string key: of a kDict, or of the dict state of a kObject; nullptr when absent.
  const PickleNode* get(std::string_view key) const;
};

// Called for each (key, value) as a watched dict is filled; returning true drops the pair instead of
// storing it, so that a dict of any size costs the memory of one batch.
using PickleItemSink = std::function<bool(const PickleValue& key, const PickleValue& value)>;

struct PickleOptions {
  // Classes that may occur; anything else is refused by name. Empty: every class is an opaque node.
  std::vector<std::pair<std::string, std::string>> allowed_classes;
  // Dicts that are the value of this string key in the state of the top object ("state_dict_metadata"), and their sinks.
  std::vector<std::pair<std::string, PickleItemSink>> watched_dicts;
  int max_depth = 64;
};

// Decodes one pickle from a stream of bytes. Memo slots that no opcode reads back are not kept (a first
// pass finds the ones that are), so a pickle whose watched dicts are dropped decodes in bounded memory.
// Errors: kBadInput naming opcode and position. source.size() is the end; bytes after STOP are an error.
PickleValue read_pickle(const File& source, int64_t offset, int64_t length,
                        const PickleOptions& options, MemoryBudget& budget);
PickleValue read_pickle(std::string_view bytes, const PickleOptions& options, MemoryBudget& budget);

// Opcode writer. Strings, ints and globals are written as CPython does for the protocol (2 or 4); globals and
// nothing else are memoised. The caller pairs mark/tuple, mark/setitems and so on.
class PickleWriter {
 public:
  explicit PickleWriter(int protocol);
  PickleWriter& none();
  PickleWriter& boolean(bool value);
  PickleWriter& integer(int64_t value);
  PickleWriter& real(double value);
  PickleWriter& string(std::string_view utf8);
  PickleWriter& global(std::string_view module, std::string_view name);
  PickleWriter& mark();
  PickleWriter& tuple();          // since mark
  PickleWriter& int_tuple(const std::vector<int64_t>& values);
  PickleWriter& empty_tuple();
  PickleWriter& empty_list();
  PickleWriter& appends();        // since mark
  PickleWriter& empty_dict();
  PickleWriter& set_items();      // since mark
  PickleWriter& reduce();
  PickleWriter& new_object();     // class and args tuple on the stack
  PickleWriter& build();
  PickleWriter& persistent_id();  // pops the id
  // Ends the pickle (STOP). Later calls are bugs.
  std::string finish();
  // Hands over what has been written so far, so that a pickle of any size is written in pieces.
  std::string take();

 private:
  int protocol_;
  std::string out_;
  std::vector<std::pair<std::string, uint32_t>> globals_;
};

}  // namespace bridge
