// The text of a refusal or warning for one configuration. Internal to mappings.
#pragma once

#include <string>
#include <string_view>

#include "mappings/table/table.h"

namespace mappings {

inline constexpr std::string_view kConfigFile = "config.json";

// Replaces "{x.y}" in a notice by its value; an absent value shows as null.
std::string notice_text(const Notice& notice, const Scope& scope);

// Errors: kUnsupported with the notice's text if its condition holds.
void refuse_if_it_holds(const Notice& notice, const Scope& scope);

}  // namespace mappings
