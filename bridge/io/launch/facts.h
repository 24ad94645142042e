// The facts that all processes of a launch, or a run and the one that goes on with what it left,
// must agree on, as named texts. A fact that differs is the reason that the user reads.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bridge/io/launch/blocks.h"

namespace bridge {

struct PlanFact {
  std::string name;
  std::string value;
  bool operator==(const PlanFact&) const = default;
};
using PlanFacts = std::vector<PlanFact>;

// Returns "NAME: was VALUE, is VALUE" for the first fact that differs; nullopt: none does.
std::optional<std::string> first_change(const PlanFacts& before, const PlanFacts& now);

// In a block: a list of pairs of texts. Error: kBadInput.
void append_facts(std::string& out, const PlanFacts& facts);
PlanFacts parse_facts(Payload& payload);

}  // namespace bridge
