// A lock for file systems without flock (Lustre mounted so, NFS without its lock daemon): a file beside the lock file that
// only one process can create, with its host and process in it.
//
//   1. PATH.lease is created with O_EXCL, which these file systems do atomically; it holds "HOST PID STARTED".
//   2. One that is there is somebody's, unless it names this host and a process that is gone (none of that number, or
//      one that started at another time).
//   3. Taking over a stale one is done by one process at a time: by who creates PATH.lease.takeover.
// The holder of a lease on another host is not asked; the error names it.
#pragma once

#include <memory>

#include "bridge/io/file/file_system.h"

namespace bridge {

// nullptr: this host's holder is alive. Error: kIo naming the file where only a person can tell.
std::unique_ptr<Lock> try_lease(FileSystem& fs, const Path& path);

}  // namespace bridge
