// Many files of which few are open at a time: a model may have 20,000 shards, and a process 1,024 descriptors.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

// The soft limit of descriptors becomes the hard one, which is usually far higher. At the start of main().
void raise_descriptor_limit();

// How many files one pool may hold open so that a few pools and all else fit under the limit.
size_t pool_size();

// Thread-safe. The longest open file that nobody uses is closed when another one needs its place; one that is written is
// synced before, since an error of a later sync need not reach a new descriptor. In use, more may be open: one a thread.
class FilePool {
 public:
  enum class Use { kRead, kWrite };
  FilePool(size_t count, size_t most_open, Use use,
           std::function<std::unique_ptr<File>(size_t)> open)
      : open_(std::move(open)), most_open_(most_open), use_(use), files_(count) {}

  std::shared_ptr<File> get(size_t index);
  // A file that the caller has just created.
  void put(size_t index, std::unique_ptr<File> file);
  // Everything written so far is durable.
  void sync();

 private:
  void make_room();

  const std::function<std::unique_ptr<File>(size_t)> open_;
  const size_t most_open_;
  const Use use_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<File>> files_;
  std::deque<size_t> order_;  // of those open, oldest first
};

}  // namespace bridge
