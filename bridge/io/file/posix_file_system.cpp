// Implements file_system.h on Linux.
//
//   1. Transfers loop: read(2) and write(2) may be interrupted (EINTR) or move fewer bytes than
//      requested.
//   2. Inputs are opened non-blocking and checked afterwards (fstat on the descriptor, not on the
//      name), so that a FIFO or a device in a hostile folder is not read and does not block.
//   3. No output file is reached through a symlink: create uses O_EXCL, open_write uses O_NOFOLLOW.
//   4. A failed fsync stays failed. The kernel clears the dirty flag of pages that it could not
//      write, so a second fsync would succeed although the data is not on the disk (PostgreSQL's
//      "fsyncgate").
//   5. The code distinguishes what a file system cannot do (fallocate, exchange, symlinks, fsync of
//      a folder) from what went wrong; only the former has a fallback.
//
// Truth: man-pages(2) open, pread, fallocate, fsync, rename, flock.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <mutex>
#include <utility>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/lease.h"

namespace bridge {
namespace {

[[noreturn]] void fail(const Path& path, std::string_view operation, int error_number) {
  io_error(path.native(), operation, error_number);
}

// Returns the name for a system call. A NUL inside would silently name another file.
const char* c_name(const Path& path) {
  if (path.native().find('\0') != std::string::npos) {
    bad_input(fmt::format("{}: a zero byte in a file name", printable(path.native())));
  }
  return path.c_str();
}

// True for the errors by which optional calls say that this file system does not support them.
bool is_unsupported(int error_number) {
  return error_number == EINVAL || error_number == ENOSYS || error_number == EOPNOTSUPP;
}

template <typename Call>
auto retry(Call&& call) {
  while (true) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  // Errors of close do not matter: what must be durable has been synced by then.
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Descriptor open_descriptor(const Path& path, std::string_view operation, int flags) {
  const char* name = c_name(path);
  const int fd = retry([&] { return ::open(name, flags | O_CLOEXEC | O_NOCTTY, 0666); });
  if (fd >= 0) return Descriptor(fd);
  // The path is a socket or a device without a driver, or, with O_NOFOLLOW, a symlink.
  if (errno == ENXIO) bad_input(fmt::format("{}: not a regular file", printable(path.native())));
  if (errno == ELOOP && (flags & O_NOFOLLOW) != 0) {
    bad_input(fmt::format("{}: is a symbolic link", printable(path.native())));
  }
  fail(path, operation, errno);
}

struct ::stat stat_descriptor(const Path& path, int fd) {
  struct ::stat status = {};
  if (::fstat(fd, &status) != 0) fail(path, "stat", errno);
  return status;
}

Stat to_stat(const struct ::stat& status) {
  const Kind kind = S_ISREG(status.st_mode)   ? Kind::kRegular
                    : S_ISDIR(status.st_mode) ? Kind::kDirectory
                    : S_ISLNK(status.st_mode) ? Kind::kSymlink
                                              : Kind::kOther;
  constexpr int64_t kNanoseconds = 1'000'000'000;
  return Stat{kind, status.st_size, status.st_dev, status.st_ino,
              status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec};
}

class PosixFile : public File {
 public:
  PosixFile(Path path, Descriptor fd, bool writable)
      : path_(std::move(path)), fd_(std::move(fd)), writable_(writable) {
    const struct ::stat status = stat_descriptor(path_, fd_.get());
    if (!S_ISREG(status.st_mode)) {
      bad_input(fmt::format("{}: not a regular file", printable(path_.native())));
    }
    size_at_open_ = status.st_size;
  }

  const Path& path() const override { return path_; }
  Stat stat() const override { return to_stat(stat_descriptor(path_, fd_.get())); }

  int64_t size() const override {
    return writable_ ? stat_descriptor(path_, fd_.get()).st_size : size_at_open_;
  }

  void read_at(int64_t offset, std::span<std::byte> out) const override {
    size_t done = 0;
    while (done < out.size()) {
      const off_t at = checked_add(offset, checked_cast<int64_t>(done), "file offset");
      const ssize_t got =
          retry([&] { return ::pread(fd_.get(), out.data() + done, out.size() - done, at); });
      if (got < 0) fail(path_, "read", errno);
      if (got == 0) {
        bad_input(fmt::format("{}: ends at byte {}, {} bytes expected at {}",
                              printable(path_.native()), stat_descriptor(path_, fd_.get()).st_size,
                              out.size(), offset));
      }
      done += static_cast<size_t>(got);
    }
  }

  // One large write at a time: ext4 and XFS write to a file from one thread at once, and who waits
  // for the kernel's lock of the file turns in circles, up to a third of all processor time. To
  // sleep costs more than the wait for a small one.
  void write_at(int64_t offset, std::span<const std::byte> data) override {
    std::unique_lock lock(writing_, std::defer_lock);
    if (data.size() >= kLargeWrite) lock.lock();
    size_t done = 0;
    while (done < data.size()) {
      const off_t at = checked_add(offset, checked_cast<int64_t>(done), "file offset");
      const ssize_t put =
          retry([&] { return ::pwrite(fd_.get(), data.data() + done, data.size() - done, at); });
      if (put <= 0) fail(path_, "write", put == 0 ? EIO : errno);
      done += static_cast<size_t>(put);
    }
  }

  void allocate(int64_t size) override {
    if (retry([&] { return ::ftruncate(fd_.get(), size); }) != 0) fail(path_, "set length", errno);
    if (size == 0) return;
    // posix_fallocate would write zeros where the file system cannot allocate.
    if (retry([&] { return ::fallocate(fd_.get(), 0, 0, size); }) != 0 && !is_unsupported(errno)) {
      fail(path_, "allocate", errno);
    }
  }

  void sync() override {
    if (sync_error_ == 0 && ::fsync(fd_.get()) != 0) sync_error_ = errno;
    if (sync_error_ != 0) fail(path_, "sync", sync_error_);
  }

 private:
  static constexpr size_t kLargeWrite = 1 << 20;

  const Path path_;
  const Descriptor fd_;
  const bool writable_;
  int64_t size_at_open_ = 0;
  std::atomic<int> sync_error_ = 0;
  std::mutex writing_;
};

class PosixLock : public Lock {
 public:
  PosixLock(Descriptor fd, std::unique_ptr<Lease> lease)
      : fd_(std::move(fd)), lease_(std::move(lease)) {}
  void check() const override { lease_->check(); }

 private:
  const Descriptor fd_;
  const std::unique_ptr<Lease> lease_;  // given back before the lock
};

using StatCall = int (*)(const char*, struct ::stat*);

std::optional<Stat> stat_name(const Path& path, StatCall call) {
  struct ::stat status = {};
  if (call(c_name(path), &status) == 0) return to_stat(status);
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  fail(path, "stat", errno);
}

class PosixFileSystem : public FileSystem {
 public:
  std::unique_ptr<File> open_read(const Path& path) override {
    return open(path, "open", O_RDONLY | O_NONBLOCK, false);
  }

  std::unique_ptr<File> create(const Path& path) override {
    return open(path, "create", O_RDWR | O_CREAT | O_EXCL, true);
  }

  std::unique_ptr<File> open_write(const Path& path) override {
    return open(path, "open for writing", O_RDWR | O_NOFOLLOW | O_NONBLOCK, true);
  }

  std::optional<Stat> stat(const Path& path) override { return stat_name(path, ::stat); }
  std::optional<Stat> lstat(const Path& path) override { return stat_name(path, ::lstat); }

  std::vector<std::string> list(const Path& dir) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(c_name(dir)), ::closedir);
    if (stream == nullptr) fail(dir, "list", errno);
    std::vector<std::string> names;
    while (true) {
      errno = 0;
      const dirent* entry = ::readdir(stream.get());
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) fail(dir, "list", errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  Path real_path(const Path& path) override {
    const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(c_name(path), nullptr),
                                                          ::free);
    if (resolved == nullptr) fail(path, "resolve", errno);
    return Path(resolved.get());
  }

  Path read_link(const Path& path) override {
    std::string target(256, '\0');
    while (true) {
      const ssize_t length = ::readlink(c_name(path), target.data(), target.size());
      if (length < 0) fail(path, "read link", errno);
      // A full buffer may hold only a part of the target.
      if (static_cast<size_t>(length) < target.size()) {
        target.resize(static_cast<size_t>(length));
        return Path(target);
      }
      target.resize(target.size() * 2);
    }
  }

  void make_dir(const Path& path) override {
    if (::mkdir(c_name(path), 0777) != 0) fail(path, "create folder", errno);
  }

  void remove_file(const Path& path) override {
    if (::unlink(c_name(path)) != 0) fail(path, "remove", errno);
  }

  void remove_dir(const Path& path) override {
    if (::rmdir(c_name(path)) != 0) fail(path, "remove folder", errno);
  }

  void rename(const Path& from, const Path& to) override {
    if (::renameat2(AT_FDCWD, c_name(from), AT_FDCWD, c_name(to), RENAME_NOREPLACE) == 0) return;
    // The target exists, or the file system does not know the flag. rename(2) alone would also
    // replace an empty folder.
    if (errno == EEXIST || is_unsupported(errno)) {
      const std::optional<Stat> there = lstat(to);
      if (there && there->kind == Kind::kDirectory) fail(to, "rename to", EEXIST);
      if (::rename(c_name(from), c_name(to)) == 0) return;
    }
    fail(from, fmt::format("rename to {}", printable(to.native())), errno);
  }

  int rename_onto_full(const Path& from, const Path& full) override {
    if (::rename(c_name(from), c_name(full)) != 0) return errno;
    internal_error("a folder that is not empty was replaced");
  }

  bool exchange(const Path& a, const Path& b) override {
    if (::renameat2(AT_FDCWD, c_name(a), AT_FDCWD, c_name(b), RENAME_EXCHANGE) == 0) return true;
    if (is_unsupported(errno)) return false;
    fail(a, fmt::format("exchange with {}", printable(b.native())), errno);
  }

  bool symlink(const std::string& target, const Path& path) override {
    if (::symlink(c_name(target), c_name(path)) == 0) return true;
    // FAT and exFAT report EPERM; missing permissions are EACCES.
    if (errno == EPERM || is_unsupported(errno)) return false;
    fail(path, "create symlink", errno);
  }

  void sync_dir(const Path& path) override {
    const Descriptor fd = open_descriptor(path, "open folder", O_RDONLY | O_DIRECTORY);
    // Some network and FUSE file systems cannot sync a folder (EINVAL); they make names durable
    // themselves.
    if (::fsync(fd.get()) != 0 && !is_unsupported(errno)) fail(path, "sync folder", errno);
  }

  std::unique_ptr<Lock> try_lock(const Path& path) override {
    while (true) {
      Descriptor fd = open_descriptor(path, "open lock file", O_RDWR | O_CREAT | O_NOFOLLOW);
      if (retry([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
        if (errno == EWOULDBLOCK) return nullptr;
        if (errno == ENOSYS || errno == ENOLCK || errno == EOPNOTSUPP) return lease_of(path, false);
        fail(path, "lock", errno);
      }
      // The previous holder may have removed the file while we had it open. Then this lock is on a
      // file without a name and keeps nobody out.
      const std::optional<Stat> named = lstat(path);
      const Stat ours = to_stat(stat_descriptor(path, fd.get()));
      if (named && named->inode == ours.inode && named->device == ours.device) {
        std::unique_ptr<Lease> lease = lease_of(path, true);
        if (lease == nullptr) return nullptr;
        return std::make_unique<PosixLock>(std::move(fd), std::move(lease));
      }
    }
  }

  int64_t free_bytes(const Path& dir) override {
    struct ::statvfs status = {};
    if (retry([&] { return ::statvfs(c_name(dir), &status); }) != 0) {
      fail(dir, "get free space", errno);
    }
    uint64_t bytes = 0;
    constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    // Network file systems may claim endless space.
    if (__builtin_mul_overflow(uint64_t{status.f_bavail}, uint64_t{status.f_frsize}, &bytes)) {
      bytes = kMost;
    }
    return static_cast<int64_t>(std::min(bytes, kMost));
  }

 private:
  std::unique_ptr<Lease> lease_of(Path path, bool has_lock) {
    path += ".lease";
    std::unique_ptr<Lease> lease = take_lease(*this, path, has_lock);
    if (lease != nullptr) lease->start();
    return lease;
  }

  static std::unique_ptr<File> open(const Path& path, std::string_view operation, int flags,
                                    bool writable) {
    return std::make_unique<PosixFile>(path, open_descriptor(path, operation, flags), writable);
  }
};

}  // namespace

FileSystem& real_file_system() {
  // Never destroyed: threads may still use it during the destruction of static objects.
  static FileSystem& file_system = *new PosixFileSystem;
  return file_system;
}

}  // namespace bridge
