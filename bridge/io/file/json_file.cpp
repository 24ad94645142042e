#include "bridge/io/file/json_file.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

Path write_beside(FileSystem& fs, const Path& path, std::string_view content) {
  const std::optional<Stat> there = fs.stat(path);
  if (there && there->kind != Kind::kRegular) {
    usage_error(fmt::format("{}: is there and is no file", printable(path.native())),
                "name a file to write");
  }
  Path partial = path;
  partial += ".partial";
  if (fs.lstat(partial)) fs.remove_file(partial);
  write_whole_file(fs, partial, content);
  return partial;
}

}  // namespace

void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json) {
  const std::string text =
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  fs.rename(write_beside(fs, path, text), path);
}

void check_json_file_can_be_written(FileSystem& fs, const Path& path) {
  fs.remove_file(write_beside(fs, path, ""));
}

}  // namespace bridge
