// Describes, for summaries and reports, the weight files beside a model that are not carried and
// the symlinks that lead out of its folder.
#pragma once

#include <vector>

#include "bridge/convert/match/accounting.h"
#include "bridge/convert/report.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

struct BesideModel {
  std::vector<NamedReason> not_converted;
  std::vector<NamedReason> links_out;
};

// Finds weights outside the weight map ("not_converted" in the report) and symlinks that lead out
// of the folder ("links_out"). Warns of an adapter that transformers would load on top of the
// model. Adds to report.json, so call it after that is made.
BesideModel describe_beside_model(Report& report, const HfFolder& folder);

}  // namespace bridge
