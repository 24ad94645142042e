// One flat level of a configuration file, read with its types checked: a missing or mistyped setting is refused by name, never
// guessed. null counts as absent. Both views read their files through this; what the settings mean is theirs.
//
// Every layer is read from the same lists, so their lengths and the number of settings are limited: a file of a few
// megabytes could otherwise take hours.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace models {

class Settings {
 public:
  using Json = nlohmann::ordered_json;

  // where: the file, and the section in it, for messages. values must be an object of at most kMostSettings (kBadInput).
  Settings(std::string where, Json values);

  static constexpr size_t kMostSettings = 1 << 12;
  static constexpr size_t kLongestList = 1 << 13;  // of those that are read, an entry a layer

  bool has(std::string_view name) const;
  // There, be it null: for who makes a difference between a setting left out and one that says none.
  bool mentions(std::string_view name) const { return values_->contains(name); }
  bool empty() const { return values_->empty(); }
  // Whether some setting is an object.
  bool has_sections() const;
  // Without a default: kBadInput where it is absent. A number of another kind or text is kBadInput always.
  int64_t integer(std::string_view name) const;
  int64_t integer_or(std::string_view name, int64_t absent) const;
  double real(std::string_view name) const;
  double real_or(std::string_view name, double absent) const;
  bool flag_or(std::string_view name, bool absent) const;
  std::string text_or(std::string_view name, std::string_view absent) const;
  // Integers; empty where it is absent.
  std::vector<int64_t> integers(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  bool is_list(std::string_view name) const;
  // An object of its own; nullopt where it is absent.
  std::optional<Settings> section(std::string_view name) const;

  const std::string& where() const { return where_; }
  // "file: name: what", kBadInput and kUnsupported.
  [[noreturn]] void refuse(std::string_view name, std::string_view what) const;
  [[noreturn]] void not_supported(std::string_view name, std::string_view what) const;

 private:
  Settings(std::string where, std::shared_ptr<const Json> file, const Json& values);
  void check_object() const;
  const Json* find(std::string_view name) const;           // nullptr: absent
  const Json::array_t* list(std::string_view name) const;  // nullptr: absent

  std::string where_;
  std::shared_ptr<const Json> file_;  // that sections share
  const Json* values_;
};

}  // namespace models
