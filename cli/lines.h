// The lines of a summary that several commands print.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/match/accounting.h"

namespace cli {

using Lines = std::vector<std::string>;

// Printed by export-to-hf and verify.
inline constexpr const char* kConfigNotChecked =
    "config   not checked: the checkpoint holds neither arguments nor run_config.yaml";

// Adds lines "WHAT  NAME: reason". Many names in a row with one reason take one line.
void list(Lines& lines, std::string_view what, const std::vector<bridge::NamedReason>& items);

// Adds the "not converted" and "linked" lines.
void list_beside_model(Lines& lines, const bridge::BesideModel& beside);

}  // namespace cli
