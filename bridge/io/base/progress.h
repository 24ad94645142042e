// The progress line of a run, on stderr:
//
//   convert: 12.30 / 688.59 GB   2%  1.45 GB/s  7m46s left  309 MiB resident
//
//   1. On a terminal the line is rewritten in place, at most five times a second.
//   2. Elsewhere (a log file) a line is added every ten seconds, so an automatic run shorter than
//      that stays silent; --progress always also reports the end of a short run.
//   3. The rate is that of the last 30 seconds (of the whole run in the last line), so that the
//      time left follows a disk that slows down. Amounts are in decimal GB, as disks and hubs
//      count; memory is in MiB, as for --memory.
//
// No thread runs in the background: a thread that calls add() draws the line, and never waits for
// another thread that is drawing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace bridge {

enum class ProgressMode { kAuto, kAlways, kNever };

// Parses the value of --progress: auto, always or never. Any other name gives kAuto.
ProgressMode progress_mode(std::string_view name);

class Progress {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // The destination of the line and the clock; tests replace them.
  struct Output {
    std::function<void(std::string_view)> write;
    std::function<Time()> now;
    bool terminal;
    int columns;  // of the terminal
  };
  static Output to_stderr();

  Progress(ProgressMode mode, bool quiet, std::string label, int64_t total_bytes,
           Output output = to_stderr());
  // Counts bytes that an earlier run did, which are part of no rate. Call it before add().
  void start_at(int64_t bytes);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // leaves the terminal's cursor on a line of its own

  void add(int64_t bytes);  // thread-safe
  void finish();            // the last line; at most once, after every add()

 private:
  struct Sample {
    Time time;
    int64_t done;
  };

  void draw(Time now, bool last);
  std::string line(int64_t done, double bytes_per_second) const;
  Time::duration interval() const;

  const bool shown_;
  const bool report_short_runs_;
  const std::string label_;
  const int64_t total_;
  const Output output_;
  const Time start_;
  int64_t before_ = 0;  // done by an earlier run
  std::atomic<int64_t> done_{0};
  std::atomic<Time> next_;

  std::mutex mutex_;  // guards what follows
  std::deque<Sample> recent_;
  bool line_open_ = false;
  bool drawn_ = false;
};

// The memory of this process, from /proc/self; 0 where that is not mounted.
int64_t resident_bytes();
int64_t peak_rss_bytes();

}  // namespace bridge
