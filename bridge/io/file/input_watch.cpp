#include "bridge/io/file/input_watch.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

[[noreturn]] void changed(const std::string& path) {
  bad_input(printable(path) + ": the file changed while it was being read",
            "run again when nothing writes to it");
}

bool is_same(const Stat& a, const Stat& b) {
  return a.device == b.device && a.inode == b.inode && a.size == b.size && a.modified == b.modified;
}

}  // namespace

void InputWatch::add(const Path& path) {
  const std::optional<Stat> found = inner_.stat(path);
  if (!found) bad_input(printable(path.native()) + ": no such file");
  remember(path, *found);
}

void InputWatch::remember(const Path& path, const Stat& found) {
  constexpr int64_t kNode = 64;  // the cost of one node of the map
  const std::lock_guard lock(mutex_);
  const auto [it, fresh] = seen_.try_emplace(path.native(), found);
  if (!fresh) {
    if (!is_same(it->second, found)) changed(path.native());
    return;
  }
  budget_.reserve(static_cast<int64_t>(sizeof(*it) + path.native().size()) + kNode,
                  "names of inputs");
}

std::unique_ptr<File> InputWatch::open_read(const Path& path) {
  std::unique_ptr<File> file = inner_.open_read(path);
  remember(path, file->stat());
  return file;
}

void InputWatch::check_unchanged() {
  const std::lock_guard lock(mutex_);
  for (const auto& [path, before] : seen_) {
    const std::optional<Stat> now = inner_.stat(path);
    if (!now || !is_same(before, *now)) changed(path);
  }
}

std::map<std::string, Stat> InputWatch::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

}  // namespace bridge
