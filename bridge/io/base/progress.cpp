// See progress.h. Truth of the figures: proc(5), statm and status. The peak is VmHWM, not
// getrusage's ru_maxrss, which a process inherits from the process that started it.
#include "bridge/io/base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "bridge/io/base/standard_output.h"

namespace bridge {
namespace {

using namespace std::chrono_literals;

constexpr auto kRateWindow = 30s;
constexpr double kGigabyte = 1e9;
constexpr int kDefaultColumns = 80;

std::string duration_text(double seconds) {
  constexpr double kLongest = 1e7;  // four months: say nothing rather than nonsense
  if (!(seconds >= 0 && seconds < kLongest)) return "--";
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

double seconds_between(Progress::Time from, Progress::Time to) {
  return std::chrono::duration<double>(to - from).count();
}

double rate(int64_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
}

}  // namespace

ProgressMode progress_mode(std::string_view name) {
  return name == "always"  ? ProgressMode::kAlways
         : name == "never" ? ProgressMode::kNever
                           : ProgressMode::kAuto;
}

Progress::Output Progress::to_stderr() {
  const char* term = std::getenv("TERM");
  const bool can_rewrite = term != nullptr && std::string_view(term) != "dumb";
  winsize size = {};
  const bool sized = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return Output{
      .write = print_message,
      .now = [] { return std::chrono::steady_clock::now(); },
      .terminal = can_rewrite && ::isatty(STDERR_FILENO) == 1,
      .columns = sized ? size.ws_col : kDefaultColumns,
  };
}

Progress::Progress(ProgressMode mode, bool quiet, std::string label, int64_t total_bytes,
                   Output output)
    : shown_(!quiet && mode != ProgressMode::kNever),
      report_short_runs_(mode == ProgressMode::kAlways),
      label_(std::move(label)),
      total_(total_bytes),
      output_(std::move(output)),
      start_(output_.now()),
      next_(start_ + interval()) {
  recent_.push_back({start_, 0});
}

void Progress::start_at(int64_t bytes) {
  before_ = bytes;
  done_ = bytes;
  recent_.front().done = bytes;
}

Progress::~Progress() {
  if (line_open_) output_.write("\n");
}

Progress::Time::duration Progress::interval() const {
  return output_.terminal ? Time::duration(200ms) : Time::duration(10s);
}

void Progress::add(int64_t bytes) {
  done_ += bytes;
  if (!shown_) return;
  const Time now = output_.now();
  if (now < next_.load()) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || now < next_.load()) return;
  next_ = now + interval();
  draw(now, false);
}

void Progress::finish() {
  if (!shown_) return;
  const std::lock_guard lock(mutex_);
  if (output_.terminal || drawn_ || report_short_runs_) draw(output_.now(), true);
}

void Progress::draw(Time now, bool last) {
  const int64_t done = done_;
  recent_.push_back({now, done});
  // The oldest sample stays just outside the window, so that it always spans some time.
  while (recent_.size() > 2 && now - recent_[1].time >= kRateWindow) recent_.pop_front();
  const Sample since = last ? Sample{start_, before_} : recent_.front();
  std::string text = line(done, rate(done - since.done, seconds_between(since.time, now)));
  if (output_.terminal) {
    // A line that wraps could not be rewritten.
    text.resize(std::min(text.size(), static_cast<size_t>(std::max(output_.columns - 1, 0))));
    output_.write(fmt::format("\r{}\x1b[K{}", text, last ? "\n" : ""));
    line_open_ = !last;
  } else {
    output_.write(text + "\n");
  }
  drawn_ = true;
}

std::string Progress::line(int64_t done, double bytes_per_second) const {
  const double fraction =
      total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0)
                 : 1;
  const double left = static_cast<double>(std::max<int64_t>(total_ - done, 0));
  // Rounded down: 100% means all of it.
  std::string text =
      fmt::format("{}: {:.2f} / {:.2f} GB  {:3}%  {:.2f} GB/s", label_,
                  static_cast<double>(done) / kGigabyte, static_cast<double>(total_) / kGigabyte,
                  static_cast<int>(fraction * 100), bytes_per_second / kGigabyte);
  if (left > 0) {
    text += fmt::format("  {} left",
                        duration_text(bytes_per_second > 0 ? left / bytes_per_second : -1));
  }
  if (const int64_t resident = resident_bytes(); resident > 0) {
    text += fmt::format("  {} MiB resident", resident >> 20);
  }
  return text;
}

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0;
  int64_t resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return 0;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  std::string field;
  while (status >> field) {
    int64_t kibibytes = 0;
    if (field == "VmHWM:" && status >> kibibytes) return kibibytes << 10;
    status.ignore(1 << 12, '\n');
  }
  return 0;
}

}  // namespace bridge
