// The real file system: what it refuses, what it replaces, and that a lock is a lock. The kernel
// and the C++ library are the judges, our code does not check itself.
#include "bridge/io/file/file_system.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string read(const File& file, int64_t offset, size_t length) {
  std::string out(length, '?');
  file.read_at(offset, std::as_writable_bytes(std::span(out)));
  return out;
}

class FileSystemTest : public testing::Test {
 protected:
  TempDir dir_;
  FileSystem& fs_ = real_file_system();
};

TEST_F(FileSystemTest, ReadsAndWritesAtOffsets) {
  const auto file = fs_.create(dir_ / "f");
  file->write_at(5, bytes("world"));
  file->write_at(0, bytes("hello"));
  EXPECT_EQ(file->size(), 10);
  file->sync();
  EXPECT_EQ(file_content(dir_ / "f"), "helloworld");

  const auto again = fs_.open_read(dir_ / "f");
  EXPECT_EQ(again->size(), 10);
  EXPECT_EQ(read(*again, 3, 4), "lowo");
  EXPECT_EQ(read(*again, 10, 0), "");
  EXPECT_EQ(again->path(), dir_ / "f");
}

TEST_F(FileSystemTest, OpenWriteKeepsTheContent) {
  put_file(dir_ / "f", "0123456789");
  const auto file = fs_.open_write(dir_ / "f");
  file->write_at(8, bytes("abcd"));
  EXPECT_EQ(read(*file, 0, 12), "01234567abcd");
  EXPECT_EQ(file->size(), 12);
}

TEST_F(FileSystemTest, OpenReadFollowsASymlink) {
  put_file(dir_ / "blob", "data");
  stdfs::create_symlink("blob", dir_ / "link");
  EXPECT_EQ(read(*fs_.open_read(dir_ / "link"), 0, 4), "data");
}

TEST_F(FileSystemTest, SizeForReadingIsTheOneAtOpen) {
  put_file(dir_ / "f", "0123");
  const auto file = fs_.open_read(dir_ / "f");
  stdfs::resize_file(dir_ / "f", 2);
  EXPECT_EQ(file->size(), 4);
}

TEST_F(FileSystemTest, AllocateSetsTheLengthAndTheBlocks) {
  const auto file = fs_.create(dir_ / "f");
  file->allocate(1 << 20);
  EXPECT_EQ(stdfs::file_size(dir_ / "f"), 1u << 20);
  EXPECT_EQ(read(*file, (1 << 20) - 3, 3), std::string(3, '\0'));
  struct statfs fs_kind = {};
  ASSERT_EQ(::statfs(dir_.path().c_str(), &fs_kind), 0);
  if (fs_kind.f_type == EXT4_SUPER_MAGIC || fs_kind.f_type == TMPFS_MAGIC) {
    struct stat status = {};
    ASSERT_EQ(::stat((dir_ / "f").c_str(), &status), 0);
    EXPECT_GE(status.st_blocks * 512, 1 << 20);
  }
  file->allocate(0);
  EXPECT_EQ(stdfs::file_size(dir_ / "f"), 0u);
}

TEST_F(FileSystemTest, AllocateNoticesAFullDisk) {
  struct statfs shm = {};
  if (::statfs("/dev/shm", &shm) != 0 || shm.f_type != TMPFS_MAGIC || shm.f_blocks == 0) {
    GTEST_SKIP() << "no tmpfs of limited size";
  }
  const Path path = "/dev/shm/causeway-test-" + std::to_string(::getpid());
  const auto file = fs_.create(path);
  fs_.remove_file(path);
  try {
    file->allocate(static_cast<int64_t>(shm.f_blocks) * shm.f_bsize * 2);
    FAIL() << "more than the file system holds";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kIo);
    EXPECT_NE(e.message().find("allocate: No space left"), std::string::npos) << e.message();
    EXPECT_NE(e.hint(), "");
  }
}

// The kernel writes the bytes below the limit and says so: a short write, then the error.
TEST_F(FileSystemTest, AShortWriteIsContinued) {
  const auto file = fs_.create(dir_ / "f");
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      file->write_at(0, bytes(std::string(3000, 'x')));
    } catch (const Error& e) {
      ::_exit(e.code() == Code::kIo && e.message().ends_with("write: File too large") ? 7 : 8);
    }
    ::_exit(9);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(stdfs::file_size(dir_ / "f"), 1000u);
}

TEST_F(FileSystemTest, StatTellsKinds) {
  put_file(dir_ / "file", "12345");
  stdfs::create_directory(dir_ / "folder");
  stdfs::create_symlink("file", dir_ / "link");
  stdfs::create_symlink("nowhere", dir_ / "dangling");
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0666), 0);
  EXPECT_EQ(fs_.stat(dir_ / "file")->kind, Kind::kRegular);
  EXPECT_EQ(fs_.stat(dir_ / "file")->size, 5);
  EXPECT_EQ(fs_.stat(dir_ / "folder")->kind, Kind::kDirectory);
  EXPECT_EQ(fs_.stat(dir_ / "link")->inode, fs_.stat(dir_ / "file")->inode);
  EXPECT_EQ(fs_.lstat(dir_ / "link")->kind, Kind::kSymlink);
  EXPECT_EQ(fs_.lstat(dir_ / "dangling")->kind, Kind::kSymlink);
  EXPECT_FALSE(fs_.stat(dir_ / "dangling"));
  EXPECT_EQ(fs_.stat(dir_ / "fifo")->kind, Kind::kOther);
  EXPECT_FALSE(fs_.stat(dir_ / "absent"));
  EXPECT_FALSE(fs_.lstat(dir_ / "file/below"));
}

TEST_F(FileSystemTest, ListsSortedWithoutDots) {
  for (const char* name : {"b", "a", ".hidden", "c"}) put_file(dir_ / name, "");
  EXPECT_EQ(fs_.list(dir_.path()), (std::vector<std::string>{".hidden", "a", "b", "c"}));
}

TEST_F(FileSystemTest, ResolvesLinks) {
  put_file(dir_ / "a/file", "");
  stdfs::create_directory_symlink("a", dir_ / "b");
  EXPECT_EQ(fs_.real_path(dir_ / "b/../b/file"), dir_ / "a/file");
  const std::string target(1000, 'x');
  ASSERT_TRUE(fs_.symlink(target, dir_ / "long"));
  EXPECT_EQ(fs_.read_link(dir_ / "long"), target);
}

TEST_F(FileSystemTest, RenameReplacesAFile) {
  put_file(dir_ / "a", "new");
  put_file(dir_ / "b", "old");
  fs_.rename(dir_ / "a", dir_ / "b");
  EXPECT_EQ(file_content(dir_ / "b"), "new");
  EXPECT_FALSE(stdfs::exists(dir_ / "a"));
}

TEST_F(FileSystemTest, RenameMovesAFolderToAFreeName) {
  put_file(dir_ / "a/f", "x");
  fs_.rename(dir_ / "a", dir_ / "b");
  EXPECT_EQ(file_content(dir_ / "b/f"), "x");
}

TEST_F(FileSystemTest, ExchangeSwapsAFolderAndAFile) {
  put_file(dir_ / "a/f", "x");
  put_file(dir_ / "b", "y");
  if (!fs_.exchange(dir_ / "a", dir_ / "b")) GTEST_SKIP() << "not on this file system";
  EXPECT_EQ(file_content(dir_ / "b/f"), "x");
  EXPECT_EQ(file_content(dir_ / "a"), "y");
}

TEST_F(FileSystemTest, ALockIsExclusiveUntilReleased) {
  auto lock = fs_.try_lock(dir_ / "lock");
  ASSERT_NE(lock, nullptr);
  EXPECT_EQ(fs_.try_lock(dir_ / "lock"), nullptr);
  lock.reset();
  EXPECT_NE(fs_.try_lock(dir_ / "lock"), nullptr);
}

// The lease beside it is held on, so nobody else is inside before the lock is given back.
TEST_F(FileSystemTest, ALockFileMayBeRemovedWhileHeld) {
  auto lock = fs_.try_lock(dir_ / "lock");
  fs_.remove_file(dir_ / "lock");
  EXPECT_EQ(fs_.try_lock(dir_ / "lock"), nullptr);
  lock.reset();
  const auto next = fs_.try_lock(dir_ / "lock");
  EXPECT_NE(next, nullptr);
  EXPECT_EQ(fs_.try_lock(dir_ / "lock"), nullptr);
}

// Threads that lock, remove and release the same file: never two inside at once.
TEST_F(FileSystemTest, LockAndRemoveDoNotRace) {
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::atomic<int> turns = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        // We count the times the lock was taken, not the tries: how many of those find it held
        // is up to the scheduler.
        while (turns < 500) {
          const auto lock = fs_.try_lock(dir_ / "lock");
          if (lock == nullptr) continue;
          most = std::max(most.load(), ++inside);
          ++turns;
          --inside;
          fs_.remove_file(dir_ / "lock");  // ends our turn
        }
      });
    }
  }
  EXPECT_EQ(most, 1);
}

TEST_F(FileSystemTest, FreeBytesIsWhatTheKernelSays) {
  const auto expected = static_cast<double>(stdfs::space(dir_.path()).available);
  EXPECT_NEAR(static_cast<double>(fs_.free_bytes(dir_.path())), expected, expected / 4);
}

TEST_F(FileSystemTest, SyncsAFolder) {
  EXPECT_NO_THROW(fs_.sync_dir(dir_.path()));
}

TEST_F(FileSystemTest, WholeFiles) {
  write_whole_file(fs_, dir_ / "f", "some bytes");
  EXPECT_EQ(file_content(dir_ / "f"), "some bytes");
  EXPECT_EQ(read_whole_file(fs_, dir_ / "f", 10), "some bytes");
}

TEST_F(FileSystemTest, RemoveTreeDoesNotFollowSymlinks) {
  put_file(dir_ / "outside/precious", "x");
  put_file(dir_ / "tree/a/b/f", "x");
  stdfs::create_directory_symlink(dir_ / "outside", dir_ / "tree/a/link");
  stdfs::create_symlink("nowhere", dir_ / "tree/dangling");
  remove_tree(fs_, dir_ / "tree");
  EXPECT_FALSE(stdfs::exists(dir_ / "tree"));
  EXPECT_TRUE(stdfs::exists(dir_ / "outside/precious"));
  stdfs::create_directory_symlink(dir_ / "outside", dir_ / "top");
  remove_tree(fs_, dir_ / "top");
  EXPECT_TRUE(stdfs::exists(dir_ / "outside/precious"));
  EXPECT_FALSE(stdfs::is_symlink(dir_ / "top"));
  EXPECT_NO_THROW(remove_tree(fs_, dir_ / "absent"));
}

TEST_F(FileSystemTest, MakeDirsMakesParents) {
  make_dirs(fs_, dir_ / "a/b/c");
  make_dirs(fs_, dir_ / "a/b/c");
  make_dirs(fs_, dir_ / "a/d/");
  EXPECT_TRUE(stdfs::is_directory(dir_ / "a/b/c"));
  EXPECT_TRUE(stdfs::is_directory(dir_ / "a/d"));
}

// What goes wrong, one case each.
struct Refusal {
  std::string name;
  std::function<void(FileSystem&, const TempDir&)> act;
  Code code;
  std::string message;  // a part of it
};

class FileSystemRefusalTest : public testing::TestWithParam<Refusal> {};

void make_socket(const Path& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
}

const Refusal kRefusals[] = {
    {"OpenAbsent", [](auto& fs, auto& dir) { fs.open_read(dir / "no"); }, Code::kIo,
     "no: open: No such file"},
    {"OpenFolder", [](auto& fs, auto& dir) { fs.open_read(dir.path()); }, Code::kBadInput,
     "not a regular file"},
    {"OpenFifo",
     [](auto& fs, auto& dir) {
       ::mkfifo((dir / "fifo").c_str(), 0666);
       fs.open_read(dir / "fifo");  // would wait for a writer for ever
     },
     Code::kBadInput, "fifo: not a regular file"},
    {"OpenSocket",
     [](auto& fs, auto& dir) {
       make_socket(dir / "socket");
       fs.open_read(dir / "socket");
     },
     Code::kBadInput, "socket: not a regular file"},
    {"OpenDevice", [](auto& fs, auto&) { fs.open_read("/dev/zero"); }, Code::kBadInput,
     "/dev/zero: not a regular file"},
    {"OpenWriteFifo",
     [](auto& fs, auto& dir) {
       ::mkfifo((dir / "fifo").c_str(), 0666);
       fs.open_write(dir / "fifo");
     },
     Code::kBadInput, "not a regular file"},
    {"OpenWriteSymlink",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "");
       stdfs::create_symlink("f", dir / "link");
       fs.open_write(dir / "link");
     },
     Code::kBadInput, "link: is a symbolic link"},
    {"ZeroByteInName",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "");
       fs.open_read(dir / std::string_view("f\0g", 3));
     },
     Code::kBadInput, "f\\x00g: a zero byte in a file name"},
    {"NameTooLong", [](auto& fs, auto& dir) { fs.create(dir / std::string(300, 'n')); }, Code::kIo,
     "create: File name too long"},
    {"CreateExisting",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "");
       fs.create(dir / "f");
     },
     Code::kIo, "f: create: File exists"},
    {"CreateThroughDanglingSymlink",
     [](auto& fs, auto& dir) {
       stdfs::create_symlink("elsewhere", dir / "link");
       fs.create(dir / "link");
     },
     Code::kIo, "link: create: File exists"},
    {"ReadBeyondTheEnd",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "0123456789");
       read(*fs.open_read(dir / "f"), 8, 5);
     },
     Code::kBadInput, "f: ends at byte 10, 5 bytes expected at 8"},
    {"ReadOffsetOverflows",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "0123456789");
       read(*fs.open_read(dir / "f"), -1, 5);
     },
     Code::kIo, "f: read: Invalid argument"},
    {"WriteToAFileOpenedForReading",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "0");
       fs.open_read(dir / "f")->write_at(0, bytes("1"));
     },
     Code::kIo, "f: write: Bad file descriptor"},
    {"WholeFileTooLarge",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "0123456789");
       read_whole_file(fs, dir / "f", 9);
     },
     Code::kBadInput, "f: 10 bytes, at most 9 expected"},
    {"MakeExistingDir", [](auto& fs, auto& dir) { fs.make_dir(dir.path()); }, Code::kIo,
     "create folder: File exists"},
    {"MakeDirsThroughAFile",
     [](auto& fs, auto& dir) {
       put_file(dir / "f", "");
       make_dirs(fs, dir / "f/below");
     },
     Code::kIo, "f: create folder: File exists"},
    {"RemoveFolderThatIsNotEmpty",
     [](auto& fs, auto& dir) {
       put_file(dir / "d/f", "");
       fs.remove_dir(dir / "d");
     },
     Code::kIo, "d: remove folder: Directory not empty"},
    {"RenameFolderOverEmptyFolder",
     [](auto& fs, auto& dir) {
       stdfs::create_directory(dir / "a");
       stdfs::create_directory(dir / "b");
       fs.rename(dir / "a", dir / "b");
     },
     Code::kIo, "b: rename to: File exists"},
    {"RenameFolderOverFile",
     [](auto& fs, auto& dir) {
       stdfs::create_directory(dir / "a");
       put_file(dir / "b", "");
       fs.rename(dir / "a", dir / "b");
     },
     Code::kIo, "Not a directory"},
    {"RenameFileOverFolder",
     [](auto& fs, auto& dir) {
       put_file(dir / "a", "");
       stdfs::create_directory(dir / "b");
       fs.rename(dir / "a", dir / "b");
     },
     Code::kIo, "b: rename to: File exists"},
    {"RenameAbsent", [](auto& fs, auto& dir) { fs.rename(dir / "a", dir / "b"); }, Code::kIo,
     "No such file"},
    {"ExchangeWithAbsent",
     [](auto& fs, auto& dir) {
       put_file(dir / "a", "");
       fs.exchange(dir / "a", dir / "b");
     },
     Code::kIo, "No such file"},
    {"SymlinkOverExisting",
     [](auto& fs, auto& dir) {
       put_file(dir / "a", "");
       fs.symlink("x", dir / "a");
     },
     Code::kIo, "create symlink: File exists"},
    {"ListAFile",
     [](auto& fs, auto& dir) {
       put_file(dir / "a", "");
       fs.list(dir / "a");
     },
     Code::kIo, "a: list: Not a directory"},
    {"RealPathOfAbsent", [](auto& fs, auto& dir) { fs.real_path(dir / "a"); }, Code::kIo,
     "a: resolve: No such file"},
    {"StatThroughALinkLoop",
     [](auto& fs, auto& dir) {
       stdfs::create_symlink("loop", dir / "loop");
       fs.stat(dir / "loop");
     },
     Code::kIo, "loop: stat: Too many levels"},
};

TEST_P(FileSystemRefusalTest, Throws) {
  const TempDir dir;
  try {
    GetParam().act(real_file_system(), dir);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), GetParam().code) << e.message();
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
    EXPECT_EQ(e.message().find('\n'), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, FileSystemRefusalTest, testing::ValuesIn(kRefusals),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
