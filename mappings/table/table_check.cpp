// What makes a table well-formed under any configuration:
//   1. it serves something, names are identifiers that hide no others, and dialects have the same
//      placeholders
//   2. families: one {l} in the Megatron prefix, known placeholders in both prefixes
//   3. rows: known placeholders, names of plain characters, arity and ranks of the op
//   4. drops and extra states: the same for their names; "equals" of a drop names a tensor of a row
//   5. no Megatron spelling and no HF name occurs twice in a family, unless conditions can tell the
//      two apart
//   6. expressions inside texts and literals parse
// Binding checks what depends on numbers (counts, shapes, names under conditions).
#include "mappings/table/table_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "bridge/io/base/error.h"
#include "bridge/io/number/codec.h"
#include "mappings/table/model_parts.h"
#include "mappings/table/name_check.h"
#include "mappings/table/op_check.h"
#include "mappings/table/pattern.h"
#include "mappings/table/provider_fields.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

constexpr size_t kMostDialects = 64;
constexpr size_t kMostFamilies = 64;

std::string place_context(std::string_view kind, const Place& place) {
  return fmt::format("{} at {}", kind, place.text());
}

void check_variables(const Table& table) {
  // "l" is the layer index; Binding sets the others.
  std::set<std::string> names = {"l",        "tied",      "dtype",         "torch_dtype", "config",
                                 "true",     "false",     "null",          "in",          "for",
                                 "keep_mtp", "text_only", "keep_quantized"};
  const auto check = [](std::set<std::string>& taken, const NamedExprs& named) {
    for (const auto& [name, expr] : named) {
      if (!is_identifier(name)) bad_input(fmt::format("'{}' is no identifier", printable(name)));
      if (!taken.insert(name).second) bad_input(fmt::format("'{}' is defined already", name));
    }
  };
  // Conditions can use the placeholders of dialects too.
  for (const auto& [placeholder, text] : table.dialects[0]) {
    if (!names.insert(placeholder).second) {
      bad_input(fmt::format("'{}' cannot name a dialect's placeholder", printable(placeholder)));
    }
  }
  check(names, table.values);
  check(names, table.dims);
  if (table.quantization_groups) {
    std::set<std::string> own = names;
    own.insert("group");
    with_context("quantization_groups", [&] { check(own, table.quantization_groups->values); });
  }
  for (const Family& family : table.families) {
    std::set<std::string> own = names;
    with_context([&] { return place_context("family", family.place); },
                 [&] { check(own, family.let); });
  }
}

void check_dialects(const Table& table) {
  if (table.dialects.size() > kMostDialects) {
    bad_input(fmt::format("{} dialects (at most {})", table.dialects.size(), kMostDialects));
  }
  for (const auto& dialect : table.dialects) {
    for (const auto& [key, text] : dialect) {
      if (!is_identifier(key) || key == "L" || key == "H" || key == "l" || key == "e") {
        bad_input(fmt::format("'{}' cannot name a dialect's placeholder", printable(key)));
      }
      if (!is_name_text(text) || text.size() > kLongestName) {
        bad_input(fmt::format("dialect text '{}' does not fit a tensor name", printable(text)));
      }
    }
    // Dialects are sorted by placeholder.
    if (!std::equal(dialect.begin(), dialect.end(), table.dialects[0].begin(),
                    table.dialects[0].end(),
                    [](const auto& a, const auto& b) { return a.first == b.first; })) {
      bad_input("dialects with different placeholders");
    }
  }
}

void check_family_exists(const Table& table, const std::string& family) {
  if (!family.empty() && table.find_family(family) == nullptr) {
    bad_input(fmt::format("unknown family '{}'", printable(family)));
  }
}

void check_families(const Table& table) {
  if (table.families.size() > kMostFamilies) {
    bad_input(fmt::format("{} families (at most {})", table.families.size(), kMostFamilies));
  }
  for (const Family& family : table.families) {
    with_context([&] { return place_context("family", family.place); },
                 [&] {
                   if (!is_identifier(family.name)) {
                     bad_input(fmt::format("'{}' is no identifier", printable(family.name)));
                   }
                   check_prefix(table, family.megatron, true);
                   for (const std::string& alias : family.aliases) check_prefix(table, alias, true);
                   check_prefix(table, family.hf, false);
                   if (family.mtp && table.mtp_key.empty()) {
                     bad_input("'mtp' families need the table's 'mtp', the key that counts them");
                   }
                   if (family.mtp && !family.part.empty()) {
                     bad_input("'part' has no meaning for MTP, which is of the text model");
                   }
                 });
  }
}

void check_row(const Table& table, const Row& row) {
  const bool per_expert = !row.experts.empty();
  check_family_exists(table, row.family);
  check_name(table, row.megatron, "L", row.family, per_expert);
  check_name(table, row.megatron_local, "L", row.family, per_expert);
  for (const std::string& alias : row.aliases) {
    check_name(table, alias, "L", row.family, per_expert);
  }
  for (const HfPart& part : row.hf) check_name(table, part.name, "H", row.family, per_expert);
  check_op(row);
  for (const bridge::Dtype dtype : row.dtypes) {
    if (row.keep && *row.keep != dtype && !bridge::can_cast(dtype, *row.keep)) {
      bad_input(fmt::format("'keep' {} of a tensor that may be {}",
                            bridge::safetensors_name(*row.keep), bridge::safetensors_name(dtype)));
    }
  }
}

// How elements of a type may be stored, and the types of their scales.
struct ElementForm {
  bridge::Dtype dtype;
  bridge::Dtype stored;
  std::vector<bridge::Dtype> scales;
};

const ElementForm& form_of(const Quantization& entry) {
  using enum bridge::Dtype;
  static const std::vector<ElementForm> kForms = {{kF8E4M3, kF8E4M3, {kF32, kBF16, kF8E8M0}},
                                                  {kF4E2M1, kI8, {kF8E8M0}},
                                                  {kF4E2M1, kU8, {kU8}},
                                                  {kI4, kI32, {kF32, kBF16}}};
  bool known = false;
  for (const ElementForm& form : kForms) {
    if (form.dtype != entry.dtype) continue;
    if (form.stored == entry.stored) return form;
    known = true;
  }
  if (!known) {
    bad_input(fmt::format("blocks of {} are not supported (F8_E4M3, F4 and I4 are)",
                          bridge::safetensors_name(entry.dtype)));
  }
  bad_input(fmt::format("{} cannot be stored as {} (F4 is, as I8 or U8, and I4, as I32)",
                        bridge::safetensors_name(entry.dtype),
                        bridge::safetensors_name(entry.stored)));
}

void check_scales(const Quantization& entry, const ElementForm& form) {
  for (const bridge::Dtype dtype : entry.scale_dtypes) {
    if (std::find(form.scales.begin(), form.scales.end(), dtype) != form.scales.end()) continue;
    std::vector<std::string_view> names;
    for (const bridge::Dtype known : form.scales) names.push_back(bridge::safetensors_name(known));
    bad_input(fmt::format("scales of {} are not supported ({} are)",
                          bridge::safetensors_name(dtype), fmt::join(names, ", ")));
  }
  if (entry.scale_dtypes.empty()) bad_input("'scale_dtypes' is missing");
}

// Suffixes of names beside each other: all different but packed and weight.
void check_suffixes(const Quantization& entry) {
  std::vector<std::string> all = {entry.weight, entry.scale};
  if (entry.packed != entry.weight) all.push_back(entry.packed);
  all.insert(all.end(), entry.beside.begin(), entry.beside.end());
  std::set<std::string> seen;
  for (const std::string& suffix : all) {
    if (!suffix.empty() && is_name_text(suffix) && seen.insert(suffix).second) continue;
    bad_input(
        "'weight', 'packed', 'scale' and 'beside' must be different suffixes of tensor names");
  }
}

// Two entries for one type are valid under two conditions; Binding finds out whether these exclude
// each other.
void check_quantization(const Table& table) {
  std::set<std::pair<bridge::Dtype, std::string>> uses;
  for (const Quantization& entry : table.quantization) {
    with_context(
        [&] { return place_context("quantization", entry.place); },
        [&] {
          const ElementForm& form = form_of(entry);
          if (!uses.emplace(entry.dtype, entry.when.text()).second) {
            bad_input(fmt::format("'dtype' {} twice", bridge::safetensors_name(entry.dtype)));
          }
          if (entry.grouped && !table.quantization_groups) {
            bad_input("'grouped' needs the table's 'quantization_groups'");
          }
          check_suffixes(entry);
          check_scales(entry, form);
        });
  }
}

// The names that a family uses already, with the condition and place of each use.
class Taken {
 public:
  // A second use is valid under another condition; Binding finds out whether the two conditions
  // exclude each other.
  void add(const std::string& family, const std::string& name, const Expr& when, const Place& place,
           std::string_view what) {
    for (const Use& use : uses_[{family, name}]) {
      if (use.when.empty() || when.empty() || use.when == when.text()) {
        bad_input(
            fmt::format("{} '{}' is used at {} already", what, printable(name), use.place.text()));
      }
    }
    uses_[{family, name}].push_back({when.text(), place});
  }

  bool has(const std::string& name) const {
    return std::any_of(uses_.begin(), uses_.end(),
                       [&](const auto& entry) { return entry.first.second == name; });
  }

 private:
  struct Use {
    std::string when;
    Place place;
  };
  std::map<std::pair<std::string, std::string>, std::vector<Use>> uses_;
};

void check_rows_and_drops(const Table& table) {
  Taken targets;
  Taken sources;
  for (const Row& row : table.rows) {
    with_context(
        [&] { return place_context("row", row.place); },
        [&] {
          check_row(table, row);
          std::set<std::string> spellings = {row.megatron, row.megatron_local};
          for (const std::string& alias : row.aliases) {
            if (!spellings.insert(alias).second) {
              bad_input(fmt::format("alias '{}' repeats a name of the row", printable(alias)));
            }
          }
          // Each part has a name of its own, so rows may share the text before the suffix.
          const std::vector<std::string> suffixes =
              row.split.empty() ? std::vector<std::string>{""} : row.split;
          for (const std::string& name : spellings) {
            for (const std::string& suffix : suffixes) {
              targets.add(row.family, name + suffix, row.when, row.place, "Megatron name");
            }
          }
          for (const HfPart& part : row.hf) {
            sources.add(row.family, part.name, row.when, row.place, "HF name");
          }
        });
  }
  const Taken row_sources = sources;
  for (const Drop& drop : table.drops) {
    with_context([&] { return place_context("drop", drop.place); },
                 [&] {
                   check_family_exists(table, drop.family);
                   check_name(table, drop.hf, "H", drop.family);
                   sources.add(drop.family, drop.hf, drop.when, drop.place, "HF name");
                   if (!drop.equals.empty() && !row_sources.has(drop.equals)) {
                     bad_input(fmt::format("'equals' names '{}', which no row reads",
                                           printable(drop.equals)));
                   }
                 });
  }
}

void check_extra_states(const Table& table) {
  Taken of_te;
  Taken of_local;
  for (const ExtraState& state : table.extra_state) {
    with_context([&] { return place_context("extra_state", state.place); },
                 [&] {
                   check_family_exists(table, state.family);
                   check_name(table, state.module, "L", state.family, !state.experts.empty());
                   const auto add = [&](Taken& modules) {
                     modules.add(state.family, state.module, state.when, state.place, "module");
                   };
                   if (state.spec != "local") add(of_te);
                   if (state.spec != "te") add(of_local);
                 });
  }
}

void check_notices(const std::vector<Notice>& notices, std::string_view kind) {
  for (const Notice& notice : notices) {
    with_context([&] { return place_context(kind, notice.place); },
                 [&] {
                   for (const PatternPiece& piece : split_pattern(notice.text)) {
                     if (piece.placeholder) Expr::parse(piece.text);
                   }
                 });
  }
}

// A table cannot both serve a model and refuse it by name.
void check_not_served(const Table& table) {
  std::vector<std::string> names = table.architectures;
  names.insert(names.end(), table.model_types.begin(), table.model_types.end());
  for (const OtherModel& other : table.not_served) {
    with_context([&] { return place_context("not_served", other.place); },
                 [&] {
                   names.push_back(other.name);
                   check_no_repeats(names, "'architectures', 'model_types' and 'not_served'");
                   if (other.text.empty() || other.remedy.empty()) bad_input("an empty text");
                 });
  }
}

}  // namespace

const Family* Table::find_family(std::string_view name) const {
  const auto it = std::find_if(families.begin(), families.end(),
                               [&](const Family& family) { return family.name == name; });
  return it == families.end() ? nullptr : &*it;
}

void check_table(const Table& table) {
  if (table.architectures.empty() && table.model_types.empty()) {
    bad_input("'architectures' or 'model_types' must name what the table serves");
  }
  check_no_repeats(table.architectures, "'architectures'");
  check_no_repeats(table.model_types, "'model_types'");
  check_variables(table);
  check_dialects(table);
  check_families(table);
  check_text_form(table);
  if (table.rows.empty()) bad_input("the table has no rows");
  check_quantization(table);
  check_rows_and_drops(table);
  check_extra_states(table);
  check_notices(table.refuse, "refuse");
  check_notices(table.warn, "warn");
  if (table.text_form) with_context("text_form", [&] { check_literal(table.text_form->config); });
  check_not_served(table);
  if ((table.mtp_uncounted || table.mtp_found) && table.mtp_key.empty()) {
    bad_input("'mtp_uncounted' and 'mtp_found' need 'mtp', the key that counts");
  }
  if (table.defaults.contains(table.mtp_key)) {
    bad_input(fmt::format("'defaults' has {}, the key of 'mtp'", printable(table.mtp_key)));
  }
  check_provider_fields(table);
}

}  // namespace mappings
