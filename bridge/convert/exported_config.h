// The config.json of an export: the origin's, or what the checkpoint states, with what the export
// itself changes.
#pragma once

#include <optional>
#include <string>

#include "bridge/convert/commit/config_patch.h"
#include "bridge/convert/match/export_config.h"
#include "bridge/convert/match/origin.h"
#include "bridge/convert/options.h"
#include "bridge/convert/plan/export_plan.h"

namespace bridge {

// Returns how config.json must change. A source that promised MTP without having it keeps its
// promise.
ConfigChanges config_changes(const ExportOptions& options, const ExportConfig& config,
                             const Origin& origin, const ExportPlan& plan);

// Returns the config.json to write; nullopt: the origin's as it is.
std::optional<std::string> own_config(const std::string& text, const mappings::Binding& binding,
                                      const ExportPlan& plan, const ConfigChanges& changes);

}  // namespace bridge
