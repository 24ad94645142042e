#include "bridge/io/file/lease.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

constexpr int64_t kLargest = 4096;

struct Holder {
  std::string host;
  pid_t process = 0;
  std::string started;  // in the kernel's ticks since boot
};

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

// Reads field 22 of /proc/PID/stat. The name in field 2 may hold any character, but it ends with
// the last parenthesis of the line.
std::string start_of(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text(std::istreambuf_iterator<char>(file), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return field;
}

std::optional<Holder> read_holder(FileSystem& fs, const Path& path) {
  std::istringstream text(read_whole_file(fs, path, kLargest));
  Holder holder;
  if (!(text >> holder.host >> holder.process >> holder.started)) return std::nullopt;
  return holder;
}

bool is_gone(const Holder& holder) {
  if (holder.host != host_name()) return false;
  if (::kill(holder.process, 0) != 0 && errno == ESRCH) return true;
  return start_of(holder.process) != holder.started;
}

class Lease : public Lock {
 public:
  Lease(FileSystem& fs, Path path) : fs_(fs), path_(std::move(path)) {}
  ~Lease() override {
    try {
      fs_.remove_file(path_);
    } catch (...) {  // the lease itself says that its holder is gone
    }
  }
  std::string notice() const override {
    return fmt::format("the file system has no locks; {} keeps others out",
                       printable(path_.native()));
  }

 private:
  FileSystem& fs_;
  const Path path_;
};

// Creates the file. Returns false if it exists.
bool create_file(FileSystem& fs, const Path& path, const std::string& content) {
  if (fs.lstat(path)) return false;
  try {
    write_whole_file(fs, path, content);
    return true;
  } catch (const Error&) {
    if (!fs.lstat(path)) throw;  // else another process was faster
    return false;
  }
}

}  // namespace

std::unique_ptr<Lock> try_lease(FileSystem& fs, const Path& path) {
  Path lease = path;
  lease += ".lease";
  Path takeover = lease;
  takeover += ".takeover";
  const pid_t self = ::getpid();
  const std::string ours = fmt::format("{} {} {}\n", host_name(), self, start_of(self));
  if (create_file(fs, lease, ours)) return std::make_unique<Lease>(fs, lease);

  if (!create_file(fs, takeover, ours)) return nullptr;
  const Lease takes_over(fs, takeover);
  const std::optional<Holder> holder =
      fs.lstat(lease) ? read_holder(fs, lease) : std::optional<Holder>();
  if (holder && holder->host != host_name()) {
    throw Error(Code::kIo,
                fmt::format("{}: held by process {} on {}", printable(lease.native()),
                            holder->process, printable(holder->host)),
                "wait for it to end; where it is gone, remove this file");
  }
  if (!holder || !is_gone(*holder)) return nullptr;
  fs.remove_file(lease);
  if (!create_file(fs, lease, ours)) return nullptr;
  return std::make_unique<Lease>(fs, lease);
}

}  // namespace bridge
