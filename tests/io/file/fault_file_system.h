// A file system for tests. It passes every call on to another one, and can stop, fail or tear any
// single operation (SQLite and LevelDB test crash safety this way).
//
//   1. Every call of FileSystem and File except path() and size() is one operation, which is
//      numbered from 1 and logged ("create iter_0000000/.metadata", "rename a -> b"). A test runs
//      once to count the operations, then once for each number.
//   2. stop_at(k) is kill -9: operation k and every later one throws Stopped, which is neither a
//      bridge::Error nor a std::exception, so that no ordinary handler mistakes it for a failure
//      and cleans up.
//   3. fail_at(k, errno) makes one operation fail as it would in the operating system.
//   4. A write that is stopped or failed has written the first half of its bytes.
//   5. After drop_unsynced(), a stop is a power failure: every file returns to what its last sync
//      made durable (nothing, if it was created and never synced). Names stay, even if the folder
//      entry was not synced.
//
// sync and sync_dir are not passed on: this class models durability itself, and tests stay fast.
// Thread-safe. Files must not outlive their file system.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

class FaultFileSystem : public FileSystem {
 public:
  struct Stopped {};

  // The log shows paths inside root relative to it.
  explicit FaultFileSystem(FileSystem& inner, Path root = {});
  ~FaultFileSystem() override;

  // Options, to be set before the run. 0: never.
  void stop_at(int64_t operation) { stop_at_ = operation; }
  void fail_at(int64_t operation, int error_number);
  void drop_unsynced() { drop_unsynced_ = true; }
  void without_exchange() { has_exchange_ = false; }  // exchange() returns false
  void without_symlinks() { has_symlinks_ = false; }  // symlink() returns false

  int64_t count() const;  // operations begun
  bool stopped() const;
  std::vector<std::string> log() const;  // log()[k - 1] is operation k

  std::unique_ptr<File> open_read(const Path& path) override;
  std::unique_ptr<File> create(const Path& path) override;
  std::unique_ptr<File> open_write(const Path& path) override;
  std::optional<Stat> stat(const Path& path) override;
  std::optional<Stat> lstat(const Path& path) override;
  std::vector<std::string> list(const Path& dir) override;
  Path real_path(const Path& path) override;
  Path read_link(const Path& path) override;
  void make_dir(const Path& path) override;
  void remove_file(const Path& path) override;
  void remove_dir(const Path& path) override;
  void rename(const Path& from, const Path& to) override;
  int rename_onto_full(const Path& from, const Path& full) override;
  bool exchange(const Path& a, const Path& b) override;
  bool symlink(const std::string& target, const Path& path) override;
  void sync_dir(const Path& path) override;
  std::unique_ptr<Lock> try_lock(const Path& path) override;
  int64_t free_bytes(const Path& dir) override;

 private:
  class FaultFile;
  struct Content;

  template <typename Fn, typename Torn>
  std::invoke_result_t<Fn> operate(const std::string& what, const Path& path, Fn&& fn, Torn&& torn);
  template <typename Fn>
  std::invoke_result_t<Fn> operate(const std::string& what, const Path& path, Fn&& fn);
  int begin(std::string entry);
  void lose_unsynced();
  std::unique_ptr<File> track(std::unique_ptr<File> file, bool created);
  std::string shown(const Path& path) const;

  FileSystem& inner_;
  const Path root_;
  int64_t stop_at_ = 0;
  int64_t fail_at_ = 0;
  int fail_with_ = 0;
  bool drop_unsynced_ = false;
  bool has_exchange_ = true;
  bool has_symlinks_ = true;

  // Operations in progress share it; dropping unsynced data takes it alone.
  std::shared_mutex running_;
  mutable std::mutex mutex_;  // guards the members below
  bool stopped_ = false;
  std::vector<std::string> log_;
  // Keyed by device and inode, because names change. Open handles keep inodes from being reused.
  std::map<std::pair<uint64_t, uint64_t>, std::shared_ptr<Content>> contents_;
};

}  // namespace bridge
