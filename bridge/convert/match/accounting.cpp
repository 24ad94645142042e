#include "bridge/convert/match/accounting.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "bridge/io/base/error.h"

namespace bridge {

void Accounting::List::add(std::string_view name) {
  if (count++ < kKept) names.push_back(printable(name));
}

std::string Accounting::List::text(std::string_view what) const {
  constexpr size_t kShown = 8;
  const auto shown = std::span(names).first(std::min(kShown, names.size()));
  return fmt::format("{} {} ({}{})", count, what, fmt::join(shown, ", "),
                     count > std::ssize(shown) ? ", ..." : "");
}

void Accounting::wrong(std::string_view name, std::string_view why) {
  wrong_.add(fmt::format("{}: {}", name, why));
}

std::string Accounting::summary() const {
  std::vector<std::string> parts;
  if (missing_.count > 0) parts.push_back(missing_.text("missing"));
  if (unknown_.count > 0) parts.push_back(unknown_.text("unknown"));
  if (wrong_.count > 0) parts.push_back(wrong_.text("wrong"));
  return fmt::format("{}", fmt::join(parts, ", "));
}

void Accounting::raise_unless_clean(std::string_view where, std::string hint) const {
  if (!clean()) {
    bad_input(fmt::format("{}: tensors do not fit the table: {}", where, summary()),
              std::move(hint));
  }
}

void Accounting::wrong(std::string_view finding) {
  if (wrong_.names.empty() || wrong_.names.back() != printable(finding)) wrong_.add(finding);
}

nlohmann::ordered_json Accounting::json() const {
  return {{"missing", missing_.names}, {"unknown", unknown_.names}, {"wrong", wrong_.names}};
}

}  // namespace bridge
