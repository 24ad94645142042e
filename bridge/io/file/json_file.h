// Writes a JSON document, or another text, to a file, whole or not at all: to a file beside it
// first, which is then renamed over it. A stream (stream_file.h) is written directly.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Errors: kIo; kUsage if path names something other than a file, or the name beside it is taken.
void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json);
void replace_text_file(FileSystem& fs, const Path& path, std::string_view text);

// Reports the same errors before the work whose result will be written.
void check_json_file_can_be_written(FileSystem& fs, const Path& path);

}  // namespace bridge
