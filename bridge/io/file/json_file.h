// A JSON document written to a file, whole or not at all: beside it first, then renamed over it.
#pragma once

#include <nlohmann/json.hpp>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Errors: kIo; kUsage where the path is something else than a file (a device would be replaced too).
void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json);

// The same errors, before the work whose result is to be written.
void check_json_file_can_be_written(FileSystem& fs, const Path& path);

}  // namespace bridge
