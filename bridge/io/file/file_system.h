// All access to the operating system goes through these two interfaces, so that tests can stop,
// fail or tear any single operation (see fault_file_system.h) and assert what was read.
//
// Paths are std::filesystem::path used as plain strings; none of these functions canonicalises.
// Every function throws Error(kIo) that names path and operation unless it says otherwise. Several
// threads may use a FileSystem or a File at once; read_at and write_at are positional (pread,
// pwrite).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bridge {

using Path = std::filesystem::path;

enum class Kind { kRegular, kDirectory, kSymlink, kOther };

struct Stat {
  Kind kind;
  int64_t size;
  uint64_t device;
  uint64_t inode;
  int64_t modified = 0;  // nanoseconds since 1970
};

class File {
 public:
  virtual ~File() = default;
  virtual const Path& path() const = 0;
  // Describes the open file, whatever its name refers to by now. Bytes that are not a file have
  // only a size.
  virtual Stat stat() const { return {Kind::kRegular, size(), 0, 0}; }
  virtual int64_t size() const = 0;  // the size at open for an input, else the present size
  // Fills the whole buffer. A file that ends early is bad input (it shrank, or a header lied).
  virtual void read_at(int64_t offset, std::span<std::byte> out) const = 0;
  virtual void write_at(int64_t offset, std::span<const std::byte> data) = 0;
  // Sets the length. Allocates the blocks where the file system can do so natively, so that a full
  // disk is noticed at the start; never emulates this by writing zeros.
  virtual void allocate(int64_t size) = 0;
  // Makes data and length durable. After one failure it always fails.
  virtual void sync() = 0;
};

// The lock is held as long as this object lives. Another process (or another Lock) that wants the
// same file is refused at once.
class Lock {
 public:
  virtual ~Lock() = default;
  // What the user should know about how the lock is kept; empty: nothing.
  virtual std::string notice() const { return {}; }
  // Reports kIo if another process has taken the lock over, because this one seemed to be gone.
  virtual void check() const {}
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Opens a regular file. Follows symlinks; FIFOs, devices and folders are bad input.
  virtual std::unique_ptr<File> open_read(const Path& path) = 0;
  // Creates a file; an existing one is an error (O_EXCL). Mode 0666 & ~umask.
  virtual std::unique_ptr<File> create(const Path& path) = 0;
  // Opens an existing regular file for reading and writing (resume, sidecar appends). A symlink is
  // bad input: outputs are never written through one.
  virtual std::unique_ptr<File> open_write(const Path& path) = 0;

  virtual std::optional<Stat> stat(const Path& path) = 0;   // follows symlinks; nullopt: not there
  virtual std::optional<Stat> lstat(const Path& path) = 0;  // does not follow
  virtual std::vector<std::string> list(const Path& dir) = 0;  // names, sorted, without . and ..
  virtual Path real_path(const Path& path) = 0;                // resolves every symlink; must exist
  virtual Path read_link(const Path& path) = 0;

  virtual void make_dir(const Path& path) = 0;  // parent must exist; existing is an error
  virtual void remove_file(const Path& path) = 0;
  virtual void remove_dir(const Path& path) = 0;  // empty
  // Replaces a file, never a folder. A folder can only move to a free name.
  virtual void rename(const Path& from, const Path& to) = 0;
  // Tries to rename a folder onto one that is not empty, which no system does. Returns the errno:
  // ENOTEMPTY or EEXIST where nothing else is in the way, EBUSY for a mount point, EXDEV for a
  // lower layer of an overlay.
  virtual int rename_onto_full(const Path& from, const Path& full) = 0;
  // Swaps two existing paths atomically. Returns false where the file system cannot.
  virtual bool exchange(const Path& a, const Path& b) = 0;
  // Returns false where the file system has no symlinks.
  virtual bool symlink(const std::string& target, const Path& path) = 0;
  virtual void sync_dir(const Path& path) = 0;
  // Creates the lock file when needed, and beside it a lease (lease.h), which is a lock for other
  // machines too, or the only one where the file system has no locks. Returns nullptr if somebody
  // else holds the lock. Waits up to a minute for a sign of life of a holder on another machine.
  virtual std::unique_ptr<Lock> try_lock(const Path& path) = 0;
  virtual int64_t free_bytes(const Path& dir) = 0;
};

// The operating system. Never destroyed.
FileSystem& real_file_system();

// Helpers for any FileSystem. A file with more than at_most bytes is bad input.
std::string read_whole_file(FileSystem& fs, const Path& path, int64_t at_most);
// Creates path with these bytes and syncs the file, but not its folder.
void write_whole_file(FileSystem& fs, const Path& path, std::string_view content);
void remove_tree(FileSystem& fs, const Path& path);  // never follows symlinks; absent is fine
void make_dirs(FileSystem& fs, const Path& path);    // parents too; existing is fine

}  // namespace bridge
