#include "bridge/io/file/lease.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <span>
#include <sstream>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/interrupt.h"
#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kSize = 1536;  // of every lease file, so that a beat changes no length
constexpr int64_t kLargest = 4096;
constexpr seconds kSettle{2};
constexpr milliseconds kFirstBeats{1000};
constexpr milliseconds kBeats{10'000};
constexpr uint64_t kFastBeats = 10;

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "unknown";
  std::string host = printable(name.data());
  std::replace(host.begin(), host.end(), ' ', '_');  // one word of the text
  return host;
}

// Returns the first word of a file of the kernel; "-" where there is none.
std::string first_word(const char* path) {
  std::ifstream file(path);
  std::string word;
  return file >> word ? word : "-";
}

// Names what a process number belongs to: this boot of this kernel, and the PID namespace, which
// containers of one machine do not share.
std::string machine_name() {
  std::array<char, 64> space{};
  if (::readlink("/proc/self/ns/pid", space.data(), space.size() - 1) <= 0) space[0] = '-';
  return first_word("/proc/sys/kernel/random/boot_id") + "/" + space.data();
}

struct ProcessFacts {
  std::string state;    // a letter; Z: it has ended, and its parent has not asked for its status
  std::string started;  // in the kernel's ticks since boot
};

// Reads fields 3 and 22 of /proc/PID/stat. The name in field 2 may hold any character, but it ends
// with the last parenthesis of the line.
ProcessFacts process_facts(pid_t process) {
  // "./": an emulator (qemu-user) makes up /proc/PID/stat of its own process, with another start.
  std::ifstream file(fmt::format("/proc/./{}/stat", process));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  ProcessFacts facts{"-", "-"};
  std::string field;
  for (int i = 3; i <= 22 && fields >> field; ++i) {
    if (i == 3) facts.state = field;
    if (i == 22) facts.started = field;
  }
  return facts;
}

bool has_no_process(const LeaseHolder& holder) {
  if (::kill(holder.process, 0) != 0 && errno == ESRCH) return true;
  const ProcessFacts facts = process_facts(holder.process);
  return facts.started != holder.started || facts.state == "Z" || facts.state == "X";
}

std::string crc_text(std::string_view text) {
  return fmt::format("{:08x}", crc32(std::as_bytes(std::span(text))));
}

// Creates the file. Returns false if it exists.
bool create_file(FileSystem& fs, const Path& path, const std::string& content) {
  constexpr int kMostTries = 20;
  for (int tries = 1;; ++tries) {
    if (fs.lstat(path)) return false;
    try {
      fs.create(path)->write_at(0, std::as_bytes(std::span(content)));
      return true;
    } catch (const Error&) {
      if (fs.lstat(path)) return false;  // another process was faster
      // It may have given the lease back meanwhile. What is really wrong stays wrong.
      if (tries == kMostTries) throw;
    }
  }
}

// Returns the text of a lease; nullopt: there is none. Opens it as it will be written: never
// through a symlink, and not as an input, of which a run remembers what it was (input_watch.h).
std::optional<std::string> read_text(FileSystem& fs, const Path& path) {
  if (!fs.lstat(path)) return std::nullopt;
  try {
    const std::unique_ptr<File> file = fs.open_write(path);
    std::string text(static_cast<size_t>(std::min(file->size(), kLargest)), '\0');
    file->read_at(0, std::as_writable_bytes(std::span(text)));
    return text;
  } catch (const Error&) {
    if (!fs.lstat(path)) return std::nullopt;  // it was given back meanwhile
    return std::string();                      // as one that is torn: time will tell
  }
}

// Replaces the text of a lease that exists.
void write_text(FileSystem& fs, const Path& path, const std::string& text) {
  const std::unique_ptr<File> file = fs.open_write(path);
  if (file->size() != std::ssize(text)) file->allocate(std::ssize(text));
  file->write_at(0, std::as_bytes(std::span(text)));
}

}  // namespace

const LeaseClock& real_lease_clock() {
  static const LeaseClock kClock = {[] { return std::chrono::steady_clock::now(); },
                                    [](milliseconds time) {
                                      throw_if_interrupted();
                                      std::this_thread::sleep_for(time);
                                      throw_if_interrupted();
                                    }};
  return kClock;
}

LeaseHolder lease_holder_here() {
  LeaseHolder holder;
  holder.host = host_name();
  holder.machine = machine_name();
  holder.process = ::getpid();
  holder.started = process_facts(holder.process).started;
  return holder;
}

std::string lease_text(const LeaseHolder& holder) {
  std::string text = fmt::format("causeway-lease {} {} {} {} {} {}", holder.host, holder.machine,
                                 holder.process, holder.started, holder.beat, holder.note);
  text.resize(kSize - 10, ' ');
  return text + " " + crc_text(text) + "\n";
}

std::optional<LeaseHolder> parse_lease(std::string_view text) {
  if (text.size() != kSize || text.substr(kSize - 9, 8) != crc_text(text.substr(0, kSize - 10))) {
    return std::nullopt;
  }
  std::istringstream words{std::string(text.substr(0, kSize - 10))};
  LeaseHolder holder;
  std::string magic;
  if (!(words >> magic >> holder.host >> holder.machine >> holder.process >> holder.started >>
        holder.beat) ||
      magic != "causeway-lease" || holder.process <= 0) {
    return std::nullopt;
  }
  std::getline(words >> std::ws, holder.note);
  holder.note.erase(holder.note.find_last_not_of(' ') + 1);
  return holder;
}

LeaseWatch::State LeaseWatch::look() {
  std::optional<std::string> text = read_text(fs_, path_);
  if (!text) {
    holder_.reset();
    text_.reset();
    has_beaten_ = false;
    return State::kAbsent;
  }
  const auto now = clock_.now();
  if (text_ != text) {
    has_beaten_ = text_.has_value();
    changed_ = now;
    text_ = std::move(text);
    holder_ = parse_lease(*text_);
  }
  static const std::string kMachine = machine_name();
  if (holder_ && holder_->machine == kMachine) {
    return has_no_process(*holder_) ? State::kGone : State::kAlive;
  }
  // A text that is torn is being written, unless its writer was killed.
  if (now - changed_ >= (holder_ ? kLeaseIsStale : kSettle)) return State::kGone;
  return has_beaten_ ? State::kAlive : State::kUnknown;
}

Lease::Lease(FileSystem& fs, Path path, LeaseHolder holder, const LeaseClock& clock)
    : fs_(fs),
      path_(std::move(path)),
      clock_(clock),
      holder_(std::move(holder)),
      last_(clock.now()) {}

Lease::~Lease() {
  if (thread_.joinable()) {
    thread_.request_stop();
    wake_.notify_all();
    thread_.join();
  }
  if (leaves_ || lost_) return;
  try {
    if (is_ours()) fs_.remove_file(path_);
  } catch (...) {  // the lease itself says that its holder is gone
  }
}

std::string Lease::notice() const {
  return fmt::format("the file system has no locks; {} keeps others out",
                     printable(path_.native()));
}

void Lease::check() const {
  if (!lost_) return;
  throw Error(Code::kIo,
              fmt::format("{}: another process has taken over, or the file could not be written "
                          "for too long",
                          printable(path_.native())),
              "only one of them can go on");
}

void Lease::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Lease::run(const std::stop_token& stop) {
  std::mutex sleeping;
  for (uint64_t beats = 0; !stop.stop_requested(); ++beats) {
    std::unique_lock lock(sleeping);
    wake_.wait_for(lock, stop, beats < kFastBeats ? kFirstBeats : kBeats, [] { return false; });
    if (!stop.stop_requested()) beat();
  }
}

bool Lease::is_ours() {
  const std::optional<std::string> text = read_text(fs_, path_);
  const std::optional<LeaseHolder> there = text ? parse_lease(*text) : std::nullopt;
  return there && there->is_same_process(holder_);
}

void Lease::write() {
  ++holder_.beat;
  write_text(fs_, path_, lease_text(holder_));
  last_ = clock_.now();
}

void Lease::beat() {
  const std::lock_guard lock(mutex_);
  if (lost_) return;
  try {
    if (is_ours()) {
      write();
    } else {
      lost_ = true;
    }
  } catch (...) {
    // Others believe in this lease for 60 s.
    if (clock_.now() - last_ >= kLeaseIsStale / 2) lost_ = true;
  }
}

void Lease::set_note(std::string note) {
  const std::lock_guard lock(mutex_);
  if (lost_) return;
  holder_.note = note.substr(0, kLongestLeaseNote);
  write();
}

std::unique_ptr<Lease> take_lease(FileSystem& fs, const Path& path, bool has_lock,
                                  const std::string& note, const LeaseClock& clock) {
  LeaseHolder self = lease_holder_here();
  self.note = note.substr(0, kLongestLeaseNote);
  const std::string ours = lease_text(self);
  LeaseWatch watch(fs, path, clock);
  while (true) {
    if (create_file(fs, path, ours)) break;
    const LeaseWatch::State state = watch.look();
    if (state == LeaseWatch::State::kAlive) return nullptr;
    if (state == LeaseWatch::State::kUnknown) clock.sleep(kLeasePoll);
    if (state != LeaseWatch::State::kGone) continue;
    const bool was_here = watch.holder() && watch.holder()->machine == self.machine;
    try {
      write_text(fs, path, ours);
    } catch (const Error&) {
      if (fs.lstat(path)) throw;
      continue;  // it was given back meanwhile
    }
    if (has_lock && was_here) break;
    clock.sleep(kSettle);
    const std::optional<std::string> text = read_text(fs, path);
    const std::optional<LeaseHolder> now = text ? parse_lease(*text) : std::nullopt;
    if (!now || !now->is_same_process(self)) return nullptr;
    break;
  }
  return std::make_unique<Lease>(fs, path, std::move(self), clock);
}

}  // namespace bridge
