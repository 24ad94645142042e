// A file system that remembers which files were read, in order to detect inputs that change
// meanwhile: a shard that is overwritten or replaced, a folder that another run exchanges. Half of
// one checkpoint and half of another would look like a whole one.
//
//   1. open_read() remembers each file by its name: device, inode, size and modification time,
//      taken from the open descriptor. A file that is opened again must be the same.
//   2. check_unchanged(), called after the last read, compares each file with the one that has its
//      name then.
// It does not detect a file whose bytes and modification time were both restored.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

class InputWatch : public FileSystem {
 public:
  InputWatch(FileSystem& inner, MemoryBudget& budget) : inner_(inner), budget_(budget) {}

  // Remembers a file that will be opened later. Error: kBadInput if it does not exist.
  void add(const Path& path);
  // Error: kBadInput, which names the first file that changed.
  void check_unchanged();
  // Returns every file that was opened or added so far, by path, as it was then.
  std::map<std::string, Stat> seen() const;

  std::unique_ptr<File> open_read(const Path& path) override;
  std::unique_ptr<File> create(const Path& path) override { return inner_.create(path); }
  std::unique_ptr<File> open_write(const Path& path) override { return inner_.open_write(path); }
  std::optional<Stat> stat(const Path& path) override { return inner_.stat(path); }
  std::optional<Stat> lstat(const Path& path) override { return inner_.lstat(path); }
  std::vector<std::string> list(const Path& dir) override { return inner_.list(dir); }
  Path real_path(const Path& path) override { return inner_.real_path(path); }
  Path read_link(const Path& path) override { return inner_.read_link(path); }
  void make_dir(const Path& path) override { inner_.make_dir(path); }
  void remove_file(const Path& path) override { inner_.remove_file(path); }
  void remove_dir(const Path& path) override { inner_.remove_dir(path); }
  void rename(const Path& from, const Path& to) override { inner_.rename(from, to); }
  int rename_onto_full(const Path& from, const Path& full) override {
    return inner_.rename_onto_full(from, full);
  }
  bool exchange(const Path& a, const Path& b) override { return inner_.exchange(a, b); }
  bool symlink(const std::string& target, const Path& path) override {
    return inner_.symlink(target, path);
  }
  void sync_dir(const Path& path) override { inner_.sync_dir(path); }
  std::unique_ptr<Lock> try_lock(const Path& path) override { return inner_.try_lock(path); }
  int64_t free_bytes(const Path& dir) override { return inner_.free_bytes(dir); }

 private:
  void remember(const Path& path, const Stat& found);

  FileSystem& inner_;
  MemoryBudget& budget_;
  mutable std::mutex mutex_;
  std::map<std::string, Stat> seen_;
};

}  // namespace bridge
