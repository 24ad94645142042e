#include "bridge/convert/commit/meeting.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "bridge/convert/commit/launch_sections.h"
#include "bridge/convert/commit/plan_facts.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/lease.h"
#include "bridge/io/launch/blocks.h"

namespace bridge {
namespace {

constexpr std::string_view kMagic = "CSWYPRT1";
constexpr std::string_view kPart = "PART";
constexpr size_t kDifferenceBytes = 24;

// What every process must have been asked alike.
PlanFacts facts_of(const CommonOptions& options) {
  return {{"version", options.version},
          {"--iteration", options.iteration.empty() ? "by the tracker" : options.iteration},
          {"--arch", options.arch.empty() ? "by config.json" : options.arch},
          {"--mapping", options.mapping.empty() ? "built in" : options.mapping.native()},
          {"--sidecar", options.sidecar.empty() ? "in the root" : options.sidecar.native()}};
}

std::string hash_of(const std::vector<Transfer>& transfers) {
  PlanFacts facts;
  add_layout(facts, transfers, {});
  return facts.back().value;
}

}  // namespace

Meeting::Meeting(FileSystem& fs, Path base, const CommonOptions& options, MemoryBudget& budget)
    : fs_(fs),
      base_(std::move(base)),
      rank_(options.rank),
      budget_(budget),
      launch_(fs, base_, options.rank) {
  if (!launch_.is_shared()) return;
  if (!leads()) {
    join_launch(launch_, facts_of(options), budget);
    return;
  }
  launch_.keep_out_earlier();
  launch_.begin();
  JournalHeader header;
  header.facts = facts_of(options);
  open_launch(launch_, header, std::vector<std::vector<Section>>(static_cast<size_t>(rank_.count)));
}

TransferRange Meeting::share(const std::vector<Transfer>& transfers) const {
  const auto count = std::ssize(transfers);
  if (!launch_.is_shared()) return {0, count};
  std::vector<int64_t> cuts(transfers.size());
  std::iota(cuts.begin(), cuts.end(), int64_t{1});
  const std::vector<std::vector<Section>> shares =
      share_out(count, {}, cuts, rank_.count, [&](const TransferRange& range) {
        return output_bytes(transfers, static_cast<size_t>(range.first),
                            static_cast<size_t>(range.last));
      });
  const std::vector<Section>& own = shares[static_cast<size_t>(rank_.index)];
  return own.empty() ? TransferRange{} : TransferRange{own.front().first, own.back().last};
}

Path Meeting::part_path(std::string_view step, int index) const {
  Path path = base_;
  path += fmt::format(".part.{}.{}", step, index);
  return path;
}

void Meeting::write_part(std::string_view step, const std::string& plan,
                         const Differences& differences) {
  std::string payload;
  append_text(payload, launch_.nonce());
  append_text(payload, plan);
  append_number(payload, std::ssize(differences));
  for (const auto& [target, difference] : differences) {
    append_number(payload, target);
    append_number(payload, difference.elements);
    append_number(payload, difference.first);
  }
  const Path path = part_path(step, rank_.index);
  Path beside = path;
  beside += ".new";
  remove_tree(fs_, beside);  // of an earlier launch
  write_whole_file(fs_, beside, std::string(kMagic) + make_block(kPart, payload));
  fs_.rename(beside, path);
}

// Returns nullopt for a part of an earlier launch.
std::optional<Meeting::Differences> Meeting::read_part(const Path& path, const std::string& plan,
                                                       int index) {
  return with_context(printable(path.native()), [&]() -> std::optional<Differences> {
    const std::unique_ptr<File> file = fs_.open_write(path);  // never through a symlink
    std::string magic(kMagic.size(), '\0');
    if (file->size() < std::ssize(kMagic)) bad_input("not a part of a comparison");
    file->read_at(0, std::as_writable_bytes(std::span(magic)));
    Reservation memory(&budget_, "differences");
    const std::optional<Block> block = read_block(*file, std::ssize(kMagic), memory);
    if (magic != kMagic || !block || block->kind != kPart) bad_input("not a part of a comparison");
    Payload payload(block->payload);
    if (payload.text() != launch_.nonce()) return std::nullopt;
    if (payload.text() != plan) {
      usage_error(fmt::format("rank {} of {} compares other tensors", index, rank_.count),
                  "all processes need the same options and must see the same files");
    }
    Differences found;
    for (size_t left = payload.count(kLargestBlock, kDifferenceBytes); left > 0; --left) {
      const int64_t target = payload.size();
      CompareSink::Difference difference;
      difference.elements = payload.size();
      difference.first = payload.size();
      if (target > std::numeric_limits<int32_t>::max()) Payload::contradiction();
      found[static_cast<int32_t>(target)] = difference;
    }
    payload.finish();
    return found;
  });
}

Meeting::Differences Meeting::wait_for_part(std::string_view step, const std::string& plan,
                                            int index) {
  const Path path = part_path(step, index);
  while (true) {
    if (fs_.lstat(path)) {
      if (auto part = read_part(path, plan, index)) return *std::move(part);
    }
    launch_.check();
    real_lease_clock().sleep(kLeasePoll);
  }
}

Meeting::Differences Meeting::merge(std::string_view step, const std::vector<Transfer>& transfers,
                                    const Differences& own) {
  if (!launch_.is_shared()) return own;
  const std::string plan = hash_of(transfers);
  steps_.emplace_back(step);
  if (!leads()) {
    write_part(step, plan, own);
    return wait_for_part(step, plan, 0);
  }
  Differences all = own;
  for (int i = 1; i < rank_.count; ++i) {
    for (const auto& [target, difference] : wait_for_part(step, plan, i)) {
      CompareSink::Difference& total = all[target];
      total.first =
          total.elements == 0 ? difference.first : std::min(total.first, difference.first);
      total.elements += difference.elements;
    }
  }
  write_part(step, plan, all);
  return all;
}

void Meeting::finish() {
  if (!launch_.is_shared()) return;
  if (!leads()) return launch_.finish_part();
  launch_.wait_for_all();
  remove_parts();
  launch_.close();
}

void Meeting::fail(Code code, std::string_view message) noexcept {
  launch_.fail(code, message);
  if (!launch_.is_shared() || !leads() || !launch_.wait_until_others_end()) return;
  remove_parts();
  launch_.close();
}

void Meeting::remove_parts() noexcept {
  try {
    for (const std::string& step : steps_) {
      for (int i = 0; i < rank_.count; ++i) {
        remove_tree(fs_, part_path(step, i));
        Path beside = part_path(step, i);
        beside += ".new";
        remove_tree(fs_, beside);
      }
    }
  } catch (...) {  // the next launch removes them
  }
}

}  // namespace bridge
