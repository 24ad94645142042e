// Chooses the table that a command works with:
//
//   1. --mapping FILE, else --arch NAME
//   2. else the one of these that the conversion was given, which its sidecar remembers:
//      mapping.jsonc there is the user's own table with the fragments that it uses, so that another
//      version of this program reads the same; "choices" in the manifest name it
//   3. else the built-in table that config.json asks for
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bridge/convert/options.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/sidecar/sidecar.h"

namespace bridge {

struct OwnTable {
  std::string text;
  std::string name;  // the name of its file
};

struct TableChoice {
  std::optional<OwnTable> own;  // nullopt: a built-in table
  std::string arch;             // the built-in table; empty: config.json names it

  bool by_config() const { return !own && arch.empty(); }
};

// sidecar: nullptr where there is none. Errors: kIo, kBadInput for a damaged sidecar.
TableChoice choose_table(FileSystem& fs, const CommonOptions& options, const Sidecar* sidecar);

// Records the table in the choices of a sidecar's manifest. A table by config.json is not recorded.
void record_table(const TableChoice& table, nlohmann::ordered_json& choices);

// Writes the user's own table, with the fragments that it uses, into the folder of a sidecar.
// Errors: kIo.
void keep_table(FileSystem& fs, const Path& sidecar_dir, const TableChoice& table);

}  // namespace bridge
