// A lock for file systems without flock (Lustre mounted without it, NFS without its lock daemon): a
// file beside the lock file that only one process can create, and that names its host and process.
//
//   1. The holder creates PATH.lease with O_EXCL, which these file systems do atomically. The file
//      contains "HOST PID STARTED".
//   2. An existing file means that somebody holds the lease, unless it names this host and a
//      process that is gone (no process has that number, or one that started at another time).
//   3. Only one process at a time can take over a stale lease: the one that creates
//      PATH.lease.takeover.
// Nobody asks a holder on another host; the error names it.
#pragma once

#include <memory>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Returns nullptr if a live process of this host holds the lease. Error: kIo, which names the file,
// where only a person can tell.
std::unique_ptr<Lock> try_lease(FileSystem& fs, const Path& path);

}  // namespace bridge
