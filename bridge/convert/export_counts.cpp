#include "bridge/convert/export_counts.h"

#include <cstddef>
#include <utility>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

constexpr size_t kOfBlocks = 4;  // numbers of all blocks and witnesses
constexpr size_t kOfCast = 5;    // numbers of each pair of types

Dtype float_type(int64_t number) {
  if (number < 0 || number > UINT8_MAX || !is_plain_float(static_cast<Dtype>(number))) {
    bad_input("the journal counts something else");
  }
  return static_cast<Dtype>(number);
}

}  // namespace

ExportCounts::ExportCounts(bool allow_changes, const ExportPlan& plan)
    : casts_(allow_changes,
             [&plan](int32_t target) { return plan.outputs[static_cast<size_t>(target)].name; }) {}

std::vector<int64_t> ExportCounts::numbers() const {
  std::vector<int64_t> all = {blocks_.kept, blocks_.fresh, blocks_.clipped, blocks_.witnesses};
  for (const auto& [dtypes, count] : casts_.counts()) {
    for (const int64_t number :
         {static_cast<int64_t>(dtypes.first), static_cast<int64_t>(dtypes.second), count.tensors,
          count.values, count.changed}) {
      all.push_back(number);
    }
  }
  return all;
}

void ExportCounts::add(const std::vector<int64_t>& numbers) {
  if (numbers.size() < kOfBlocks || (numbers.size() - kOfBlocks) % kOfCast != 0) {
    bad_input("the journal counts something else");
  }
  blocks_.kept += numbers[0];
  blocks_.fresh += numbers[1];
  blocks_.clipped += numbers[2];
  blocks_.witnesses += numbers[3];
  for (size_t i = kOfBlocks; i < numbers.size(); i += kOfCast) {
    casts_.restore({float_type(numbers[i]), float_type(numbers[i + 1])},
                   {numbers[i + 2], numbers[i + 3], numbers[i + 4]});
  }
}

void ExportCounts::clear() {
  blocks_.kept = blocks_.fresh = blocks_.clipped = blocks_.witnesses = 0;
  casts_.clear();
}

void ExportCounts::describe(ExportSummary& report) const {
  report.blocks = {blocks_.kept, blocks_.fresh, blocks_.clipped};
  report.witnesses = blocks_.witnesses;
  report.json["blocks"] = {{"kept", report.blocks.kept},
                           {"new", report.blocks.fresh},
                           {"clipped", report.blocks.clipped}};
  report.json["witnesses"] = report.witnesses;
  report.json["casts"] = nlohmann::ordered_json::array();
  for (const auto& [dtypes, count] : casts_.counts()) {
    const auto& [from, to] = dtypes;
    report.casts.push_back({from, to, count.tensors, count.values, count.changed});
    report.json["casts"].push_back({{"from", safetensors_name(from)},
                                    {"to", safetensors_name(to)},
                                    {"tensors", count.tensors},
                                    {"values", count.values},
                                    {"changed", count.changed}});
  }
}

}  // namespace bridge
