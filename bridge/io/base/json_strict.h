// Strict JSON for untrusted text, on top of nlohmann's SAX parser. Duplicate keys, too much depth
// or size, trailing text and bytes that are not UTF-8 are errors (a plain DOM silently keeps the
// last duplicate and turns -1 into a huge size_t). parse_json is for small documents (config.json,
// tables, manifests). JsonVisitor is for headers of any size, which are never held as a tree.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace bridge {

struct JsonLimits {
  int64_t max_bytes = 64 << 20;
  int max_depth = 64;
  bool allow_comments = false;  // // and /* */, for mapping tables
  // Accepts NaN, Infinity and -Infinity as reals, as Python writes them. Not possible together with
  // comments.
  bool non_finite = false;
};

// Returns a document that preserves the order of keys. Errors: kBadInput, with line and column
// where the parser knows them.
nlohmann::ordered_json parse_json(std::string_view text, const JsonLimits& limits = {});

// Receives the events of one document in order. Numbers come in their exact kind; strings are
// UTF-8. A string_view is valid during the call only. depth is the number of open containers around
// the value (0: the top value); key is the key of the value in its object, empty inside arrays.
class JsonVisitor {
 public:
  virtual ~JsonVisitor() = default;
  virtual void on_key(int /*depth*/, std::string_view /*key*/) {}
  virtual void on_null(int depth) = 0;
  virtual void on_bool(int depth, bool value) = 0;
  virtual void on_integer(int depth, int64_t value) = 0;    // fits int64
  virtual void on_unsigned(int depth, uint64_t value) = 0;  // larger than int64 holds
  virtual void on_real(int depth, double value, std::string_view text) = 0;
  virtual void on_string(int depth, std::string_view value) = 0;
  virtual void on_begin_object(int depth) = 0;
  virtual void on_end_object(int depth) = 0;
  virtual void on_begin_array(int depth) = 0;
  virtual void on_end_array(int depth) = 0;
};

// Detects duplicate keys in every object.
void visit_json(std::string_view text, JsonVisitor& visitor, const JsonLimits& limits = {});

// An upper bound of what the reader allocates for a text, besides the text itself; callers reserve
// it first. The reader has two buffers for what it reads between the starts of two consecutive
// strings, and each is doubled while its old memory still exists.
int64_t json_reader_bytes(std::string_view text);

// Returns text as a JSON string literal with quotes, escaped as serde_json and Python's
// ensure_ascii=False escape it.
std::string json_quote(std::string_view text);

}  // namespace bridge
