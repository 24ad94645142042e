#include "bridge/io/launch/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

constexpr uint64_t kMostFacts = 1'000'000;

std::string shown(std::string_view text) {
  constexpr size_t kMost = 100;
  return printable(text.substr(0, kMost));
}

}  // namespace

std::optional<std::string> first_change(const PlanFacts& before, const PlanFacts& now) {
  const auto [was, is] = std::mismatch(before.begin(), before.end(), now.begin(), now.end());
  if (was == before.end() && is == now.end()) return std::nullopt;
  const auto has = [](const PlanFacts& facts, const std::string& name) {
    return std::any_of(facts.begin(), facts.end(),
                       [&](const PlanFact& fact) { return fact.name == name; });
  };
  if (was != before.end() && is != now.end() && was->name == is->name) {
    return fmt::format("{}: was {}, is {}", printable(was->name), shown(was->value),
                       shown(is->value));
  }
  if (was != before.end() && !has(now, was->name)) {
    return fmt::format("{}: is not used any more", printable(was->name));
  }
  if (is != now.end() && !has(before, is->name)) {
    return fmt::format("{}: was not used before", printable(is->name));
  }
  return "the inputs are others";
}

void append_facts(std::string& out, const PlanFacts& facts) {
  append_number(out, std::ssize(facts));
  for (const PlanFact& fact : facts) {
    append_text(out, fact.name);
    append_text(out, fact.value);
  }
}

PlanFacts parse_facts(Payload& payload) {
  PlanFacts facts;
  for (size_t left = payload.count(kMostFacts, 8); left > 0; --left) {
    std::string name = payload.text();
    facts.push_back({std::move(name), payload.text()});
  }
  return facts;
}

}  // namespace bridge
