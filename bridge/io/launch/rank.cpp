// The launchers, the innermost first: torchrun and mpirun may run in a Slurm step, whose tasks are
// then their daemons.
//
//   torchrun    RANK, WORLD_SIZE and TORCHELASTIC_RUN_ID (torch/distributed/elastic/agent/server)
//   OpenMPI     OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE
//   PMI         PMI_RANK, PMI_SIZE: MPICH, Intel MPI, srun --mpi=pmi2
//   Slurm       SLURM_PROCID, and SLURM_STEP_NUM_TASKS above 1: a batch script is a step of one
// Where PMI and Slurm say the same, srun was the launcher.
#include "bridge/io/launch/rank.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/standard_output.h"

namespace bridge {
namespace {

constexpr int kMostRanks = 65536;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Reads a pair of variables; nullopt: not both are there.
std::optional<Rank> read_pair(const char* index_name, const char* count_name) {
  const std::string index = variable(index_name);
  const std::string count = variable(count_name);
  if (index.empty() || count.empty()) return std::nullopt;
  const std::optional<Rank> rank = parse_rank(index + "/" + count);
  if (!rank) {
    usage_error(fmt::format("{}={} and {}={} are not a rank of that many processes", index_name,
                            printable(index), count_name, printable(count)),
                "--rank i/N says which process this is, --rank 0/1 that it is alone");
  }
  return rank;
}

Rank by_environment() {
  const auto by = [](Rank rank, const char* launcher, std::string launch) {
    rank.launcher = launcher;
    rank.launch = std::move(launch);
    return rank;
  };
  const std::string run = variable("TORCHELASTIC_RUN_ID");
  if (!run.empty()) {
    if (const auto rank = read_pair("RANK", "WORLD_SIZE")) {
      // "none" is what torchrun calls every launch that was given no name.
      return by(*rank, "torchrun",
                run == "none" ? "" : run + " " + variable("TORCHELASTIC_RESTART_COUNT"));
    }
  }
  if (const auto rank = read_pair("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")) {
    return by(*rank, "OpenMPI", variable("PMIX_NAMESPACE"));
  }
  const std::optional<int> tasks = number(variable("SLURM_STEP_NUM_TASKS"));
  const std::optional<Rank> task =
      tasks && *tasks > 1 ? read_pair("SLURM_PROCID", "SLURM_STEP_NUM_TASKS") : std::nullopt;
  const std::optional<Rank> pmi = read_pair("PMI_RANK", "PMI_SIZE");
  if (pmi && !(task && task->index == pmi->index && task->count == pmi->count)) {
    return by(*pmi, "PMI", "");
  }
  if (task) {
    return by(*task, "Slurm step",
              fmt::format("{}.{} {}", variable("SLURM_JOB_ID"), variable("SLURM_STEP_ID"),
                          variable("SLURM_RESTART_COUNT")));
  }
  return by({}, "nobody", "");
}

}  // namespace

std::optional<Rank> parse_rank(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::optional<int> index = number(text.substr(0, slash));
  const std::optional<int> count = number(text.substr(slash + 1));
  if (!index || !count || *index < 0 || *count < 1 || *count > kMostRanks || *index >= *count) {
    return std::nullopt;
  }
  Rank rank;
  rank.index = *index;
  rank.count = *count;
  return rank;
}

void set_rank(Rank& rank, std::string_view text) {
  const std::optional<Rank> given = parse_rank(text);
  if (!given) {
    usage_error(fmt::format("--rank: '{}' is not a rank; write for example 2/4, from 0/4 to 3/4",
                            printable(text)));
  }
  rank.index = given->index;
  rank.count = given->count;
  rank.launcher = kRankOption;
}

void settle_rank(Rank& rank, bool quiet) {
  if (rank.launcher.empty()) {
    const std::chrono::seconds timeout = rank.timeout;
    rank = by_environment();
    rank.timeout = timeout;
  }
  if (rank.count == 1 || quiet) return;
  print_message(fmt::format("rank {} of {} ({})\n", rank.index, rank.count, rank.launcher));
}

void print_part_done(const Rank& rank, bool quiet) {
  if (quiet) return;
  print_message(fmt::format("rank {} of {}: its part is done\n", rank.index, rank.count));
}

}  // namespace bridge
