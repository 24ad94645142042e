#include "models/verify/ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "bridge/io/file/lease.h"
#include "bridge/io/launch/blocks.h"
#include "models/verify/state_file.h"

namespace models {
namespace {

constexpr int64_t kLargestPart = 64 << 20;

// Where the leases lie: as hidden files, like those of a conversion.
bridge::Path meeting_place(const bridge::Path& report) {
  return report.parent_path() / fmt::format(".{}.causeway.logits", report.filename().native());
}

}  // namespace

Ranks::Ranks(bridge::FileSystem& fs, bridge::Path report, const bridge::Rank& rank,
             bridge::MemoryBudget& budget)
    : fs_(fs),
      report_(std::move(report)),
      rank_(rank),
      budget_(budget),
      launch_(fs, meeting_place(report_), rank) {}

void Ranks::join(const bridge::PlanFacts& facts) {
  if (!leads()) {
    const auto read = [&](bridge::Payload plan, bridge::Payload) {
      launch_.expect_same(bridge::parse_facts(plan), facts);
    };
    launch_.join(read, budget_);
    return;
  }
  launch_.keep_out_earlier();
  launch_.begin();
  has_begun_ = true;
  remove_parts();
  std::string plan;
  bridge::append_facts(plan, facts);
  launch_.open(plan, {});
}

bridge::Path Ranks::part_path(int index) const {
  bridge::Path path = report_;
  path += fmt::format(".rank-{}", index);
  return path;
}

bridge::Path Ranks::state_path(int index) const {
  bridge::Path path = part_path(index);
  path += ".state";
  return path;
}

LayerInputs Ranks::inputs(const std::optional<uint64_t>& seed) {
  LayerInputs inputs;
  inputs.seed = seed;
  inputs.check = [this] { check(); };
  if (rank_.index > 0) {
    // Nothing is read of the state before a layer whose input is made.
    inputs.receive = [this, seed] { return seed ? LayerStates() : receive(); };
  }
  if (!seed && rank_.index + 1 < rank_.count) {
    inputs.send = [this](const LayerStates& states) {
      write_states(fs_, state_path(rank_.index), launch_.nonce(), states);
    };
  }
  return inputs;
}

LayerStates Ranks::receive() {
  const bridge::Path path = state_path(rank_.index - 1);
  while (true) {
    if (auto states = read_states(fs_, path, launch_.nonce(), budget_)) {
      fs_.remove_file(path);
      return *std::move(states);
    }
    check();
    bridge::real_lease_clock().sleep(bridge::kLeasePoll);
  }
}

ReportPart Ranks::wait_for_part(int index) {
  const bridge::Path path = part_path(index);
  while (true) {
    if (fs_.lstat(path)) {
      ReportPart part;
      const bool is_of_launch = bridge::with_context(bridge::printable(path.native()), [&] {
        return parse_part(bridge::read_whole_file(fs_, path, kLargestPart), launch_.nonce(), part);
      });
      if (is_of_launch) return part;
    }
    check();
    bridge::real_lease_clock().sleep(bridge::kLeasePoll);
  }
}

nlohmann::ordered_json Ranks::merge(ReportPart& part, const ModelConfig& a, const ModelConfig& b) {
  if (!leads()) {
    bridge::Path beside = part_path(rank_.index);
    beside += ".new";
    bridge::remove_tree(fs_, beside);
    bridge::write_whole_file(fs_, beside, part_text(part, launch_.nonce()));
    fs_.rename(beside, part_path(rank_.index));
    launch_.finish_part();
    return {};
  }
  nlohmann::ordered_json processes = nlohmann::ordered_json::array({part.process});
  for (int i = 1; i < rank_.count; ++i) {
    ReportPart next = wait_for_part(i);
    processes.push_back(std::move(next.process));
    merge_part(part, std::move(next));
  }
  sort_found(part.tensors, a, b);
  launch_.wait_for_all();
  remove_parts();
  launch_.close();
  return processes;
}

void Ranks::remove_parts() {
  const bridge::Path folder = report_.parent_path().empty() ? "." : report_.parent_path();
  const std::string begin = report_.filename().native() + ".rank-";
  for (const std::string& name : fs_.list(folder)) {
    if (!name.starts_with(begin)) continue;
    std::string_view rest = std::string_view(name).substr(begin.size());
    const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    rest.remove_prefix(digits);
    const bool is_ours =
        digits > 0 && (rest.empty() || rest == ".new" || rest == ".state" || rest == ".state.new");
    if (is_ours) fs_.remove_file(folder / name);
  }
}

void Ranks::fail(bridge::Code code, std::string_view message) noexcept {
  launch_.fail(code, message);
  if (!has_begun_ || !launch_.wait_until_others_end()) return;
  try {
    remove_parts();
  } catch (...) {  // the next launch removes them
  }
  launch_.close();
}

}  // namespace models
