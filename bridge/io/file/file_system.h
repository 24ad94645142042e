// All access to the operating system goes through these two interfaces, so that tests can stop, fail or
// tear any single operation (see fault_file_system.h) and assert what was read.
//
// Paths are std::filesystem::path used as plain strings; none of these functions canonicalises.
// Every function throws Error(kIo) naming path and operation unless it says otherwise. A FileSystem and a
// File may be used from several threads at once; read_at/write_at are positional (pread/pwrite).
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
  // Of what is open, whatever has its name by now. Bytes that are no file have nothing but a size.
  virtual Stat stat() const { return {Kind::kRegular, size(), 0, 0}; }
  virtual int64_t size() const = 0;  // at open for a file opened for reading, else the present one
  // Fills the whole buffer. A file that ends early is bad input (it shrank or a header lied).
  virtual void read_at(int64_t offset, std::span<std::byte> out) const = 0;
  virtual void write_at(int64_t offset, std::span<const std::byte> data) = 0;
  // Sets the length and, where the file system does so natively, allocates the blocks, so that a full
  // disk is noticed at the start. Never emulated by writing zeros.
  virtual void allocate(int64_t size) = 0;
  // Data and length are durable on return. Once failed it fails for good.
  virtual void sync() = 0;
};

// Held while alive; another process (or another Lock) that wants the same file is refused at once.
class Lock {
 public:
  virtual ~Lock() = default;
  // What the user should know of how it is kept; "": nothing.
  virtual std::string notice() const { return {}; }
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Opens a regular file (a symlink is followed; FIFOs, devices and folders are bad input).
  virtual std::unique_ptr<File> open_read(const Path& path) = 0;
  // Creates; an existing file is an error (O_EXCL). Mode 0666 & ~umask.
  virtual std::unique_ptr<File> create(const Path& path) = 0;
  // Opens an existing regular file for reading and writing (resume, sidecar appends). A symlink is bad
  // input: an output is never written through one.
  virtual std::unique_ptr<File> open_write(const Path& path) = 0;

  virtual std::optional<Stat> stat(const Path& path) = 0;   // follows symlinks; nullopt: not there
  virtual std::optional<Stat> lstat(const Path& path) = 0;  // does not follow
  virtual std::vector<std::string> list(const Path& dir) = 0;  // names, sorted, without . and ..
  virtual Path real_path(const Path& path) = 0;                // resolves every symlink; must exist
  virtual Path read_link(const Path& path) = 0;

  virtual void make_dir(const Path& path) = 0;  // parent must exist; existing is an error
  virtual void remove_file(const Path& path) = 0;
  virtual void remove_dir(const Path& path) = 0;  // empty
  // Replaces a file, never a folder; a folder goes to a free name only.
  virtual void rename(const Path& from, const Path& to) = 0;
  // Tries to rename a folder onto one that is not empty, which no system does. Returns the errno: ENOTEMPTY or EEXIST where
  // nothing else is in the way, EBUSY for a mount point, EXDEV for a lower layer of an overlay.
  virtual int rename_onto_full(const Path& from, const Path& full) = 0;
  // Swaps two existing paths atomically; false where the file system cannot.
  virtual bool exchange(const Path& a, const Path& b) = 0;
  // False where the file system has no symlinks.
  virtual bool symlink(const std::string& target, const Path& path) = 0;
  virtual void sync_dir(const Path& path) = 0;
  // Creates the lock file when needed. nullptr: somebody else holds it. Where the file system has no locks, a lease (lease.h).
  virtual std::unique_ptr<Lock> try_lock(const Path& path) = 0;
  virtual int64_t free_bytes(const Path& dir) = 0;
};

// The operating system. Never destroyed.
FileSystem& real_file_system();

// Helpers on top, for any FileSystem.
std::string read_whole_file(FileSystem& fs, const Path& path,
                            int64_t at_most);  // larger: bad input
// Creates path with these bytes, synced (the folder is not).
void write_whole_file(FileSystem& fs, const Path& path, std::string_view content);
void remove_tree(FileSystem& fs, const Path& path);  // never follows symlinks; absent is fine
void make_dirs(FileSystem& fs, const Path& path);    // parents too; existing is fine

}  // namespace bridge
