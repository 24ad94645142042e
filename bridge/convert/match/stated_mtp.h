// Decides how many multi-token prediction layers an export writes if the checkpoint says another
// number than config.json. A --mtp drop, given now or recorded by the conversion, applies before
// the comparison.
//
//   the checkpoint has none        leave them out as --mtp drop does; config.json says 0
//   it has more than config.json   refuse, here or in check_mtp(); an explicit --mtp keep writes
//                                  them, and config.json counts them
//   it has fewer                   refuse likewise
#pragma once

#include <cstdint>
#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/match/statement.h"
#include "mappings/binding/binding.h"

namespace bridge {

struct MtpDecision {
  bool drop = false;  // leave them out as --mtp drop does
  bool none = false;  // config.json says 0, whatever the origin had
  int64_t count = 0;  // above 0: the number that config.json must say
};

// True if the origin's weights hold MTP tensors.
bool origin_has_mtp(const Origin& origin, const mappings::Binding& binding);

MtpDecision decide_mtp(const Statement& statement, const MegatronFolder& checkpoint,
                       const mappings::Binding& binding, const Origin& origin,
                       const ExportOptions& options, const std::string& config_name);

// Returns config.json with another number of MTP layers.
std::string with_mtp_count(const std::string& config_text, const mappings::Binding& binding,
                           int64_t count);

}  // namespace bridge
