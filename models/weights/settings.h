// One level of a configuration file, read with type checks: a missing or mistyped setting is
// refused by name, never guessed. null counts as absent. Both views read their files through this
// class and decide themselves what the settings mean.
//
// Every layer is read from the same lists, so the length of a list and the number of settings are
// limited: otherwise a file of a few megabytes could take hours.
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

  // where: the file and its section, for messages. values must be an object of at most
  // kMostSettings entries (kBadInput).
  Settings(std::string where, Json values);

  static constexpr size_t kMostSettings = 1 << 12;
  // Limits lists that are read; they have an entry per layer.
  static constexpr size_t kLongestList = 1 << 13;

  bool has(std::string_view name) const;
  // True if the key is present, even when null, for readers that tell null from absence.
  bool mentions(std::string_view name) const { return values_->contains(name); }
  bool empty() const { return values_->empty(); }
  size_t size() const { return values_->size(); }
  // True if some setting is an object.
  bool has_sections() const;
  // In the order of the file.
  std::vector<std::string> names() const;
  // Without a default, an absent setting is kBadInput. Text or a number of another kind always is.
  int64_t integer(std::string_view name) const;
  int64_t integer_or(std::string_view name, int64_t absent) const;
  double real(std::string_view name) const;
  double real_or(std::string_view name, double absent) const;
  bool flag_or(std::string_view name, bool absent) const;
  std::string text_or(std::string_view name, std::string_view absent) const;
  // Lists of integers, reals or texts; empty if absent.
  std::vector<int64_t> integers(std::string_view name) const;
  std::vector<double> reals(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  bool is_list(std::string_view name) const;
  // A setting that is an object; nullopt if absent.
  std::optional<Settings> section(std::string_view name) const;

  const std::string& where() const { return where_; }
  // refuse throws kBadInput and not_supported kUnsupported, both with "file: name: what".
  [[noreturn]] void refuse(std::string_view name, std::string_view what) const;
  [[noreturn]] void not_supported(std::string_view name, std::string_view what) const;

 private:
  Settings(std::string where, std::shared_ptr<const Json> file, const Json& values);
  void check_object() const;
  const Json* find(std::string_view name) const;           // nullptr: absent
  const Json::array_t* list(std::string_view name) const;  // nullptr: absent

  std::string where_;
  std::shared_ptr<const Json> file_;  // shared with sections
  const Json* values_;
};

}  // namespace models
