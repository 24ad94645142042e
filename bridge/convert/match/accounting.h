// Exactly-once accounting: what a plan found missing, unknown or wrong. A plan that is not clean
// fails and lists the names; nothing is copied. That rule is the product.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bridge {

// A name and the reason why something was done with it.
struct NamedReason {
  std::string name;  // printable
  std::string reason;
};

class Accounting {
 public:
  void missing(std::string_view name) { missing_.add(name); }
  void unknown(std::string_view name) { unknown_.add(name); }
  void wrong(std::string_view name, std::string_view why);
  // Adds a finding that names its tensor itself. The layers of a stacked tensor make the same
  // finding, which counts once.
  void wrong(std::string_view finding);

  bool clean() const { return missing_.count + unknown_.count + wrong_.count == 0; }
  // Reports kBadInput unless clean: "WHERE: tensors do not fit the table: 2 missing (a, b), 1 wrong
  // (d: shape ...)".
  void raise_unless_clean(std::string_view where, std::string hint) const;
  std::string summary() const;
  nlohmann::ordered_json json() const;

 private:
  // Names of one kind. All are counted and the first are kept (a folder of another model may have
  // 100,000).
  struct List {
    static constexpr int64_t kKept = 200;
    int64_t count = 0;
    std::vector<std::string> names;
    void add(std::string_view name);
    std::string text(std::string_view what) const;
  };
  List missing_;
  List unknown_;
  List wrong_;
};

}  // namespace bridge
