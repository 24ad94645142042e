// Parses a refusal or warning of a table, [condition, text]. Internal to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

Notice notice_of(const Json& json, const Place& place);

}  // namespace mappings
