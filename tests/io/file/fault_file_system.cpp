// See fault_file_system.h. A power failure is modelled per file: by the length at the last sync,
// and by the replaced bytes of every later write below that length. To lose what was not synced,
// undo those writes, last first, and cut the file to that length.
#include "tests/io/file/fault_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "bridge/io/base/error.h"

namespace bridge {

// The bytes of one file, whatever its name and however many handles it has.
struct FaultFileSystem::Content {
  struct Undo {
    int64_t offset;
    std::vector<std::byte> bytes;
  };

  std::shared_ptr<File> handle;
  std::mutex mutex;
  int64_t synced_size = 0;
  std::vector<Undo> undo;

  void write(File& file, int64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex);
    const int64_t below = std::min(synced_size, handle->size()) - offset;
    if (below > 0) {
      std::vector<std::byte> old(std::min(data.size(), static_cast<size_t>(below)));
      handle->read_at(offset, old);
      undo.push_back({offset, std::move(old)});
    }
    file.write_at(offset, data);
  }

  void resize(File& file, int64_t size) {
    const std::lock_guard lock(mutex);
    const int64_t cut = std::min(synced_size, handle->size()) - size;
    if (cut > 0) {
      std::vector<std::byte> old(static_cast<size_t>(cut));
      handle->read_at(size, old);
      undo.push_back({size, std::move(old)});
    }
    file.allocate(size);
  }

  void sync() {
    const std::lock_guard lock(mutex);
    synced_size = handle->size();
    undo.clear();
  }

  void lose_unsynced() {
    const std::lock_guard lock(mutex);
    for (; !undo.empty(); undo.pop_back()) {
      handle->write_at(undo.back().offset, undo.back().bytes);
    }
    handle->allocate(synced_size);
  }
};

class FaultFileSystem::FaultFile : public File {
 public:
  // content is null for a file that is only read.
  FaultFile(FaultFileSystem& fs, std::shared_ptr<File> inner, std::shared_ptr<Content> content)
      : fs_(fs), inner_(std::move(inner)), content_(std::move(content)) {}

  const Path& path() const override { return inner_->path(); }
  int64_t size() const override { return inner_->size(); }
  Stat stat() const override { return inner_->stat(); }

  void read_at(int64_t offset, std::span<std::byte> out) const override {
    fs_.operate("read", path(), [&] { inner_->read_at(offset, out); });
  }

  void write_at(int64_t offset, std::span<const std::byte> data) override {
    const auto write = [&](std::span<const std::byte> part) {
      if (content_ == nullptr) {
        inner_->write_at(offset, part);  // the inner file refuses it
      } else {
        content_->write(*inner_, offset, part);
      }
    };
    fs_.operate(
        fmt::format("write {}+{}", offset, data.size()), path(), [&] { write(data); },
        [&] { write(data.first(data.size() / 2)); });
  }

  void allocate(int64_t size) override {
    fs_.operate(fmt::format("allocate {}", size), path(), [&] {
      if (content_ == nullptr) {
        inner_->allocate(size);
      } else {
        content_->resize(*inner_, size);
      }
    });
  }

  void sync() override {
    try {
      fs_.operate("sync", path(), [&] {
        if (sync_failed_) io_error(path().native(), "sync", EIO);
        if (content_ != nullptr) content_->sync();
      });
    } catch (const Error&) {
      sync_failed_ = true;
      throw;
    }
  }

 private:
  FaultFileSystem& fs_;
  const std::shared_ptr<File> inner_;
  const std::shared_ptr<Content> content_;
  std::atomic<bool> sync_failed_ = false;
};

FaultFileSystem::FaultFileSystem(FileSystem& inner, Path root)
    : inner_(inner), root_(std::move(root)) {}

FaultFileSystem::~FaultFileSystem() = default;

void FaultFileSystem::fail_at(int64_t operation, int error_number) {
  fail_at_ = operation;
  fail_with_ = error_number;
}

int64_t FaultFileSystem::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(log_.size());
}

bool FaultFileSystem::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

std::vector<std::string> FaultFileSystem::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

std::string FaultFileSystem::shown(const Path& path) const {
  const std::string& full = path.native();
  const std::string& root = root_.native();
  if (root.empty() || !full.starts_with(root)) return full;
  if (full.size() == root.size()) return ".";
  return full[root.size()] == '/' ? full.substr(root.size() + 1) : full;
}

// Numbers and logs one operation. Returns the error with which it must fail (0: none, -1: it must
// stop).
int FaultFileSystem::begin(std::string entry) {
  const std::lock_guard lock(mutex_);
  if (stopped_) throw Stopped();
  log_.push_back(std::move(entry));
  const auto number = static_cast<int64_t>(log_.size());
  if (number == stop_at_) {
    stopped_ = true;
    return -1;
  }
  return number == fail_at_ ? fail_with_ : 0;
}

template <typename Fn, typename Torn>
std::invoke_result_t<Fn> FaultFileSystem::operate(const std::string& what, const Path& path,
                                                  Fn&& fn, Torn&& torn) {
  const std::string_view verb = std::string_view(what).substr(0, what.find(' '));
  const std::string details = what.substr(verb.size());
  {
    const std::shared_lock lock(running_);
    const int fault = begin(fmt::format("{} {}{}", verb, shown(path), details));
    if (fault == 0) return fn();
    torn();
    if (fault > 0) io_error(path.native(), verb, fault);
  }
  lose_unsynced();
  throw Stopped();
}

template <typename Fn>
std::invoke_result_t<Fn> FaultFileSystem::operate(const std::string& what, const Path& path,
                                                  Fn&& fn) {
  return operate(what, path, std::forward<Fn>(fn), [] {});
}

void FaultFileSystem::lose_unsynced() {
  const std::unique_lock alone(running_);
  if (!drop_unsynced_) return;
  for (const auto& [key, content] : contents_) content->lose_unsynced();
}

std::unique_ptr<File> FaultFileSystem::track(std::unique_ptr<File> file, bool created) {
  const std::shared_ptr<File> inner = std::move(file);
  const std::optional<Stat> stat = inner_.lstat(inner->path());
  if (!stat) internal_error("a file opened for writing in a test has lost its name");
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Content>& content = contents_[{stat->device, stat->inode}];
  if (content == nullptr) {
    content = std::make_shared<Content>();
    content->handle = inner;
    content->synced_size = created ? 0 : inner->size();
  }
  return std::make_unique<FaultFile>(*this, inner, content);
}

std::unique_ptr<File> FaultFileSystem::open_read(const Path& path) {
  return operate("open", path, [&]() -> std::unique_ptr<File> {
    return std::make_unique<FaultFile>(*this, inner_.open_read(path), nullptr);
  });
}

std::unique_ptr<File> FaultFileSystem::create(const Path& path) {
  return operate("create", path, [&] { return track(inner_.create(path), true); });
}

std::unique_ptr<File> FaultFileSystem::open_write(const Path& path) {
  return operate("open_write", path, [&] { return track(inner_.open_write(path), false); });
}

std::optional<Stat> FaultFileSystem::stat(const Path& path) {
  return operate("stat", path, [&] { return inner_.stat(path); });
}

std::optional<Stat> FaultFileSystem::lstat(const Path& path) {
  return operate("lstat", path, [&] { return inner_.lstat(path); });
}

std::vector<std::string> FaultFileSystem::list(const Path& dir) {
  return operate("list", dir, [&] { return inner_.list(dir); });
}

Path FaultFileSystem::real_path(const Path& path) {
  return operate("real_path", path, [&] { return inner_.real_path(path); });
}

Path FaultFileSystem::read_link(const Path& path) {
  return operate("read_link", path, [&] { return inner_.read_link(path); });
}

void FaultFileSystem::make_dir(const Path& path) {
  operate("make_dir", path, [&] { inner_.make_dir(path); });
}

void FaultFileSystem::remove_file(const Path& path) {
  operate("remove_file", path, [&] { inner_.remove_file(path); });
}

void FaultFileSystem::remove_dir(const Path& path) {
  operate("remove_dir", path, [&] { inner_.remove_dir(path); });
}

void FaultFileSystem::rename(const Path& from, const Path& to) {
  operate("rename -> " + shown(to), from, [&] { inner_.rename(from, to); });
}

int FaultFileSystem::rename_onto_full(const Path& from, const Path& full) {
  return operate("rename_onto_full " + shown(full), from,
                 [&] { return inner_.rename_onto_full(from, full); });
}

bool FaultFileSystem::exchange(const Path& a, const Path& b) {
  return operate("exchange <-> " + shown(b), a,
                 [&] { return has_exchange_ && inner_.exchange(a, b); });
}

bool FaultFileSystem::symlink(const std::string& target, const Path& path) {
  return operate("symlink -> " + target, path,
                 [&] { return has_symlinks_ && inner_.symlink(target, path); });
}

void FaultFileSystem::sync_dir(const Path& path) {
  operate("sync_dir", path, [] {});
}

std::unique_ptr<Lock> FaultFileSystem::try_lock(const Path& path) {
  return operate("lock", path, [&] { return inner_.try_lock(path); });
}

int64_t FaultFileSystem::free_bytes(const Path& dir) {
  return operate("free_bytes", dir, [&] { return inner_.free_bytes(dir); });
}

}  // namespace bridge
