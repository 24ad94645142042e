// Python pickles as data: a reader that never executes anything and a writer of the few opcodes
// that Causeway needs. Hand-written because no C++ library reads protocol 4 or torch's metadata
// classes, and LibTorch's own unpickler allocates and crashes on hostile input.
//
// The reader understands protocols 2..5 (the opcodes that CPython's pickler emits for plain data
// and dataclasses):
//   1. A first pass over the opcodes counts how often each memo slot is read back.
//   2. The second pass runs the stack machine. GLOBALs become opaque class nodes (module, name);
//      REDUCE, NEWOBJ and BUILD make nodes that record callee, arguments and state; nothing is
//      called.
//   3. A value is kept in its memo slot only until it has been read back for the last time.
// The reader refuses a container that is changed after it was put into another one, which excludes
// cycles. Limits: depth 64; bytes of the tree, stack and memo reserved from a budget; 2^26 nodes
// when every shared node is counted as often as it occurs, so that walking the tree ends.
// Truth: Lib/pickletools.py, Lib/pickle.py.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

enum class PickleOp : uint8_t;  // pickle_lexer.h
struct PickleNode;
using PickleValue = std::shared_ptr<PickleNode>;  // immutable once returned; cycles are refused

struct PickleNode {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kBigInt,
    kReal,
    kString,
    kBytes,
    kTuple,
    kList,
    kSet,
    kDict,
    kClass,  // text = "module name"
    // REDUCE or NEWOBJ: items[0] = class, items[1] = args tuple; items[2] = BUILD state, if any.
    kObject,
    kPersistent,  // BINPERSID: items[0] = the id
  };
  Kind kind = Kind::kNone;
  bool boolean = false;
  uint8_t height = 0;   // of the tree below: 0 for a leaf
  bool closed = false;  // put into another node: the reader no longer changes it
  uint32_t weight = 1;  // nodes of the tree, shared ones counted each time
  int64_t integer = 0;
  double real = 0;
  std::string text;  // kString (UTF-8, surrogates allowed), kBytes, kClass, kBigInt ("-0x1f..")
  // Children of kTuple, kList, kSet and kPersistent; of kDict: key, value, key, value... (a later
  // pair wins). kObject also has items[3], the kDict filled by SETITEMS (OrderedDict) or the kList
  // filled by APPENDS, if any; items[2] is then kNone if there is no state. The keyword arguments
  // of NEWOBJ_EX, if any, are a kDict at the end of the args tuple.
  std::vector<PickleValue> items;

  bool is_class(std::string_view module, std::string_view name) const;
  // True for a kObject made from this class.
  bool is_object_of(std::string_view module, std::string_view name) const;
  // The value of a string key in a kDict, in the dict state of a kObject, or in its items
  // (OrderedDict); nullptr if absent.
  const PickleNode* get(std::string_view key) const;
};

// Called for each (key, value) in order as a watched dict is filled; returning true drops the pair
// instead of storing it, so that a dict of any size costs the memory of a few pairs.
using PickleItemSink = std::function<bool(const PickleValue& key, const PickleValue& value)>;

struct PickleOptions {
  // Classes that may occur; the reader refuses others by name. If empty, every class is an opaque
  // node.
  std::vector<std::pair<std::string, std::string>> allowed_classes;
  // Keys in the state of the top object ("state_dict_metadata") whose values are dicts to watch,
  // and the sinks of these dicts.
  std::vector<std::pair<std::string, PickleItemSink>> watched_dicts;
  int max_depth = 64;
};

// Decodes one pickle from a stream of bytes. A pickle whose watched dicts are dropped costs the
// memory of some 16 pairs and of what the memo still needs. Values are charged to the budget while
// they live, so the budget must outlive them. Errors: kBadInput with opcode and position, also for
// bytes after STOP.
PickleValue read_pickle(const File& source, int64_t offset, int64_t length,
                        const PickleOptions& options, MemoryBudget& budget);
PickleValue read_pickle(std::string_view bytes, const PickleOptions& options, MemoryBudget& budget);

// Writes opcodes. Strings, ints and globals are written as CPython does for the protocol (2 or 4);
// only globals are memoised. The caller pairs mark/tuple, mark/setitems and so on, and writes large
// dicts and lists in batches (CPython: 1,000 items), which bounds a reader's memory.
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
  PickleWriter& tuple();  // the items since mark
  PickleWriter& int_tuple(const std::vector<int64_t>& values);
  PickleWriter& empty_tuple();
  PickleWriter& empty_list();
  PickleWriter& appends();  // the items since mark
  PickleWriter& empty_dict();
  PickleWriter& set_items();  // the items since mark
  PickleWriter& reduce();
  PickleWriter& new_object();  // class and args tuple on the stack
  PickleWriter& build();
  PickleWriter& persistent_id();  // pops the id
  // Ends the pickle (STOP). Later calls are bugs.
  std::string finish();
  // Returns what has been written since the last call, so that a large pickle is written in pieces.
  std::string take();

 private:
  PickleWriter& op(PickleOp op);

  int protocol_;
  std::string out_;
  std::vector<std::string> globals_;  // by memo slot: "module\nname"
};

}  // namespace bridge
