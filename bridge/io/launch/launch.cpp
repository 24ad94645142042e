#include "bridge/io/launch/launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <span>
#include <sstream>
#include <utility>

#include "bridge/io/base/interrupt.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/sha256.h"

namespace bridge {
namespace {

using State = LeaseWatch::State;

constexpr std::string_view kMagic = "CSWYLCH1";
constexpr std::string_view kHead = "HEAD";
constexpr std::string_view kRanks = "RANK";
constexpr size_t kShownRanks = 8;
constexpr std::string_view kWaiting = "waiting";
constexpr std::string_view kWorking = "working";
constexpr std::string_view kDone = "done";
constexpr std::string_view kFailed = "failed";

Path with_suffix(Path path, std::string_view suffix) {
  path += suffix;
  return path;
}

std::string random_nonce() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

std::string hash_of(const std::string& launch) {
  if (launch.empty()) return "-";
  Sha256 hash;
  hash.add(launch);
  return hash.hex().substr(0, 16);
}

// "ranks 2, 3 of 4"
std::string ranks_text(const std::vector<int>& ranks, int count) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size() && i < kShownRanks; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  }
  if (ranks.size() > kShownRanks) text += fmt::format(" and {} more", ranks.size() - kShownRanks);
  return text + fmt::format(" of {}", count);
}

}  // namespace

Launch::Launch(FileSystem& fs, Path base, const Rank& rank, const LeaseClock& clock)
    : fs_(fs),
      base_(std::move(base)),
      rank_(rank),
      clock_(clock),
      launch_(hash_of(rank.launch)),
      leader_(fs, with_suffix(base_, ".rank.0"), clock) {
  if (!leads() || !is_shared()) return;
  nonce_ = random_nonce();
  for (int i = 1; i < rank_.count; ++i) {
    others_.push_back({i, LeaseWatch(fs, rank_path(i), clock)});
  }
}

Path Launch::rank_path(int index) const {
  return with_suffix(base_, fmt::format(".rank.{}", index));
}

std::string Launch::rank_name(int index) const {
  return fmt::format("rank {} of {}", index, rank_.count);
}

std::string Launch::note(std::string_view state, int code, std::string_view message) const {
  return fmt::format("{} {} {} {} {}", nonce_.empty() ? "-" : nonce_, state, code, launch_,
                     printable(message));
}

std::optional<Launch::Note> Launch::parse(const std::optional<LeaseHolder>& holder) {
  if (!holder) return std::nullopt;
  std::istringstream words(holder->note);
  Note note;
  if (!(words >> note.nonce >> note.state >> note.code >> note.launch)) return std::nullopt;
  std::getline(words >> std::ws, note.message);
  note.message = printable(note.message);
  return note;
}

void Launch::rethrow(int index, const Note& note) const {
  const bool known = note.code >= static_cast<int>(Code::kUsage) &&
                     note.code <= static_cast<int>(Code::kUnsupported);
  throw Error(known ? static_cast<Code>(note.code) : Code::kIo,
              fmt::format("{}: {}", rank_name(index),
                          note.message.empty() ? "it ended early" : note.message));
}

void Launch::take_own_lease(std::string_view state) {
  lease_ = take_lease(fs_, rank_path(rank_.index), false, note(state), clock_);
  if (lease_ == nullptr) {
    throw Error(
        Code::kIo,
        fmt::format("{}: there is another {}", printable(base_.native()), rank_name(rank_.index)),
        "each process needs a rank of its own");
  }
  lease_->start();
}

void Launch::keep_out_earlier() {
  const Path folder = base_.parent_path();
  const std::string base = base_.filename().native();
  const std::string begin = base + ".rank.";
  std::vector<Path> files;  // of the launch, which needs them as long as a rank lives
  for (const std::string& name : fs_.list(folder.empty() ? Path(".") : folder)) {
    const Path path = folder / name;
    if (name == base + ".launch" || name == base + ".launch.new") files.push_back(path);
    if (!name.starts_with(begin)) continue;
    LeaseWatch watch(fs_, path, clock_);
    while (true) {
      const State state = watch.look();
      const std::optional<Note> said = parse(watch.holder());
      if (state == State::kAbsent) break;
      const bool waits = said && said->state == kWaiting;
      if (state == State::kGone || (said && !waits && said->state != kWorking)) {
        fs_.remove_file(path);
        break;
      }
      if (state == State::kAlive && waits) break;  // for this launch
      if (state == State::kAlive) {
        throw Error(Code::kIo,
                    fmt::format("{}: rank {} of an earlier launch still writes (process {} on {})",
                                printable(base_.native()), printable(name.substr(begin.size())),
                                watch.holder() ? watch.holder()->process : 0,
                                printable(watch.holder() ? watch.holder()->host : "?")),
                    "wait for it to end, or end it");
      }
      clock_.sleep(kLeasePoll);
    }
  }
  for (const Path& path : files) fs_.remove_file(path);
}

void Launch::begin() {
  begun_ = clock_.now();
  take_own_lease(kWorking);
}

void Launch::open(std::string_view plan, std::string_view shares) {
  std::string ranks;
  append_text(ranks, nonce_);
  append_number(ranks, rank_.count);
  ranks += shares;
  const Path path = with_suffix(base_, ".launch");
  const Path beside = with_suffix(base_, ".launch.new");
  if (fs_.lstat(beside)) fs_.remove_file(beside);
  write_whole_file(fs_, beside,
                   std::string(kMagic) + make_block(kHead, plan) + make_block(kRanks, ranks));
  fs_.rename(beside, path);
  opened_ = clock_.now();
}

bool Launch::read_launch_file(const Reader& read, MemoryBudget& budget) {
  const Path path = with_suffix(base_, ".launch");
  if (!fs_.lstat(path)) return false;
  return with_context(printable(path.native()), [&] {
    const std::unique_ptr<File> file = fs_.open_write(path);  // never through a symlink
    std::string magic(kMagic.size(), '\0');
    if (file->size() < std::ssize(kMagic)) bad_input("not the file of a launch");
    file->read_at(0, std::as_writable_bytes(std::span(magic)));
    if (magic != kMagic) bad_input("not the file of a launch");
    Reservation memory(&budget, "the launch");
    const std::optional<Block> head = read_block(*file, std::ssize(kMagic), memory);
    if (!head || head->kind != kHead) bad_input("its first block is torn");
    const std::optional<Block> ranks = read_block(*file, std::ssize(kMagic) + head->size(), memory);
    if (!ranks || ranks->kind != kRanks) bad_input("its second block is torn");

    Payload payload(ranks->payload);
    if (payload.text() != nonce_) return false;
    // From here on rank 0 hears of a failure. It may have removed the lease, if that looked like
    // one of an earlier launch.
    lease_->beat();
    if (lease_->is_lost()) {
      lease_.reset();
      take_own_lease(kWorking);
    } else {
      lease_->set_note(note(kWorking));
    }
    memory.grow(2 * std::ssize(head->payload));
    const int64_t count = payload.size();
    if (count != rank_.count) {
      usage_error(fmt::format("{}: rank 0 says that they are {}", rank_name(rank_.index), count),
                  "all processes must be started as ranks of one launch");
    }
    read(Payload(head->payload), payload);
    return true;
  });
}

void Launch::expect_same(const PlanFacts& leaders, const PlanFacts& own) const {
  if (const auto difference = first_change(leaders, own)) {
    usage_error(
        fmt::format("{} makes another plan than rank 0: {}", rank_name(rank_.index), *difference),
        "all processes need the same options and must see the same files");
  }
}

void Launch::join(const Reader& read, MemoryBudget& budget) {
  auto start = clock_.now();
  std::optional<std::string> old_nonce;  // that was there when this process came
  bool is_first_look = true;
  const Path folder = base_.parent_path().empty() ? Path(".") : base_.parent_path();
  while (true) {
    if (lease_ == nullptr && fs_.stat(folder)) take_own_lease(kWaiting);
    const State state = leader_.look();
    const std::optional<Note> said = parse(leader_.holder());
    if (is_first_look && said && state != State::kAlive) old_nonce = said->nonce;
    is_first_look = false;
    if (said) {
      const bool may_be_ours = said->launch == launch_;
      // What was there before, of a process that is gone, is of an earlier launch.
      const bool is_news = state == State::kAlive || said->nonce != old_nonce;
      if (said->state == kFailed && may_be_ours && is_news) rethrow(0, *said);
      if (said->state == kWorking && may_be_ours && is_news && state == State::kGone) {
        throw Error(Code::kIo, fmt::format("{}: rank 0 has died", rank_name(rank_.index)));
      }
      if (lease_ != nullptr && said->state == kWorking && may_be_ours && state == State::kAlive) {
        nonce_ = said->nonce;
        start = clock_.now();  // it has come, and prepares the output
        if (read_launch_file(read, budget)) return;
      }
    }
    if (clock_.now() - start >= rank_.timeout) {
      throw Error(Code::kIo,
                  fmt::format("{}: rank 0 did not begin within {} s", rank_name(rank_.index),
                              rank_.timeout.count()),
                  fmt::format("is {} in a folder that all processes see? --rank-timeout waits "
                              "longer",
                              printable(base_.native())));
    }
    clock_.sleep(kLeasePoll);
  }
}

void Launch::check() {
  if (lease_ == nullptr) return;
  lease_->check();
  if (leads()) {
    check_others();
  } else {
    check_leader();
  }
}

void Launch::check_leader() {
  const State state = leader_.look();
  const std::optional<Note> said = parse(leader_.holder());
  if (state == State::kAbsent || (said && said->nonce != nonce_)) {
    throw Error(Code::kIo, fmt::format("{}: this launch has ended", rank_name(rank_.index)));
  }
  if (said && said->state == kFailed) rethrow(0, *said);
  if (state == State::kGone) {
    throw Error(Code::kIo, fmt::format("{}: rank 0 has died", rank_name(rank_.index)));
  }
}

bool Launch::check_others() {
  bool all_done = true;
  std::vector<int> missing;
  for (Other& other : others_) {
    const State state = other.watch.look();
    const std::optional<Note> said = parse(other.watch.holder());
    const bool has_come =
        state != State::kAbsent && said && (said->nonce == nonce_ || said->state == kWaiting);
    other.has_come = other.has_come || has_come;
    if (!has_come && !(other.has_come && state == State::kGone)) {
      missing.push_back(other.index);
    } else if (said && said->state == kFailed) {
      rethrow(other.index, *said);
    } else if (said && said->state == kDone) {
      continue;
    } else if (state == State::kGone) {
      throw Error(Code::kIo, fmt::format("{} has died{}", rank_name(other.index),
                                         other.watch.holder()
                                             ? fmt::format(" (process {} on {})",
                                                           other.watch.holder()->process,
                                                           printable(other.watch.holder()->host))
                                             : ""));
    }
    all_done = false;
  }
  if (!missing.empty() && clock_.now() - opened_ >= rank_.timeout) {
    throw Error(Code::kIo,
                fmt::format("{} did not come within {} s", ranks_text(missing, rank_.count),
                            rank_.timeout.count()),
                "--rank-timeout waits longer");
  }
  return all_done;
}

void Launch::finish_part() {
  lease_->check();
  lease_->set_note(note(kDone));
  lease_->leave();
}

void Launch::wait_for_all() {
  while (true) {
    lease_->check();
    if (check_others()) return;
    clock_.sleep(kLeasePoll);
  }
}

void Launch::fail(Code code, std::string_view message) noexcept {
  if (lease_ == nullptr) return;
  try {
    if (nonce_.empty()) return;  // nobody knows of this rank yet
    lease_->set_note(note(kFailed, static_cast<int>(code), message));
    lease_->leave();
  } catch (...) {  // the lease tells that this process is gone
  }
}

bool Launch::wait_until_others_end() noexcept {
  constexpr std::chrono::seconds kMost{120};
  constexpr std::chrono::seconds kLate{10};
  try {
    const auto start = clock_.now();
    const std::chrono::seconds late = std::min(kLate, rank_.timeout);
    while (true) {
      bool all_ended = true;
      for (Other& other : others_) {
        const State state = other.watch.look();
        const std::optional<Note> said = parse(other.watch.holder());
        const bool is_ours = said && (said->nonce == nonce_ || said->state == kWaiting);
        other.has_come = other.has_come || is_ours;
        const bool ended =
            state == State::kGone || (is_ours ? said->state == kDone || said->state == kFailed
                                              : other.has_come || clock_.now() - begun_ >= late);
        all_ended = all_ended && ended;
      }
      if (all_ended) return true;
      if (clock_.now() - start >= kMost) return false;
      clock_.sleep(kLeasePoll);
    }
  } catch (...) {
    return false;
  }
}

void Launch::close() noexcept {
  if (lease_ == nullptr) return;
  const auto remove = [&](const Path& path) {
    try {
      if (fs_.lstat(path)) fs_.remove_file(path);
    } catch (...) {  // the next launch sees that its holder is gone
    }
  };
  remove(with_suffix(base_, ".launch"));
  remove(with_suffix(base_, ".launch.new"));
  for (const Other& other : others_) remove(rank_path(other.index));
  remove(rank_path(0));
  lease_.reset();
}

}  // namespace bridge
