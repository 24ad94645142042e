// Decides which dtype the config.json of an export must name, if it names one.
#pragma once

#include <optional>
#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/plan/export_plan.h"

namespace bridge {

// Returns the dtype of most floating values that are written. nullopt: config.json is right as it
// is, because it names no dtype, names this one, or came with weights of the same dtype (what a
// release says of itself stays). root: the key of the object in config.json that describes the text
// model; empty: the top.
std::optional<Dtype> dtype_to_name(const ExportPlan& plan, const Origin& origin,
                                   const std::string& config_text, const std::string& root);

}  // namespace bridge
