// Ends a program at one of its file operations, or makes that operation fail. Put under it by LD_PRELOAD.
//
//   CRASH_ROOT     operations on what lies below this folder count, from 1; all others pass
//   CRASH_LOG      gets a line for each of them: its kind and the path
//   CRASH_AT       the number of the operation that is struck
//   CRASH_ACTION   kill: the process is gone; term: it gets SIGTERM and the operation passes; a number: fails with that errno
//   CRASH_CHANGES  a change of anything that does not lie below this folder aborts the program; so does a socket
//
// A write that is struck has written the first half of its bytes. An operation on a descriptor has the path that it was opened
// with. Several threads may be at it; only with one thread are the numbers the same in every run.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kDescriptors = 1024, kKill = -1 };

static const char* root = "";
static const char* changes = "";
static const char* action = "";
static long struck = 0;
static int log_descriptor = -1;
static atomic_long operations = 0;
static const char* paths[kDescriptors];  // by descriptor; never freed, a run is short

__attribute__((constructor)) static void read_environment(void) {
  const char* value = getenv("CRASH_ROOT");
  if (value != NULL) root = value;
  value = getenv("CRASH_CHANGES");
  if (value != NULL) changes = value;
  value = getenv("CRASH_ACTION");
  if (value != NULL) action = value;
  value = getenv("CRASH_AT");
  if (value != NULL) struck = atol(value);
  value = getenv("CRASH_LOG");
  // Not open(), which is this file's.
  if (value != NULL) {
    log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  }
}

static int lies_below(const char* path, const char* folder) {
  const size_t size = strlen(folder);
  return size > 0 && path != NULL && strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static void forbid(const char* what, const char* path) {
  fprintf(stderr, "forbidden: %s %s\n", what, path);
  abort();
}

static void check_change(const char* path) {
  if (changes[0] != '\0' && !lies_below(path, changes)) forbid("a change of", path);
}

static void remember(int descriptor, const char* path) {
  if (descriptor >= 0 && descriptor < kDescriptors) paths[descriptor] = strdup(path);
}

static const char* path_of(int descriptor) {
  return descriptor >= 0 && descriptor < kDescriptors ? paths[descriptor] : NULL;
}

// Counts an operation. 0: it passes; kKill; else the errno to fail with.
static int reach(const char* kind, const char* path) {
  if (!lies_below(path, root)) return 0;
  const long number = atomic_fetch_add(&operations, 1) + 1;
  if (log_descriptor >= 0) dprintf(log_descriptor, "%s %s\n", kind, path);
  if (number != struck) return 0;
  if (strcmp(action, "kill") == 0) return kKill;
  if (strcmp(action, "term") == 0) {
    raise(SIGTERM);
    return 0;
  }
  return atoi(action);
}

static void strike(int fault) {
  if (fault == kKill) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = fault;
}

// What the next library defines under this name: the C library's function.
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Returns `failure` from the function around it if the operation is struck.
#define REACH(kind, path, failure)           \
  do {                                       \
    const int fault = reach((kind), (path)); \
    if (fault != 0) {                        \
      strike(fault);                         \
      return failure;                        \
    }                                        \
  } while (0)

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  if ((flags & O_ACCMODE) != O_RDONLY) check_change(path);
  REACH((flags & O_CREAT) != 0 ? "create" : "open", path, -1);
  const int descriptor = REAL(open)(path, flags, mode);
  remember(descriptor, path);
  return descriptor;
}

ssize_t pread(int descriptor, void* data, size_t size, off_t offset) {
  REACH("pread", path_of(descriptor), -1);
  return REAL(pread)(descriptor, data, size, offset);
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  const int fault = reach("pwrite", path_of(descriptor));
  if (fault == 0) return REAL(pwrite)(descriptor, data, size, offset);
  if (size > 1 && REAL(pwrite)(descriptor, data, size / 2, offset) < 0) perror("pwrite");
  strike(fault);
  return -1;
}

int fsync(int descriptor) {
  REACH("fsync", path_of(descriptor), -1);
  return REAL(fsync)(descriptor);
}

int ftruncate(int descriptor, off_t size) {
  REACH("ftruncate", path_of(descriptor), -1);
  return REAL(ftruncate)(descriptor, size);
}

int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  REACH("fallocate", path_of(descriptor), -1);
  return REAL(fallocate)(descriptor, mode, offset, size);
}

int flock(int descriptor, int operation) {
  REACH("flock", path_of(descriptor), -1);
  return REAL(flock)(descriptor, operation);
}

int fstat(int descriptor, struct stat* status) {
  REACH("fstat", path_of(descriptor), -1);
  return REAL(fstat)(descriptor, status);
}

int stat(const char* path, struct stat* status) {
  REACH("stat", path, -1);
  return REAL(stat)(path, status);
}

int lstat(const char* path, struct stat* status) {
  REACH("lstat", path, -1);
  return REAL(lstat)(path, status);
}

int statvfs(const char* path, struct statvfs* status) {
  REACH("statvfs", path, -1);
  return REAL(statvfs)(path, status);
}

char* realpath(const char* path, char* resolved) {
  REACH("realpath", path, NULL);
  return REAL(realpath)(path, resolved);
}

ssize_t readlink(const char* path, char* target, size_t size) {
  REACH("readlink", path, -1);
  return REAL(readlink)(path, target, size);
}

DIR* opendir(const char* path) {
  REACH("opendir", path, NULL);
  DIR* stream = REAL(opendir)(path);
  if (stream != NULL) remember(dirfd(stream), path);
  return stream;
}

struct dirent* readdir(DIR* stream) {
  REACH("readdir", path_of(dirfd(stream)), NULL);
  return REAL(readdir)(stream);
}

int mkdir(const char* path, mode_t mode) {
  check_change(path);
  REACH("mkdir", path, -1);
  return REAL(mkdir)(path, mode);
}

int rmdir(const char* path) {
  check_change(path);
  REACH("rmdir", path, -1);
  return REAL(rmdir)(path);
}

int unlink(const char* path) {
  check_change(path);
  REACH("unlink", path, -1);
  return REAL(unlink)(path);
}

int symlink(const char* target, const char* path) {
  check_change(path);
  REACH("symlink", path, -1);
  return REAL(symlink)(target, path);
}

int rename(const char* from, const char* to) {
  check_change(from);
  check_change(to);
  REACH("rename", to, -1);
  return REAL(rename)(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned int flags) {
  check_change(from);
  check_change(to);
  REACH((flags & RENAME_EXCHANGE) != 0 ? "exchange" : "renameat2", to, -1);
  return REAL(renameat2)(from_folder, from, to_folder, to, flags);
}

int socket(int domain, int type, int protocol) {
  if (changes[0] != '\0') forbid("a socket", "");
  return REAL(socket)(domain, type, protocol);
}
