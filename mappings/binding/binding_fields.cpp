// Evaluates the fields of the Megatron configuration and of the text form's config.json for the
// bound configuration.
#include <fmt/format.h>

#include <cmath>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"

namespace mappings {
namespace {

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

// config.json may hold NaN and Infinity as long as no field takes such a value.
void refuse_non_finite(const std::string& field, const Json& value) {
  if (value.is_structured()) {
    for (const Json& item : value) refuse_non_finite(field, item);
  } else if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    bridge::bad_input(fmt::format("{} would be {}", field, value.get<double>()),
                      "correct the number in config.json that it is made of");
  }
}

}  // namespace

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
      return fmt::format("{}: megatron_config at {}", printable(table_->file), field.place.text());
    };
    with_context(where, [&] {
      if (!field.when.empty() && !field.when.evaluate_bool(scope)) return;
      fields[field.name] = field.value.empty() ? evaluate_literal(field.literal, scope)
                                               : field.value.evaluate(scope);
      refuse_non_finite(field.name, fields[field.name]);
    });
  }
  // "tied" of the table says whether the model has an output layer of its own.
  if (!fields.contains("share_embeddings_and_output_weights")) {
    fields["share_embeddings_and_output_weights"] = tied_;
  }
  return fields;
}

}  // namespace mappings
