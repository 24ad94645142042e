#include "bridge/io/file/file_pool.h"

#include <sys/resource.h>

#include <algorithm>

namespace bridge {

void raise_descriptor_limit() {
  struct ::rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

size_t pool_size() {
  constexpr rlim_t kPools = 4;
  constexpr rlim_t kLeast = 4;
  constexpr rlim_t kMost = 512;
  struct ::rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kLeast;
  return static_cast<size_t>(std::clamp(limit.rlim_cur / kPools, kLeast, kMost));
}

void FilePool::make_room() {
  for (auto at = order_.begin(); at != order_.end() && order_.size() >= most_open_;) {
    std::shared_ptr<File>& file = files_[*at];
    if (file.use_count() > 1) {
      ++at;
      continue;
    }
    if (use_ == Use::kWrite) file->sync();
    file.reset();
    at = order_.erase(at);
  }
}

std::shared_ptr<File> FilePool::get(size_t index) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<File>& file = files_.at(index);
  if (file == nullptr) {
    make_room();
    file = open_(index);
    order_.push_back(index);
  }
  return file;
}

void FilePool::put(size_t index, std::unique_ptr<File> file) {
  const std::lock_guard lock(mutex_);
  make_room();
  files_.at(index) = std::move(file);
  order_.push_back(index);
}

void FilePool::sync() {
  std::deque<size_t> open;
  {
    const std::lock_guard lock(mutex_);
    open = order_;
  }
  // Syncs one file at a time without the lock, so that other threads get their files meanwhile.
  for (const size_t index : open) {
    std::shared_ptr<File> file;
    {
      const std::lock_guard lock(mutex_);
      file = files_[index];
    }
    if (file) file->sync();  // else it was synced when it was closed
  }
}

}  // namespace bridge
