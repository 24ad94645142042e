// The helpers of file_system.h: whole files, and folders with their contents. They use only the
// interface, so a test can stop or fail each of their steps.
#include "bridge/io/file/file_system.h"

#include <fmt/format.h>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"

namespace bridge {

std::string read_whole_file(FileSystem& fs, const Path& path, int64_t at_most) {
  const std::unique_ptr<File> file = fs.open_read(path);
  const int64_t size = file->size();
  if (size > at_most) {
    bad_input(
        fmt::format("{}: {} bytes, at most {} expected", printable(path.native()), size, at_most));
  }
  std::string content(checked_cast<size_t>(size), '\0');
  file->read_at(0, std::as_writable_bytes(std::span(content)));
  return content;
}

void write_whole_file(FileSystem& fs, const Path& path, std::string_view content) {
  const std::unique_ptr<File> file = fs.create(path);
  file->write_at(0, std::as_bytes(std::span(content)));
  file->sync();
}

void remove_tree(FileSystem& fs, const Path& path) {
  const std::optional<Stat> there = fs.lstat(path);
  if (!there) return;
  if (there->kind != Kind::kDirectory) {
    fs.remove_file(path);
    return;
  }
  for (const std::string& name : fs.list(path)) remove_tree(fs, path / name);
  fs.remove_dir(path);
}

void make_dirs(FileSystem& fs, const Path& path) {
  const auto is_dir = [&fs](const Path& at) {
    const std::optional<Stat> there = fs.stat(at);
    return there && there->kind == Kind::kDirectory;
  };
  if (path.empty() || is_dir(path)) return;
  make_dirs(fs, path.parent_path());
  if (!path.has_filename()) return;  // "a/b/": the folder itself was the parent path
  try {
    fs.make_dir(path);
  } catch (const Error&) {
    if (!is_dir(path)) throw;  // another process may have made it meanwhile
  }
}

}  // namespace bridge
