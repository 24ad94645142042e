// A JSON document written to a file, whole or not at all: beside it first, then renamed over it. What is no file but a
// stream (stream_file.h) is written as it is.
#pragma once

#include <nlohmann/json.hpp>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Errors: kIo; kUsage where the path is something else than a file, or the name beside it is taken.
void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json);

// The same errors, before the work whose result is to be written.
void check_json_file_can_be_written(FileSystem& fs, const Path& path);

}  // namespace bridge
