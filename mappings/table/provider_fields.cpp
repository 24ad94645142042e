#include "mappings/table/provider_fields.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "mappings/table/table_json.h"

namespace mappings {
using bridge::bad_input;
using bridge::with_context;

void check_literal(const Json& json) {
  if (json.is_structured()) {
    for (const Json& item : json) check_literal(item);
  } else if (json.is_string() && json.get_ref<const std::string&>().starts_with('=')) {
    Expr::parse(std::string_view(json.get_ref<const std::string&>()).substr(1));
  }
}

ProviderField provider_field_of(const std::string& name, const Json& json, const Place& place) {
  ProviderField field;
  field.name = name;
  field.place = place;
  if (json.is_string()) {
    field.value = Expr::parse(json.get<std::string>());
  } else {
    field.literal = json;
  }
  return field;
}

void read_fields_when(const Json& json, const Place& place, Table& table) {
  if (!json.is_array() || json.size() != 2) bad_input("an entry is [condition, {fields}]");
  const Expr when = Expr::parse(text_of(json[0], "the condition"));
  for (const auto& [name, value] : expect_object(json[1], "the fields").items()) {
    ProviderField field = provider_field_of(name, value, place);
    field.when = when;
    table.megatron_config.push_back(std::move(field));
  }
}

void check_provider_fields(const Table& table) {
  for (const ProviderField& field : table.megatron_config) {
    with_context([&] { return fmt::format("megatron_config at {}", field.place.text()); },
                 [&] { check_literal(field.literal); });
  }
}

}  // namespace mappings
