#include "bridge/convert/match/stated_sizes.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/match/key_naming.h"

namespace bridge {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Removes the numbers of layers and experts: "decoder.layers.7.mlp.x" and the row's
// "decoder.layers.{l}.mlp.x" become "decoder.layers.mlp.x", the key of a stacked tensor.
std::string without_numbers(std::string_view key) {
  std::string result;
  while (!key.empty()) {
    const size_t dot = std::min(key.find('.'), key.size());
    const std::string_view part = key.substr(0, dot);
    if (!is_number(part) && part != "{l}" && part != "{e}") {
      if (!result.empty()) result += '.';
      result += part;
    }
    key.remove_prefix(std::min(dot + 1, key.size()));
  }
  return result;
}

// Maps a dim to the field that it gives.
std::map<std::string, std::string> fields_asked_for(const mappings::Table& table) {
  std::map<std::string, std::string> fields;
  for (const mappings::ProviderField& field : table.megatron_config) {
    const bool is_dim = std::any_of(table.dims.begin(), table.dims.end(), [&](const auto& dim) {
      return dim.first == field.value.text();
    });
    const bool asked_for =
        std::any_of(table.hf_config.begin(), table.hf_config.end(),
                    [&](const auto& entry) { return entry.value.uses(field.name); });
    if (is_dim && asked_for) fields.emplace(field.value.text(), field.name);
  }
  return fields;
}

std::vector<std::string> keys_of(const mappings::Table& table, const mappings::Row& row) {
  constexpr std::string_view kLayer = "{L}";
  std::vector<std::string> keys = {row.megatron, row.megatron_local};
  keys.insert(keys.end(), row.aliases.begin(), row.aliases.end());
  const mappings::Family* const family =
      row.family.empty() ? nullptr : table.find_family(row.family);
  for (std::string& key : keys) {
    if (family != nullptr && key.starts_with(kLayer)) {
      key.replace(0, kLayer.size(), family->megatron);
    }
    key = without_numbers(key);
  }
  return keys;
}

bool has_the_shape_of_its_hf_tensor(const mappings::Row& row) {
  using namespace mappings;
  const bool same = row.op == &ops::kCopy || row.op == &ops::kVocab || row.op == &ops::kMinusOne;
  return same && row.split.empty() && row.part.empty() && row.hf.size() == 1;
}

}  // namespace

mappings::Json sizes_of_tensors(const MegatronFolder& checkpoint, const mappings::Table& table,
                                const mappings::Json& known) {
  const std::string prefix = detect_prefix(checkpoint);
  std::map<std::string, const Shape*> shapes;
  for (const DcpTensor& tensor : checkpoint.metadata.tensors) {
    if (!tensor.key.starts_with(prefix)) continue;
    shapes.emplace(without_numbers(std::string_view(tensor.key).substr(prefix.size())),
                   &tensor.shape);
  }
  const auto fields = fields_asked_for(table);
  mappings::Json sizes = mappings::Json::object();
  for (const mappings::Row& row : table.rows) {
    if (!has_the_shape_of_its_hf_tensor(row)) continue;
    const std::vector<mappings::Expr>& dims = row.hf[0].shape;
    for (const std::string& key : keys_of(table, row)) {
      const auto found = shapes.find(key);
      if (found == shapes.end() || found->second->size() < dims.size()) continue;
      for (size_t i = 0; i < dims.size(); ++i) {
        const auto field = fields.find(dims[i].text());
        if (field == fields.end() || known.contains(field->second)) continue;
        sizes[field->second] = (*found->second)[found->second->size() - dims.size() + i];
      }
    }
  }
  return sizes;
}

}  // namespace bridge
