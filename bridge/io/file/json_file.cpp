#include "bridge/io/file/json_file.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/file/stream_file.h"

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
  if (fs.lstat(partial)) {
    usage_error(fmt::format("{}: is there, and would be written on the way to {}",
                            printable(partial.native()), printable(path.filename().native())),
                "remove it, or choose another name");
  }
  write_whole_file(fs, partial, content);
  return partial;
}

}  // namespace

void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json) {
  replace_text_file(
      fs, path, json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void replace_text_file(FileSystem& fs, const Path& path, std::string_view text) {
  if (is_stream(path)) return write_to_stream(path, text);
  const Path partial = write_beside(fs, path, text);
  try {
    fs.rename(partial, path);
  } catch (const Error&) {
    fs.remove_file(partial);
    throw;
  }
}

void check_json_file_can_be_written(FileSystem& fs, const Path& path) {
  if (is_stream(path)) return check_stream_can_be_written(path);
  fs.remove_file(write_beside(fs, path, ""));
}

}  // namespace bridge
