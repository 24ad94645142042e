// See pickle_nodes.h.
#include "bridge/io/pickle/pickle_nodes.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <type_traits>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/base/utf8.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

constexpr std::string_view kWhat = "pickled values";
// The node and the control block beside it (counts, vtable, budget).
constexpr int64_t kNodeBytes = heap_cost(sizeof(PickleNode) + 24);
constexpr int64_t kItemBytes = static_cast<int64_t>(sizeof(PickleValue));
constexpr size_t kIntegers = 1 << 8;  // slots of the caches
constexpr size_t kTuples = 1 << 10;
constexpr uint32_t kSmallTuple = 16;        // nodes
constexpr uint32_t kLargestTree = 1 << 26;  // nodes, shared ones counted each time

int64_t text_bytes(size_t capacity) {
  const bool inline_text = capacity <= std::string().capacity();
  return inline_text ? 0 : heap_cost(capacity + 1);
}

int64_t cost(const PickleNode& node) {
  const size_t slots = node.items.capacity();
  return kNodeBytes + text_bytes(node.text.capacity()) +
         (slots == 0 ? 0 : heap_cost(slots * sizeof(PickleValue)));
}

// Gives the cost of a node back to the budget when the node goes.
template <typename T>
struct ChargedAllocator {
  using value_type = T;
  MemoryBudget* budget;

  explicit ChargedAllocator(MemoryBudget* b) : budget(b) {}
  template <typename U>
  ChargedAllocator(const ChargedAllocator<U>& other) : budget(other.budget) {}  // NOLINT: rebind
  T* allocate(size_t n) { return std::allocator<T>().allocate(n); }
  void deallocate(T* p, size_t n) { std::allocator<T>().deallocate(p, n); }
  template <typename U>
  void destroy(U* node) {
    if constexpr (std::is_same_v<U, PickleNode>) budget->release(cost(*node));
    node->~U();
  }
  template <typename U>
  bool operator==(const ChargedAllocator<U>& other) const {
    return budget == other.budget;
  }
};

PickleValue allocate(MemoryBudget& budget, NodeKind kind, std::string text = {}) {
  Reservation memory(&budget, kWhat);
  memory.grow(kNodeBytes + text_bytes(text.capacity()));
  PickleValue node = std::allocate_shared<PickleNode>(ChargedAllocator<PickleNode>(&budget));
  memory.keep();  // the allocator gives it back
  node->kind = kind;
  node->text = std::move(text);
  return node;
}

// UTF-8, and the lone surrogates that Python's "surrogatepass" writes (ED A0..BF 80..BF).
bool is_pickled_text(std::string_view text) {
  const auto masked = [&](size_t i, unsigned mask) {
    return static_cast<unsigned char>(text[i]) & mask;
  };
  while (!text.empty()) {
    size_t length = utf8_sequence_length(text);
    const bool surrogate = length == 0 && text.size() >= 3 && masked(0, 0xff) == 0xed &&
                           masked(1, 0xe0) == 0xa0 && masked(2, 0xc0) == 0x80;
    if (surrogate) length = 3;
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool is_small(const PickleNode& node) {
  return node.kind == NodeKind::kInt ||
         (node.kind == NodeKind::kTuple && node.weight <= kSmallTuple);
}

}  // namespace

PickleNodes::PickleNodes(const PickleLexer& lexer, int max_depth, MemoryBudget& budget)
    : lexer_(lexer),
      max_depth_(std::min(max_depth, 255)),
      budget_(budget),
      memory_(&budget, kWhat) {
  memory_.grow(static_cast<int64_t>(kIntegers + kTuples) * kItemBytes);
  integers_.resize(kIntegers);
  tuples_.resize(kTuples);
  none_ = allocate(budget, NodeKind::kNone);
  true_ = allocate(budget, NodeKind::kBool);
  true_->boolean = true;
  false_ = allocate(budget, NodeKind::kBool);
  empty_tuple_ = allocate(budget, NodeKind::kTuple);
}

PickleValue PickleNodes::integer(int64_t value) {
  PickleValue& cached = integers_[std::hash<int64_t>()(value) % integers_.size()];
  if (!cached || cached->integer != value) {
    cached = allocate(budget_, NodeKind::kInt);
    cached->integer = value;
  }
  return cached;
}

PickleValue PickleNodes::integer(std::string bytes) {
  const bool negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
  const char sign = negative ? '\xff' : '\0';
  while (bytes.size() > 8 && bytes.back() == sign &&
         ((bytes[bytes.size() - 2] & 0x80) != 0) == negative) {
    bytes.pop_back();  // it only repeats the sign
  }
  if (bytes.size() <= 8) {
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = bytes.size(); i-- > 0;) {
      value = value << 8 | static_cast<unsigned char>(bytes[i]);
    }
    return integer(static_cast<int64_t>(value));
  }
  if (negative) {  // the magnitude is the complement plus one
    unsigned carry = 1;
    for (char& byte : bytes) {
      carry += static_cast<unsigned char>(~byte);
      byte = static_cast<char>(carry & 0xff);
      carry >>= 8;
    }
  }
  std::string hex = negative ? "-0x" : "0x";
  for (auto it = bytes.rbegin(); it != bytes.rend(); ++it) {
    hex += fmt::format("{:02x}", static_cast<unsigned char>(*it));
  }
  return text(NodeKind::kBigInt, std::move(hex));
}

PickleValue PickleNodes::real(double value) {
  PickleValue node = allocate(budget_, NodeKind::kReal);
  node->real = value;
  return node;
}

PickleValue PickleNodes::text(NodeKind kind, std::string text) {
  if (kind == NodeKind::kString && !is_pickled_text(text)) lexer_.fail("not UTF-8");
  return allocate(budget_, kind, std::move(text));
}

PickleValue PickleNodes::tuple(std::span<const PickleValue> items) {
  if (items.empty()) return empty_tuple_;
  const bool shareable = items.size() < kSmallTuple &&
                         std::all_of(items.begin(), items.end(),
                                     [](const PickleValue& item) { return is_small(*item); });
  if (!shareable) return make(NodeKind::kTuple, items);
  size_t hash = items.size();
  for (const PickleValue& item : items) {
    hash = hash * 0x9e3779b97f4a7c15u + reinterpret_cast<uintptr_t>(item.get());
    hash ^= hash >> 29;
  }
  PickleValue& cached = tuples_[hash % tuples_.size()];
  if (!cached ||
      !std::equal(items.begin(), items.end(), cached->items.begin(), cached->items.end())) {
    cached = make(NodeKind::kTuple, items);
  }
  return cached;
}

PickleValue PickleNodes::make(NodeKind kind, std::span<const PickleValue> items) {
  PickleValue node = allocate(budget_, kind);
  for (const PickleValue& item : items) adopt(*node, item, std::ssize(items));
  return node;
}

void PickleNodes::adopt(PickleNode& parent, const PickleValue& child, int64_t coming) {
  child->closed = true;
  if (parent.closed) {
    lexer_.fail("changes a value that is already part of another one, or of itself");
  }
  measure(parent, *child, 1);
  make_room(parent, coming);
  parent.items.push_back(child);
}

void PickleNodes::item_grew(PickleNode& parent, const PickleValue& added) {
  measure(parent, *added, 2);
}

void PickleNodes::measure(PickleNode& parent, const PickleNode& child, int levels) {
  const int height = std::max<int>(parent.height, child.height + levels);
  if (height > max_depth_) lexer_.fail(fmt::format("nested deeper than {}", max_depth_));
  parent.height = static_cast<uint8_t>(height);
  if (child.weight > kLargestTree - parent.weight) {
    lexer_.fail(fmt::format("more than {} values", kLargestTree));
  }
  parent.weight += child.weight;
}

void PickleNodes::make_room(PickleNode& node, int64_t coming) {
  const auto size = static_cast<int64_t>(node.items.size());
  const auto capacity = static_cast<int64_t>(node.items.capacity());
  if (size < capacity) return;
  const int64_t wanted = std::max(checked_add(size, coming), 2 * capacity);
  Reservation memory(&budget_, kWhat);
  memory.grow((wanted - capacity) * kItemBytes + (capacity == 0 ? heap_cost(0) : 0));
  memory.keep();
  node.items.reserve(static_cast<size_t>(wanted));
}

}  // namespace bridge
