#include "mappings/provider_fields.h"

#include <fmt/format.h>

#include "bridge/io/error.h"
#include "mappings/table_json.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

Json evaluate_literal(const Json& json, const Scope& scope) {
  if (json.is_string()) {
    const std::string& text = json.get_ref<const std::string&>();
    if (!text.starts_with('=')) return json;
    return Expr::parse(std::string_view(text).substr(1)).evaluate(scope);
  }
  if (!json.is_structured()) return json;
  Json result = json;
  for (Json& item : result) item = evaluate_literal(item, scope);
  return result;
}

}  // namespace

void check_literal(const Json& json) {
  if (json.is_structured()) {
    for (const Json& item : json) check_literal(item);
  } else if (json.is_string() && json.get_ref<const std::string&>().starts_with('=')) {
    Expr::parse(std::string_view(json.get_ref<const std::string&>()).substr(1));
  }
}

ProviderField provider_field_of(const std::string& name, const Json& json, int line) {
  ProviderField field;
  field.name = name;
  field.line = line;
  if (json.is_string()) {
    field.value = Expr::parse(json.get<std::string>());
  } else {
    field.literal = json;
  }
  return field;
}

void read_fields_when(const Json& json, int line, Table& table) {
  if (!json.is_array() || json.size() != 2) bad_input("an entry is [condition, {fields}]");
  const Expr when = Expr::parse(text_of(json[0], "the condition"));
  for (const auto& [name, value] : expect_object(json[1], "the fields").items()) {
    ProviderField field = provider_field_of(name, value, line);
    field.when = when;
    table.megatron_config.push_back(std::move(field));
  }
}

void check_provider_fields(const Table& table) {
  for (const ProviderField& field : table.megatron_config) {
    with_context([&] { return fmt::format("megatron_config at line {}", field.line); },
                 [&] { check_literal(field.literal); });
  }
}

Json Binding::text_form_config() const {
  return with_context([&] { return printable(table_->file) + ": text_form"; },
                      [&] { return evaluate_literal(table_->text_form->config, scope_); });
}

Json Binding::megatron_config(std::string_view dtype) const {
  Scope scope = scope_;
  scope.variables.emplace_back("dtype", std::string(dtype));
  const std::string_view torch = dtype == "bf16"   ? "torch.bfloat16"
                                 : dtype == "fp16" ? "torch.float16"
                                                   : "torch.float32";
  scope.variables.emplace_back("torch_dtype", std::string(torch));
  Json fields = Json::object();
  for (const ProviderField& field : table_->megatron_config) {
    const auto where = [&] {
      return fmt::format("{}: megatron_config at line {}", printable(table_->file), field.line);
    };
    with_context(where, [&] {
      if (!field.when.empty() && !field.when.evaluate_bool(scope)) return;
      fields[field.name] = field.value.empty() ? evaluate_literal(field.literal, scope)
                                               : field.value.evaluate(scope);
    });
  }
  return fields;
}

}  // namespace mappings
