#include "bridge/io/json_file.h"

namespace bridge {

void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json) {
  Path partial = path;
  partial += ".partial";
  if (fs.lstat(partial)) fs.remove_file(partial);
  write_whole_file(
      fs, partial,
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  fs.rename(partial, path);
}

}  // namespace bridge
