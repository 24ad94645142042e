#include "bridge/convert/commit/report_place.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/file/containment.h"
#include "bridge/io/file/json_file.h"
#include "bridge/io/file/paths.h"
#include "bridge/io/file/stream_file.h"

namespace bridge {
namespace {

// Resolves the symlinks of a path except in its last component, which a rename replaces. Returns
// nullopt if its folder does not exist.
std::optional<Path> real_name(FileSystem& fs, const Path& path) {
  const Path parent = parent_of(path);
  if (!fs.stat(parent)) return std::nullopt;
  return fs.real_path(parent) / path.filename();
}

bool is_or_lies_in(FileSystem& fs, const Path& report, const Path& place) {
  if (place.empty()) return false;
  const std::optional<Path> name = real_name(fs, report);
  if (!name) return false;
  if (const std::optional<Stat> there = fs.stat(place)) {
    return there->kind == Kind::kDirectory ? lies_in(fs, name->parent_path(), *there)
                                           : name == real_name(fs, place);
  }
  return name == real_name(fs, place);
}

}  // namespace

void check_report_place(FileSystem& fs, const Path& report, const std::vector<Path>& inputs,
                        const std::vector<Path>& outputs, std::string_view option) {
  if (report.empty()) return;
  const auto refuse = [&](const Path& place, std::string_view what) {
    if (is_stream(report) || !is_or_lies_in(fs, report, place)) return;
    usage_error(fmt::format("{} {}: lies in the {} {}", option, printable(report.native()), what,
                            printable(place.native())),
                "write it elsewhere");
  };
  for (const Path& input : inputs) refuse(input, "input");
  for (const Path& output : outputs) refuse(output, "output");
  for (const Path& output : outputs) {
    if (!output.empty() && lies_in_by_name(report, output)) return;
  }
  check_json_file_can_be_written(fs, report);
}

}  // namespace bridge
