// The processes that share a verification of two checkpoints. They meet beside the report, FILE,
// which is in a folder that all of them see.
//
//   1. They find each other as those of a conversion do (bridge/io/launch/launch.h).
//   2. Each has a share of the tensors and layers (shares.h). It compares its tensors at once. Its
//      layers need the states of both sides behind the layers of the rank before it, which that one
//      writes as FILE.rank-I.state (state_file.h); whoever has read them removes the file. Where
//      every layer's input is made from a seed, nobody waits.
//   3. Each other rank writes what it found as FILE.rank-I (report_merge.h). Rank 0 waits for these
//      files, makes one verdict of them, and removes them.
//   4. A rank that fails or dies ends all: rank 0 names it, the others hear of it from rank 0
//      between two layers.
// Each file is renamed into place, so it is whole, and names its launch, so that those of an
// earlier one are never read. Rank 0 removes them before the others begin.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/launch/facts.h"
#include "bridge/io/launch/launch.h"
#include "bridge/io/launch/rank.h"
#include "models/compare/forward_comparison.h"
#include "models/verify/report_merge.h"

namespace models {

class Ranks {
 public:
  // report: FILE.
  Ranks(bridge::FileSystem& fs, bridge::Path report, const bridge::Rank& rank,
        bridge::MemoryBudget& budget);
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  bool leads() const { return launch_.leads(); }
  // Finds the other processes. facts: what all of them must agree on. Errors: those of
  // bridge::Launch.
  void join(const bridge::PlanFacts& facts);

  // Reports what ends the launch. Errors: those of Launch::check().
  void check() { launch_.check(); }
  // Where this rank's layers get their inputs from, and where the states behind them go. seed: of
  // LayerInputs.
  LayerInputs inputs(const std::optional<uint64_t>& seed);
  // Gives rank 0 the verdict of all, of which `part` is its own; the others hand theirs in. a, b:
  // the configurations of both sides. Returns the processes' entries in the report, in rank 0.
  nlohmann::ordered_json merge(ReportPart& part, const ModelConfig& a, const ModelConfig& b);
  // Tells the others of a failure, and removes what rank 0 may remove. Never throws.
  void fail(bridge::Code code, std::string_view message) noexcept;

 private:
  bridge::Path part_path(int index) const;
  bridge::Path state_path(int index) const;
  LayerStates receive();
  ReportPart wait_for_part(int index);
  // Removes the parts and states of any launch.
  void remove_parts();

  bridge::FileSystem& fs_;
  const bridge::Path report_;
  const bridge::Rank rank_;
  bridge::MemoryBudget& budget_;
  bridge::Launch launch_;
  bool has_begun_ = false;  // in rank 0: the files beside the report are this launch's
};

}  // namespace models
