// Strict JSON for untrusted text, on top of nlohmann's SAX parser: duplicate keys, depth, size, trailing
// text and bytes that are not UTF-8 are errors (a plain DOM keeps the last duplicate in silence and turns
// -1 into a huge size_t). Two uses: parse_json for small documents (config.json, tables, manifests) and
// JsonVisitor for headers of any size, which are never held as a tree.
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
  bool non_finite =
      false;  // NaN, Infinity, -Infinity are reals, as Python writes them; not with comments
};

// Order-preserving document. Errors: kBadInput with line and column where the parser knows them.
nlohmann::ordered_json parse_json(std::string_view text, const JsonLimits& limits = {});

// Events of one document in order. Numbers come in their exact kind; strings are UTF-8. A string_view is
// valid during the call only. depth is the number of containers open around the value (0: the top value);
// key is the key of the value in its object, empty inside arrays.
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

// Duplicate keys are detected in every object.
void visit_json(std::string_view text, JsonVisitor& visitor, const JsonLimits& limits = {});

// text as a JSON string literal with quotes, escaped as serde_json and Python's ensure_ascii=False do.
std::string json_quote(std::string_view text);

}  // namespace bridge
