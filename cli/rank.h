// Which of several processes this is: --rank, else the environment, and only where it proves that a
// launcher has started several. Batch scripts, containers and shells have some of these variables
// too, so each launcher's proof is a set of them.
#pragma once

#include <optional>
#include <string_view>

#include "bridge/convert/options.h"

namespace cli {

// Parses "2/4"; nullopt: something else.
std::optional<bridge::Rank> parse_rank(std::string_view text);

// Fills in the rank by the environment, unless --rank did, and prints "rank 2 of 4 (Slurm step)" if
// there are several processes and quiet is false. Error: kUsage for variables that contradict each
// other.
void settle_rank(bridge::Rank& rank, bool quiet);

// Prints what a rank other than 0 has to say at its end.
void print_part_done(const bridge::Rank& rank, bool quiet);

}  // namespace cli
