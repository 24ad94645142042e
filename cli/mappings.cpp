// mappings list | show | check: the tables as a user reads and tries them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "bridge/convert/accounting.h"
#include "bridge/convert/model_binding.h"
#include "bridge/convert/source_match.h"
#include "bridge/io/error.h"
#include "bridge/io/hf_folder.h"
#include "cli/commands.h"
#include "mappings/table.h"

namespace cli {
namespace {

std::string with_layer(std::string name, const mappings::Family* family, int64_t layer) {
  if (family == nullptr || layer < 0) return name;
  const auto replace = [&](std::string_view what, const std::string& by) {
    for (size_t at = name.find(what); at != std::string::npos;
         at = name.find(what, at + by.size())) {
      name.replace(at, what.size(), by);
    }
  };
  replace("{L}", family->megatron);
  replace("{H}", family->hf);
  replace("{l}", std::to_string(layer));
  return name;
}

}  // namespace

int mappings_list() {
  for (const mappings::Table& table : mappings::builtin_tables()) {
    fmt::print("{:<24} {}\n", table.file, fmt::join(table.architectures, ", "));
  }
  return 0;
}

int mappings_show(const MappingsCommand& command) {
  const mappings::Table& table = mappings::find_table(mappings::Json::object(), command.arch);
  fmt::print("{}: {}\n\n{:<58} {:<8} {}\n", table.file, fmt::join(table.architectures, ", "),
             "Megatron-Core", "op", "Hugging Face");
  for (const mappings::Row& row : table.rows) {
    const mappings::Family* family = table.find_family(row.family);
    std::vector<std::string> names;
    for (const mappings::HfPart& part : row.hf) {
      names.push_back(with_layer(part.name, family, command.layer));
    }
    fmt::print("{:<58} {:<8} {}{}\n", with_layer(row.megatron, family, command.layer),
               mappings::op_name(row.op), fmt::join(names, "  "),
               row.when.empty() ? "" : fmt::format("   if {}", row.when.text()));
  }
  for (const mappings::Drop& drop : table.drops) {
    fmt::print("{:<58} {:<8} {}\n", "(not stored)", "drop",
               with_layer(drop.hf, table.find_family(drop.family), command.layer));
  }
  return 0;
}

int mappings_check(const MappingsCommand& command) {
  bridge::FileSystem& fs = bridge::real_file_system();
  bridge::CommonOptions options = command.options;
  options.mapping = command.table_file;
  bridge::MemoryBudget budget(options.memory);
  const bridge::HfFolder folder = bridge::open_hf_folder(fs, command.hf_dir, budget);
  const bridge::BoundModel model =
      bridge::bind_model(fs, bridge::read_config(fs, folder.path),
                         (folder.path / "config.json").string(), options, true);
  bridge::Accounting accounting;
  int64_t tensors = 0;
  const bridge::SourceMatch match =
      bridge::match_source(folder, model.binding, false, true, accounting,
                           [&](const bridge::MatchedTensor&) { ++tensors; });
  accounting.raise_unless_clean(bridge::printable(folder.path.string()), {});
  fmt::print("{} fits: {} tensors become {}, {} are dropped by rule\n", command.table_file,
             folder.tensors.size(), tensors, match.dropped.size());
  return 0;
}

}  // namespace cli
