// What export-to-hf reports of its plan, before a byte is copied: the numbers of the summary, the
// warnings and the machine-readable report. The run adds what it counts (export.cpp).
#pragma once

#include "bridge/convert/export.h"
#include "bridge/convert/match/origin.h"
#include "bridge/convert/options.h"
#include "bridge/convert/plan/export_plan.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/binding/binding.h"

namespace bridge {

ExportSummary describe_export(const ExportOptions& options, const MegatronFolder& checkpoint,
                              const mappings::Binding& binding, const Origin& origin,
                              const ExportPlan& plan);

}  // namespace bridge
