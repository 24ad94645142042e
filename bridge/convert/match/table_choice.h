// Which table a command works with:
//
//   1. --mapping FILE, else --arch NAME
//   2. else what the conversion was given of them, which its sidecar remembers: mapping.jsonc there
//      is the own table with the fragments that it uses, so that another version of this program
//      reads the same; "choices" in the manifest name it
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
  std::string name;  // of its file
};

struct TableChoice {
  std::optional<OwnTable> own;  // nullopt: a built-in one
  std::string arch;             // which one; empty: config.json says it

  bool by_config() const { return !own && arch.empty(); }
};

// sidecar: nullptr where there is none. Errors: kIo, kBadInput for a damaged sidecar.
TableChoice choose_table(FileSystem& fs, const CommonOptions& options, const Sidecar* sidecar);

// What the choices in a sidecar's manifest say of it. One by config.json leaves no trace.
void record_table(const TableChoice& table, nlohmann::ordered_json& choices);

// Writes an own table, with the fragments that it uses, into the folder of a sidecar. Errors: kIo.
void keep_table(FileSystem& fs, const Path& sidecar_dir, const TableChoice& table);

}  // namespace bridge
