// The dtype that config.json of an export must name, where it names one.
#pragma once

#include <optional>
#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/plan/export_plan.h"

namespace bridge {

// That of most floating values that are written. nullopt: config.json is right as it is, as it names none, names that
// one, or came with weights of the same dtypes: what a release says of itself stays as it is.
// root: key of the object in it that describes the text model; empty: the top.
std::optional<Dtype> dtype_to_name(const ExportPlan& plan, const Origin& origin,
                                   const std::string& config_text, const std::string& root);

}  // namespace bridge
