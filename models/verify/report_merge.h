// What one of several processes found, as a file that rank 0 reads, and how rank 0 makes one
// verdict of all: the one that a single process would have reached, in its order.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "models/compare/forward_comparison.h"
#include "models/compare/tensor_comparison.h"
#include "models/model/model_config.h"

namespace models {

struct ReportPart {
  TensorVerdict tensors;  // in a file without the roundings, which each process uses itself
  ForwardVerdict forward;
  nlohmann::ordered_json process;  // what the report says of the process, an object
};

// As a text, in which every number keeps its bits; launch: to which launch it belongs.
std::string part_text(const ReportPart& part, const std::string& launch);
// Returns false for a part of another launch. Error: kBadInput for a text that part_text() did not
// make.
bool parse_part(std::string_view text, const std::string& launch, ReportPart& part);

// Adds the part of the next rank. Seconds are those of the slowest process.
void merge_part(ReportPart& all, ReportPart next);
// Puts what was found into the order of compare_tensors(): tensors of the first side, those that
// only the second one has, tensors that a side holds twice.
void sort_found(TensorVerdict& tensors, const ModelConfig& a, const ModelConfig& b);

}  // namespace models
