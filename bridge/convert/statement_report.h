// What a run says of the checkpoint's own statement and of the vocabulary's padding.
#pragma once

#include <cstdint>
#include <string>

#include "bridge/convert/match/export_config.h"
#include "bridge/convert/report.h"

namespace bridge {

// A key of config.json that an export writes otherwise than the origin has it, and why.
void describe_change(Report& report, const mappings::ConfigChange& change, const std::string& why);

// config_name: for messages.
void describe_statement(Report& report, const ExportConfig& config);

void describe_padding(Report& report, int64_t rows, int64_t kept);

}  // namespace bridge
