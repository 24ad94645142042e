// A JSON document written to a file, whole or not at all: beside it first, then renamed over it.
#pragma once

#include <nlohmann/json.hpp>

#include "bridge/io/file_system.h"

namespace bridge {

void replace_json_file(FileSystem& fs, const Path& path, const nlohmann::ordered_json& json);

}  // namespace bridge
