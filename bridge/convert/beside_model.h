// What lies beside a model and is not carried, or is not where it seems: for summaries and reports.
#pragma once

#include "bridge/convert/report.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// Weights outside the weight map ("not_converted" in the report) and symlinks that lead out of the folder ("links_out").
// An adapter that transformers would load on top of the model is a warning. Fills report.json, so after it is made.
void describe_beside_model(Report& report, const HfFolder& folder);

}  // namespace bridge
