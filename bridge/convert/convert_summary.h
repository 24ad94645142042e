// What convert-hf reports of its plan, before a byte is copied: the numbers of the summary, the
// warnings and the machine-readable report. The run adds what it writes (convert.cpp).
#pragma once

#include <nlohmann/json.hpp>

#include "bridge/convert/convert.h"
#include "bridge/convert/options.h"
#include "bridge/convert/plan/convert_plan.h"
#include "bridge/io/hf/hf_folder.h"
#include "mappings/binding/binding.h"

namespace bridge {

// Returns the choices by which the bytes of a conversion are decided, as the report and the sidecar
// hold them.
nlohmann::ordered_json choices_of(const ConvertOptions& options, const ConvertPlan& plan,
                                  const mappings::Binding& binding);

ConvertSummary describe_convert(const ConvertOptions& options, const HfFolder& source,
                                const mappings::Binding& binding, const ConvertPlan& plan);

}  // namespace bridge
