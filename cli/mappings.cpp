// mappings list | show | check lets a user read the tables and try one of their own.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "bridge/convert/check_mapping.h"
#include "bridge/io/number/dtype.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"
#include "mappings/table/table_text.h"

namespace cli {
namespace {

// Returns a name with one layer's number filled in, or the pattern of the table if layer < 0.
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
  replace("{l ", fmt::format("{{{} ", layer));  // "{l + layers}"
  return name;
}

// Calls fn(item, families) for each element of the file. The table has one item per family of an
// element; --layer shows each of them.
template <typename Item, typename Fn>
void for_each_element(const std::vector<Item>& items, int64_t layer, const Fn& fn) {
  for (size_t i = 0; i < items.size();) {
    std::vector<std::string> families;
    const size_t first = i;
    do {
      if (!items[i].family.empty()) families.push_back(items[i].family);
      ++i;
    } while (layer < 0 && i < items.size() && items[i].place == items[first].place);
    fn(items[first], families);
  }
}

std::string part_remark(const std::string& part) {
  return part.empty() ? std::string() : fmt::format("   of {}", part);
}

// Returns what follows the names of a row or drop.
std::string remarks(const mappings::Table& table, const std::vector<std::string>& families,
                    const mappings::Expr& when) {
  std::string text;
  if (table.families.size() > 1 && !families.empty()) {
    text += fmt::format("   in {}", fmt::join(families, ", "));
  }
  if (!when.empty()) text += fmt::format("   if {}", when.text());
  return text;
}

void show_families(const mappings::Table& table) {
  if (table.families.size() < 2) return;
  fmt::print("\n");
  for (const mappings::Family& family : table.families) {
    fmt::print("{:<12} {:<45} {}{}\n", family.name, family.megatron, family.hf,
               family.mtp ? fmt::format("   MTP, {}", table.mtp_key) : part_remark(family.part));
    for (const mappings::NamedExprs::value_type& variable : family.let) {
      fmt::print("{:<12} {} = {}\n", "", variable.first, variable.second.text());
    }
  }
}

void show_rows(const mappings::Table& table, int64_t layer) {
  fmt::print("\n{:<58} {:<8} {}\n", "Megatron-Core", "op", "Hugging Face");
  for_each_element(table.rows, layer, [&](const mappings::Row& row, const auto& families) {
    const mappings::Family* family = table.find_family(row.family);
    std::vector<std::string> names;
    for (const mappings::HfPart& part : row.hf) {
      names.push_back(with_layer(part.name, family, layer));
    }
    std::string text = remarks(table, families, row.when);
    if (!row.experts.empty()) text += fmt::format("   for each e of {}", row.experts.text());
    if (family == nullptr) text += part_remark(row.part);
    if (row.keep) text += fmt::format("   stays {}", bridge::safetensors_name(*row.keep));
    fmt::print("{:<58} {:<8} {}{}\n", with_layer(row.megatron, family, layer), row.op->name,
               fmt::join(names, "  "), text);
  });
}

void show_drops(const mappings::Table& table, int64_t layer) {
  for_each_element(table.drops, layer, [&](const mappings::Drop& drop, const auto& families) {
    const mappings::Family* family = table.find_family(drop.family);
    const std::string equals =
        drop.equals.empty() ? "" : "   equals " + with_layer(drop.equals, family, layer);
    fmt::print("{:<58} {:<8} {}{}{}\n", "(not stored)", "drop", with_layer(drop.hf, family, layer),
               equals, remarks(table, families, drop.when));
  });
}

void show_uncounted_mtp(const mappings::Table& table) {
  if (!table.mtp_uncounted) return;
  fmt::print("{:<58} {:<8} MTP layers beyond {}   if {}\n", "(not stored)", "drop", table.mtp_key,
             table.mtp_uncounted->when.text());
}

// The elements that share a scale.
std::string share_of(const mappings::Quantization& entry) {
  switch (entry.per) {
    case mappings::ScalePer::kRow:
      return "each row";
    case mappings::ScalePer::kTensor:
      return "each tensor";
    case mappings::ScalePer::kBlock:
      break;
  }
  return fmt::format("each block of ({}) x ({})", entry.block_rows.text(),
                     entry.block_columns.text());
}

void show_quantization(const mappings::Table& table) {
  for (const mappings::Quantization& entry : table.quantization) {
    std::vector<std::string_view> scales;
    for (const bridge::Dtype dtype : entry.scale_dtypes) {
      scales.push_back(bridge::safetensors_name(dtype));
    }
    fmt::print("\n{} X{} with {} X{}, one for {}{}\n", bridge::safetensors_name(entry.dtype),
               entry.packed, fmt::join(scales, " or "), entry.scale, share_of(entry),
               entry.when.empty() ? "" : "   if " + entry.when.text());
  }
}

// Returns what a source may store its weights in.
std::vector<std::string> source_dtypes(const mappings::About& about) {
  std::vector<std::string> dtypes = {"BF16", "F16", "F32"};  // every table reads these
  dtypes.insert(dtypes.end(), about.quantized.begin(), about.quantized.end());
  return dtypes;
}

int print_text(std::string_view text) {
  fmt::print("{}", text);
  return 0;
}

}  // namespace

int mappings_list(const MappingsCommand& command) {
  if (command.as_json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const mappings::NamedHead& table : mappings::builtin_heads()) {
      list.push_back({{"table", table.file},
                      {"architectures", table.head.architectures},
                      {"model_types", table.head.model_types},
                      {"models", table.head.about.models},
                      {"dtypes", source_dtypes(table.head.about)},
                      {"mtp", table.head.about.mtp},
                      {"checked", table.head.about.checked}});
    }
    fmt::print("{}\n", list.dump(2));
    return 0;
  }
  for (const mappings::NamedHead& table : mappings::builtin_heads()) {
    const mappings::About& about = table.head.about;
    fmt::print("{:<24} {}\n", table.file, fmt::join(table.head.architectures, ", "));
    fmt::print("{:<24} {}; {}; MTP: {}\n", "", about.models, fmt::join(source_dtypes(about), ", "),
               about.mtp);
    fmt::print("{:<24} {}{}\n", "", about.checked.empty() ? "bytes only" : "checked against ",
               fmt::join(about.checked, ", "));
  }
  return 0;
}

int mappings_show(const MappingsCommand& command) {
  if (command.source) {
    const std::string_view fragment = mappings::builtin_text(command.arch + ".jsonc");
    if (command.arch.starts_with("common/") && !fragment.empty()) return print_text(fragment);
  }
  const mappings::Table& table = mappings::find_table(mappings::Json::object(), command.arch);
  const std::string_view text = mappings::builtin_text(table.file);
  if (command.source) return print_text(text);
  if (command.full) return print_text(mappings::self_contained_text(text, table.file));
  fmt::print("{}: {}\n", table.file, fmt::join(table.architectures, ", "));
  show_families(table);
  show_rows(table, command.layer);
  show_drops(table, command.layer);
  show_uncounted_mtp(table);
  show_quantization(table);
  return 0;
}

int mappings_check(const MappingsCommand& command) {
  const Stopwatch stopwatch;
  const bridge::MappingSummary summary =
      bridge::check_mapping(bridge::real_file_system(), command.check);
  const Lines lines = {fmt::format("{} fits: {} tensors become {}, {} are dropped by rule",
                                   bridge::printable(command.check.mapping.string()),
                                   summary.source_tensors, summary.target_tensors,
                                   summary.dropped)};
  return finish(command.check, summary, lines, stopwatch.seconds());
}

}  // namespace cli
