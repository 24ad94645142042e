// Keeps only a few of many files open: a model may have 20,000 shards, and a process 1,024
// descriptors.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Raises the soft limit of descriptors to the hard limit, which is usually far higher. Call it at
// the start of main().
void raise_descriptor_limit();

// How many files one pool may hold open so that a few pools and everything else fit under the
// limit.
size_t pool_size();

// Thread-safe. When another file needs a place, the pool closes the unused file that has been open
// longest. It syncs a written file first, since an error of a later sync might not reach a new
// descriptor. Files in use stay open beyond the limit: at most one for each thread.
class FilePool {
 public:
  enum class Use { kRead, kWrite };
  FilePool(size_t count, size_t most_open, Use use,
           std::function<std::unique_ptr<File>(size_t)> open)
      : open_(std::move(open)), most_open_(most_open), use_(use), files_(count) {}

  std::shared_ptr<File> get(size_t index);
  // Takes over a file that the caller has just created.
  void put(size_t index, std::unique_ptr<File> file);
  // Makes everything durable that was written before the call. Other threads may write meanwhile.
  void sync();

 private:
  void make_room();

  const std::function<std::unique_ptr<File>(size_t)> open_;
  const size_t most_open_;
  const Use use_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<File>> files_;
  std::deque<size_t> order_;  // the open files, oldest first
};

}  // namespace bridge
