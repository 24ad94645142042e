#include "models/weights/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "bridge/io/base/error.h"

namespace models {

Settings::Settings(std::string where, Json values)
    : where_(std::move(where)),
      file_(std::make_shared<const Json>(std::move(values))),
      values_(file_.get()) {
  check_object();
}

Settings::Settings(std::string where, std::shared_ptr<const Json> file, const Json& values)
    : where_(std::move(where)), file_(std::move(file)), values_(&values) {
  check_object();
}

void Settings::check_object() const {
  if (!values_->is_object()) bridge::bad_input(fmt::format("{}: not an object", where_));
  if (values_->size() > kMostSettings) {
    bridge::bad_input(
        fmt::format("{}: {} settings, more than {}", where_, values_->size(), kMostSettings));
  }
}

const Settings::Json* Settings::find(std::string_view name) const {
  const auto it = values_->find(name);
  return it == values_->end() || it->is_null() ? nullptr : &*it;
}

void Settings::refuse(std::string_view name, std::string_view what) const {
  bridge::bad_input(fmt::format("{}: {}: {}", where_, name, what));
}

void Settings::not_supported(std::string_view name, std::string_view what) const {
  bridge::unsupported(fmt::format("{}: {}: {}", where_, name, what));
}

bool Settings::has(std::string_view name) const {
  return find(name) != nullptr;
}

bool Settings::has_sections() const {
  return std::any_of(values_->begin(), values_->end(),
                     [](const Json& value) { return value.is_object(); });
}

std::vector<std::string> Settings::names() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : values_->items()) names.push_back(name);
  return names;
}

int64_t Settings::integer(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) refuse(name, "missing");
  if (!value->is_number_integer()) refuse(name, "not an integer");
  if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) refuse(name, "too large");
  return value->get<int64_t>();
}

int64_t Settings::integer_or(std::string_view name, int64_t absent) const {
  return has(name) ? integer(name) : absent;
}

double Settings::real(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) refuse(name, "missing");
  if (!value->is_number()) refuse(name, "not a number");
  const double number = value->get<double>();
  if (!std::isfinite(number)) refuse(name, "not finite");
  return number;
}

double Settings::real_or(std::string_view name, double absent) const {
  return has(name) ? real(name) : absent;
}

bool Settings::flag_or(std::string_view name, bool absent) const {
  const Json* value = find(name);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) refuse(name, "neither true nor false");
  return value->get<bool>();
}

std::string Settings::text_or(std::string_view name, std::string_view absent) const {
  const Json* value = find(name);
  if (value == nullptr) return std::string(absent);
  if (!value->is_string()) refuse(name, "not a text");
  return value->get<std::string>();
}

bool Settings::is_list(std::string_view name) const {
  const Json* value = find(name);
  return value != nullptr && value->is_array();
}

const Settings::Json::array_t* Settings::list(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) refuse(name, "not a list");
  if (value->size() > kLongestList) {
    refuse(name, fmt::format("a list of {}, more than {}", value->size(), kLongestList));
  }
  return &value->get_ref<const Json::array_t&>();
}

std::vector<int64_t> Settings::integers(std::string_view name) const {
  const Json::array_t* items = list(name);
  if (items == nullptr) return {};
  std::vector<int64_t> numbers;
  for (const Json& item : *items) {
    if (!item.is_number_integer() ||
        (item.is_number_unsigned() && item.get<uint64_t>() > INT64_MAX)) {
      refuse(name, "not a list of integers");
    }
    numbers.push_back(item.get<int64_t>());
  }
  return numbers;
}

std::vector<double> Settings::reals(std::string_view name) const {
  const Json::array_t* items = list(name);
  if (items == nullptr) return {};
  std::vector<double> numbers;
  for (const Json& item : *items) {
    if (!item.is_number()) refuse(name, "not a list of numbers");
    numbers.push_back(item.get<double>());
    if (!std::isfinite(numbers.back())) refuse(name, "not finite");
  }
  return numbers;
}

std::vector<std::string> Settings::texts(std::string_view name) const {
  const Json::array_t* items = list(name);
  if (items == nullptr) return {};
  std::vector<std::string> texts;
  for (const Json& item : *items) {
    if (!item.is_string()) refuse(name, "not a list of texts");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::optional<Settings> Settings::section(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  return Settings(fmt::format("{}: {}", where_, name), file_, *value);
}

}  // namespace models
