// Strict JSON: one SAX adapter between nlohmann's parser and JsonVisitor, and its two uses.
//
//   1. Check the text as a whole: its size, no NUL byte (nlohmann's lexer takes one for the end of
//      the text and would ignore what follows), no byte order mark (the lexer would skip it), valid
//      UTF-8 (the lexer does not check comments).
//   2. Parse iteratively, so that deep nesting costs no stack, and check the depth at every open
//      bracket.
//   3. Keep the keys of all open objects on one stack; when an object closes, sort its keys and
//      compare neighbours. This costs n log n for every input, whereas an attacker can drive a hash
//      table with a public hash to n^2.
//   4. parse_json builds its tree from the same events, so there is one set of rules.
//
// Truth: RFC 8259; nlohmann/json 3.11 (detail/input/parser.hpp, lexer.hpp). The parser reports
// integers that fit neither int64_t nor uint64_t as reals together with their text, and the adapter
// passes them on as such. Reals beyond the range of double are errors, and so are NaN and Infinity
// unless JsonLimits::non_finite allows them (json_non_finite.h).
#include "bridge/io/base/json_strict.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_non_finite.h"
#include "bridge/io/base/utf8.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

// The keys of all open objects, those of the innermost object last.
class KeyStack {
 public:
  void open() { starts_.push_back(keys_.size()); }

  void add(std::string_view key) {
    keys_.push_back({std::hash<std::string_view>{}(key), static_cast<uint32_t>(text_.size()),
                     static_cast<uint32_t>(key.size())});
    text_.append(key);
  }

  // Forgets the keys of the innermost object. Throws if one of them occurs twice.
  void close() {
    const auto first = keys_.begin() + static_cast<ptrdiff_t>(starts_.back());
    if (first != keys_.end()) {
      const size_t text_start = first->offset;
      std::sort(first, keys_.end(), [this](const Key& a, const Key& b) {
        return a.hash != b.hash ? a.hash < b.hash : text_of(a) < text_of(b);
      });
      const auto twin = std::adjacent_find(first, keys_.end(), [this](const Key& a, const Key& b) {
        return a.hash == b.hash && text_of(a) == text_of(b);
      });
      if (twin != keys_.end()) {
        bad_input(fmt::format("duplicate key \"{}\"", printable(text_of(*twin))),
                  "leave the entry that counts and remove the other");
      }
      text_.resize(text_start);
      keys_.erase(first, keys_.end());
    }
    starts_.pop_back();
  }

 private:
  struct Key {
    size_t hash;
    uint32_t offset;  // into text_; the text of a document is below 4 GiB
    uint32_t size;
  };

  std::string_view text_of(const Key& key) const {
    return std::string_view(text_).substr(key.offset, key.size);
  }

  std::string text_;
  std::vector<Key> keys_;
  std::vector<size_t> starts_;
};

// Iterates over the characters of a text and counts those that the parser has taken.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, size_t& taken) : at_(at), taken_(&taken) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*taken_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  size_t* taken_;
};

// Turns nlohmann's events into JsonVisitor's and checks depth and duplicates on the way.
class SaxAdapter : public nlohmann::json_sax<Json> {
 public:
  SaxAdapter(JsonVisitor& visitor, int max_depth) : visitor_(visitor), max_depth_(max_depth) {}

  // `taken` counts the characters while the text of numbers is parsed.
  void watch(const NonFiniteNumbers& numbers, const size_t& taken) {
    non_finite_ = &numbers;
    taken_ = &taken;
  }

  bool null() override {
    visitor_.on_null(depth_);
    return true;
  }
  bool boolean(bool value) override {
    visitor_.on_bool(depth_, value);
    return true;
  }
  bool number_integer(number_integer_t value) override {
    // The parser calls this function only after a minus sign, so 0 is "-0": a real, as in
    // serde_json.
    if (value == 0) return number_float(-0.0, "-0");
    visitor_.on_integer(depth_, value);
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      visitor_.on_integer(depth_, static_cast<int64_t>(value));
    } else {
      visitor_.on_unsigned(depth_, value);
    }
    return true;
  }
  bool number_float(number_float_t value, const string_t& text) override {
    const double* non_finite = non_finite_at();
    visitor_.on_real(depth_, non_finite != nullptr ? *non_finite : value, text);
    return true;
  }
  bool string(string_t& value) override {
    visitor_.on_string(depth_, value);
    return true;
  }
  bool binary(binary_t&) override { internal_error("binary value in JSON text"); }

  bool start_object(std::size_t) override {
    visitor_.on_begin_object(enter());
    keys_.open();
    return true;
  }
  bool key(string_t& value) override {
    // The visitor comes first, because it may refuse the key as too long to keep.
    visitor_.on_key(depth_, value);
    keys_.add(value);
    return true;
  }
  bool end_object() override {
    keys_.close();
    visitor_.on_end_object(--depth_);
    return true;
  }
  bool start_array(std::size_t) override {
    visitor_.on_begin_array(enter());
    return true;
  }
  bool end_array() override {
    visitor_.on_end_array(--depth_);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..."
    std::string_view what = error.what();
    if (const size_t end = what.find("] "); end != std::string_view::npos) {
      what.remove_prefix(end + 2);
    }
    constexpr std::string_view kAt = "parse error at ";
    if (what.substr(0, kAt.size()) == kAt) what.remove_prefix(kAt.size());
    // Python's json reads it, and writes it for a string that was cut in the middle of a character.
    const bool half_a_pair = what.find("surrogate") != std::string_view::npos;
    bad_input(fmt::format("not JSON: {}", printable(what)),
              half_a_pair ? "half of a surrogate pair is no character: remove or mend that string"
                          : std::string());
  }

 private:
  // The number that the parser has just read, if its text is a non-finite number. The lexer has
  // taken one character beyond it, unless the text ends there.
  const double* non_finite_at() const {
    if (non_finite_ == nullptr) return nullptr;
    const double* before = non_finite_->ending_at(*taken_ - 1);
    if (before != nullptr || *taken_ < non_finite_->text.size()) return before;
    return non_finite_->ending_at(*taken_);
  }

  // Returns the depth of the container that opens.
  int enter() {
    if (depth_ >= max_depth_) {
      bad_input(fmt::format("JSON is nested more than {} deep", max_depth_));
    }
    return depth_++;
  }

  JsonVisitor& visitor_;
  const NonFiniteNumbers* non_finite_ = nullptr;
  const size_t* taken_ = nullptr;
  int max_depth_;
  int depth_ = 0;
  KeyStack keys_;
};

class TreeBuilder : public JsonVisitor {
 public:
  void on_key(int, std::string_view key) override { key_ = key; }
  void on_null(int) override { add(nullptr); }
  void on_bool(int, bool value) override { add(value); }
  void on_integer(int, int64_t value) override { add(value); }
  void on_unsigned(int, uint64_t value) override { add(value); }
  void on_real(int, double value, std::string_view) override { add(value); }
  void on_string(int, std::string_view value) override { add(std::string(value)); }
  void on_begin_object(int) override { open_.push_back(add(Json::object())); }
  void on_end_object(int) override { open_.pop_back(); }
  void on_begin_array(int) override { open_.push_back(add(Json::array())); }
  void on_end_array(int) override { open_.pop_back(); }

  Json take() { return std::move(root_); }

 private:
  // Only the innermost open container grows, so the pointers to the others stay valid.
  Json* add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    // Appends to the underlying vector: the map's own insertion searches all keys, and duplicates
    // are refused already.
    auto& members = parent.get_ref<Json::object_t&>();
    return &members.emplace_back(key_, std::move(value)).second;
  }

  Json root_;
  std::vector<Json*> open_;
  std::string key_;
};

}  // namespace

void visit_json(std::string_view text, JsonVisitor& visitor, const JsonLimits& limits) {
  const int64_t max_bytes =
      std::min<int64_t>(limits.max_bytes, std::numeric_limits<uint32_t>::max());
  if (static_cast<int64_t>(text.size()) > max_bytes) {
    bad_input(
        fmt::format("JSON text of {} bytes, at most {} are accepted", text.size(), max_bytes));
  }
  if (text.find('\0') != std::string_view::npos) bad_input("not JSON: NUL byte");
  if (text.substr(0, 3) == "\xef\xbb\xbf") bad_input("not JSON: starts with a byte order mark");
  if (!is_utf8(text)) bad_input("not JSON: bytes that are not UTF-8");
  SaxAdapter adapter(visitor, limits.max_depth);
  const NonFiniteNumbers numbers =
      limits.non_finite ? replace_non_finite(text) : NonFiniteNumbers{};
  if (!numbers.found.empty()) {
    size_t taken = 0;
    adapter.watch(numbers, taken);
    const char* const end = numbers.text.data() + numbers.text.size();
    Json::sax_parse(CountingIterator(numbers.text.data(), taken), CountingIterator(end, taken),
                    &adapter, Json::input_format_t::json, /*strict=*/true);
    return;
  }
  Json::sax_parse(text.begin(), text.end(), &adapter, Json::input_format_t::json, /*strict=*/true,
                  limits.allow_comments);
}

int64_t json_reader_bytes(std::string_view text) {
  constexpr size_t kGrowth = 5;
  text = text.substr(0, text.find('\0'));  // the reader goes no further
  size_t longest = 0;
  size_t start = 0;
  bool inside = false;
  for (size_t at = text.find_first_of("\"\\"); at < text.size();
       at = text.find_first_of("\"\\", at + 1)) {
    if (text[at] == '\\') {
      ++at;  // the escaped character
      continue;
    }
    if (!inside) {
      longest = std::max(longest, at - start);
      start = at;
    }
    inside = !inside;
  }
  return static_cast<int64_t>(kGrowth * std::max(longest, text.size() - start));
}

Json parse_json(std::string_view text, const JsonLimits& limits) {
  TreeBuilder builder;
  visit_json(text, builder, limits);
  return builder.take();
}

std::string json_quote(std::string_view text) {
  if (!is_utf8(text)) bad_input(fmt::format("\"{}\" is not UTF-8", printable(text)));
  std::string out = "\"";
  while (!text.empty()) {
    const auto special = std::find_if(text.begin(), text.end(), [](char c) {
      return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
    });
    out.append(text.begin(), special);
    text.remove_prefix(static_cast<size_t>(special - text.begin()));
    if (text.empty()) break;
    // Pairs of a character and its letter.
    constexpr std::string_view kShort = "\"\"\\\\\bb\ff\nn\rr\tt";
    const size_t at = kShort.find(text.front());
    if (at % 2 == 0) {
      out += {'\\', kShort[at + 1]};
    } else {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text.front()));
    }
    text.remove_prefix(1);
  }
  return out + '"';
}

}  // namespace bridge
