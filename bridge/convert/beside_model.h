// What lies beside a model and is not carried, or is not where it seems: for summaries and reports.
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

// Weights outside the weight map ("not_converted" in the report) and symlinks that lead out of the folder ("links_out").
// An adapter that transformers would load on top of the model is a warning. Fills report.json, so after it is made.
BesideModel describe_beside_model(Report& report, const HfFolder& folder);

}  // namespace bridge
