#include "bridge/io/base/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/expansion_limit.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 16;

template <typename Number>
std::optional<Number> number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Reads .inf, -.inf and .nan as YAML 1.1 spells them.
std::optional<double> non_finite(std::string_view text) {
  if (text == ".nan" || text == ".NaN" || text == ".NAN") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text != ".inf" && text != ".Inf" && text != ".INF") return std::nullopt;
  const double infinity = std::numeric_limits<double>::infinity();
  return negative ? -infinity : infinity;
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
  if (const auto real = non_finite(text)) return *real;
  return text;
}

class Conversion {
 public:
  Json run(const YAML::Node& node, int depth = 0) {
    if (depth > kDeepest) bad_input("nested too deeply");
    limit_.add(node.IsScalar() ? node.Scalar().size() : 0);
    switch (node.Type()) {
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        return {};
      case YAML::NodeType::Scalar:
        // The tag "!" marks a quoted scalar.
        return node.Tag() == "!" ? Json(node.Scalar()) : plain_scalar(node.Scalar());
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
    auto& members = out.get_ref<Json::object_t&>();  // the map's own insertion searches all keys
    std::set<std::string> keys;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) bad_input("a key that is no text");
      const std::string& key = entry.first.Scalar();
      limit_.add(key.size());
      if (!keys.insert(key).second) bad_input(printable(key) + " is there twice");
      members.emplace_back(key, run(entry.second, depth + 1));
    }
    return out;
  }

  ExpansionLimit limit_;
};

}  // namespace

Json read_yaml_section(std::string_view yaml, std::string_view section) {
  try {
    const YAML::Node top = YAML::Load(std::string(yaml));
    const YAML::Node found = top.IsMap() ? top[std::string(section)] : YAML::Node();
    if (!found || !found.IsMap()) bad_input(fmt::format("no {} section", section));
    return Conversion().run(found);
  } catch (const YAML::Exception& error) {
    const std::string what = printable(error.msg);
    if (error.mark.is_null()) bad_input(what);
    bad_input(
        fmt::format("line {}, column {}: {}", error.mark.line + 1, error.mark.column + 1, what));
  }
}

}  // namespace bridge
