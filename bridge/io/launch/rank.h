// Which of several processes this is: --rank, else the environment, and only where it proves that a
// launcher has started several. Batch scripts, containers and shells have some of these variables
// too, so each launcher's proof is a set of them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace bridge {

// One of the processes that share one output or one comparison (launch.h).
struct Rank {
  int index = 0;
  int count = 1;
  std::string launcher;  // who says so, for messages: "Slurm step"; empty: nobody was asked yet
  std::string launch;    // tells this launch from an earlier one; empty: not known
  std::chrono::seconds timeout{600};  // for ranks that never come

  bool leads() const { return index == 0; }
  // What a progress line calls the work of this process.
  std::string label(std::string_view verb) const {
    std::string text(verb);
    if (count > 1) text += ", rank " + std::to_string(index);
    return text;
  }
};

// What the launcher of a rank is that --rank gives.
constexpr const char* kRankOption = "--rank";

// Parses "2/4"; nullopt: something else.
std::optional<Rank> parse_rank(std::string_view text);

// Parses the value of --rank. Error: kUsage if it is not a rank.
void set_rank(Rank& rank, std::string_view text);

// Fills in the rank by the environment, unless --rank did, and prints "rank 2 of 4 (Slurm step)" if
// there are several processes and quiet is false. Error: kUsage for variables that contradict each
// other.
void settle_rank(Rank& rank, bool quiet);

// Prints what a rank other than 0 has to say at its end.
void print_part_done(const Rank& rank, bool quiet);

}  // namespace bridge
