// How many multi-token prediction layers an export goes by, where the checkpoint says another number than config.json.
// Both are compared as after --mtp drop, given now or recorded by the conversion.
//
//   the checkpoint has none          they are left out as by --mtp drop, and config.json says 0
//   it has more than config.json     refused, here or by check_mtp(); an explicit --mtp keep writes them, and config.json
//                                    counts them
//   it has fewer                     refused likewise
#pragma once

#include <cstdint>
#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/match/statement.h"
#include "mappings/binding/binding.h"

namespace bridge {

struct MtpDecision {
  bool drop = false;  // as --mtp drop does
  bool none = false;  // config.json says 0, whatever the origin had
  int64_t count = 0;  // else, above 0: config.json says so many
};

// The origin's weights hold MTP tensors.
bool origin_has_mtp(const Origin& origin, const mappings::Binding& binding);

MtpDecision decide_mtp(const Statement& statement, const MegatronFolder& checkpoint,
                       const mappings::Binding& binding, const Origin& origin,
                       const ExportOptions& options, const std::string& config_name);

// config.json with another number of them.
std::string with_mtp_count(const std::string& config_text, const mappings::Binding& binding,
                           int64_t count);

}  // namespace bridge
