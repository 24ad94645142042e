// run_config.yaml into Settings. Scalars that are not quoted are read by YAML's core schema, as PyYAML's safe loader
// does: null, true, 1, 1.0e-06; everything else is text.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "bridge/io/base/error.h"
#include "models/megatron/config.h"
#include "models/weights/expansion_limit.h"

namespace models {
namespace {

using Json = Settings::Json;

constexpr int kDeepest = 16;

template <typename Number>
std::optional<Number> number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (const auto integer = number<int64_t>(text)) return *integer;
  const bool starts_as_number = text.find_first_of("0123456789") <= 2;
  if (starts_as_number) {
    if (const auto real = number<double>(text)) return *real;
  }
  return text;
}

class Conversion {
 public:
  Json run(const YAML::Node& node, int depth = 0) {
    if (depth > kDeepest) bridge::bad_input("nested too deeply");
    limit_.add(node.IsScalar() ? node.Scalar().size() : 0);
    switch (node.Type()) {
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        return {};
      case YAML::NodeType::Scalar:
        return node.Tag() == "!" ? Json(node.Scalar())
                                 : plain_scalar(node.Scalar());  // "!": quoted
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (const YAML::Node& item : node) list.push_back(run(item, depth + 1));
        return list;
      }
      case YAML::NodeType::Map:
        return map(node, depth);
    }
    return {};
  }

 private:
  Json map(const YAML::Node& node, int depth) {
    Json out = Json::object();
    auto& members = out.get_ref<Json::object_t&>();  // whose own insertion searches all keys
    std::set<std::string> keys;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) bridge::bad_input("a key that is no text");
      const std::string& key = entry.first.Scalar();
      limit_.add(key.size());
      if (!keys.insert(key).second) bridge::bad_input(bridge::printable(key) + " is there twice");
      members.emplace_back(key, run(entry.second, depth + 1));
    }
    return out;
  }

  ExpansionLimit limit_;
};

}  // namespace

Settings megatron_settings(std::string_view yaml) {
  Json values = bridge::with_context("run_config.yaml", [&] {
    try {
      const YAML::Node top = YAML::Load(std::string(yaml));
      if (!top.IsMap()) bridge::bad_input("no model section");
      const YAML::Node model = top["model"];
      if (!model || !model.IsMap()) bridge::bad_input("no model section");
      return Conversion().run(model);
    } catch (const YAML::Exception& error) {
      const std::string what = bridge::printable(error.msg);
      if (error.mark.is_null()) bridge::bad_input(what);
      bridge::bad_input(
          fmt::format("line {}, column {}: {}", error.mark.line + 1, error.mark.column + 1, what));
    }
  });
  return Settings("run_config.yaml: model", std::move(values));
}

}  // namespace models
