// json_strict: the document parser and the visitor accept the same texts, and a string that was
// read survives being quoted and read again.
#include <nlohmann/json.hpp>

#include "bridge/io/base/json_strict.h"
#include "tests/fuzz/fuzz.h"

namespace {

class Requoter final : public bridge::JsonVisitor {
 public:
  void on_key(int, std::string_view key) override { requote(key); }
  void on_null(int) override {}
  void on_bool(int, bool) override {}
  void on_integer(int, int64_t) override {}
  void on_unsigned(int, uint64_t) override {}
  void on_real(int, double, std::string_view) override {}
  void on_string(int, std::string_view value) override { requote(value); }
  void on_begin_object(int) override { ++open_; }
  void on_end_object(int) override { --open_; }
  void on_begin_array(int) override { ++open_; }
  void on_end_array(int) override { --open_; }
  int open() const { return open_; }

 private:
  static void requote(std::string_view text) {
    const auto again = bridge::parse_json(bridge::json_quote(text));
    fuzz::require(again.get_ref<const std::string&>() == text);
  }
  int open_ = 0;
};

}  // namespace

void fuzz_one(std::string_view input) {
  for (const bool comments : {false, true}) {
    bridge::JsonLimits limits;
    limits.allow_comments = comments;
    const bool document = fuzz::accepts([&] { bridge::parse_json(input, limits); });
    Requoter visitor;
    const bool visited = fuzz::accepts([&] { bridge::visit_json(input, visitor, limits); });
    fuzz::require(document == visited);
    fuzz::require(!visited || visitor.open() == 0);
  }
}
