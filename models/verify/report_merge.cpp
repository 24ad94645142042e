#include "models/verify/report_merge.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/model/tensor_id.h"

namespace models {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no NaN and no infinity.
Json json_of(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  return number;
}

double number_of(const Json& json) {
  if (!json.is_string()) return json.get<double>();
  const auto& text = json.get_ref<const std::string&>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  return text == "inf" ? infinity : -infinity;
}

Json json_of(const std::vector<TensorDifference>& found) {
  Json list = Json::array();
  for (const TensorDifference& tensor : found) {
    list.push_back({tensor.name, tensor.what, json_of(tensor.largest)});
  }
  return list;
}

std::vector<TensorDifference> differences_of(const Json& list) {
  std::vector<TensorDifference> found;
  for (const Json& json : list) {
    found.push_back(
        {json.at(0).get<std::string>(), json.at(1).get<std::string>(), number_of(json.at(2))});
  }
  return found;
}

Json json_of(const StateDifference& found) {
  return {{"name", found.name},
          {"identical", found.identical},
          {"largest", json_of(found.largest)},
          {"mean", json_of(found.mean)},
          {"judged", json_of(found.judged)},
          {"allowed", json_of(found.allowed)}};
}

void parse(const Json& json, StateDifference& found) {
  found.name = json.at("name").get<std::string>();
  found.identical = json.at("identical").get<bool>();
  found.largest = number_of(json.at("largest"));
  found.mean = number_of(json.at("mean"));
  found.judged = number_of(json.at("judged"));
  found.allowed = number_of(json.at("allowed"));
}

Json json_of(const HeadDifference& found) {
  Json json = json_of(static_cast<const StateDifference&>(found));
  json["rows"] = found.rows;
  json["top1"] = found.top1;
  json["top5"] = found.top5;
  json["divergence"] = json_of(found.divergence);
  return json;
}

HeadDifference head_of(const Json& json) {
  HeadDifference found;
  parse(json, found);
  found.rows = json.at("rows").get<int64_t>();
  found.top1 = json.at("top1").get<int64_t>();
  found.top5 = json.at("top5").get<int64_t>();
  found.divergence = number_of(json.at("divergence"));
  return found;
}

Json json_of(const TensorVerdict& verdict) {
  return {{"compared", verdict.compared},
          {"seconds", json_of(verdict.seconds)},
          {"differences", json_of(verdict.differences)},
          {"rounded", json_of(verdict.rounded)},
          {"permutations", verdict.permutations}};
}

void parse(const Json& json, TensorVerdict& verdict) {
  verdict.compared = json.at("compared").get<int64_t>();
  verdict.seconds = number_of(json.at("seconds"));
  verdict.differences = differences_of(json.at("differences"));
  verdict.rounded = differences_of(json.at("rounded"));
  verdict.permutations = json.at("permutations").get<std::vector<std::string>>();
}

Json json_of(const ForwardVerdict& verdict) {
  Json json = {{"not_comparable", verdict.not_comparable},
               {"states", Json::array()},
               {"heads", Json::array()},
               {"embedding_rows", verdict.coverage.embedding_rows},
               {"experts", Json::array()},
               {"layer_by_layer", verdict.layer_by_layer},
               {"seconds", json_of(verdict.seconds)}};
  for (const StateDifference& found : verdict.states) json["states"].push_back(json_of(found));
  for (const HeadDifference& found : verdict.heads) json["heads"].push_back(json_of(found));
  for (const Coverage::Experts& layer : verdict.coverage.experts) {
    json["experts"].push_back({layer.layer, layer.routed, layer.count});
  }
  return json;
}

void parse(const Json& json, ForwardVerdict& verdict) {
  verdict.not_comparable = json.at("not_comparable").get<std::string>();
  for (const Json& state : json.at("states")) parse(state, verdict.states.emplace_back());
  for (const Json& head : json.at("heads")) verdict.heads.push_back(head_of(head));
  verdict.coverage.embedding_rows = json.at("embedding_rows").get<int64_t>();
  for (const Json& layer : json.at("experts")) {
    verdict.coverage.experts.push_back(
        {layer.at(0).get<std::string>(), layer.at(1).get<int64_t>(), layer.at(2).get<int64_t>()});
  }
  verdict.layer_by_layer = json.at("layer_by_layer").get<bool>();
  verdict.seconds = number_of(json.at("seconds"));
}

template <typename T>
void append(std::vector<T>& all, std::vector<T> next) {
  all.insert(all.end(), std::make_move_iterator(next.begin()), std::make_move_iterator(next.end()));
}

std::map<std::string, int64_t> numbers_of(const ModelConfig& config) {
  std::map<std::string, int64_t> numbers;
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape&) {
    numbers.emplace(to_string(id), std::ssize(numbers));
  });
  return numbers;
}

}  // namespace

std::string part_text(const ReportPart& part, const std::string& launch) {
  const Json json = {{"launch", launch},
                     {"tensors", json_of(part.tensors)},
                     {"forward", json_of(part.forward)},
                     {"process", part.process}};
  return json.dump() + "\n";
}

bool parse_part(std::string_view text, const std::string& launch, ReportPart& part) {
  const Json json = bridge::parse_json(text);
  try {
    if (json.at("launch").get_ref<const std::string&>() != launch) return false;
    parse(json.at("tensors"), part.tensors);
    parse(json.at("forward"), part.forward);
    part.process = json.at("process");
  } catch (const Json::exception&) {
    bridge::bad_input("not a part of a report");
  }
  return true;
}

void merge_part(ReportPart& all, ReportPart next) {
  all.tensors.compared += next.tensors.compared;
  all.tensors.seconds = std::max(all.tensors.seconds, next.tensors.seconds);
  append(all.tensors.differences, std::move(next.tensors.differences));
  append(all.tensors.rounded, std::move(next.tensors.rounded));
  append(all.tensors.permutations, std::move(next.tensors.permutations));
  if (all.forward.not_comparable.empty()) {
    all.forward.not_comparable = std::move(next.forward.not_comparable);
  }
  append(all.forward.states, std::move(next.forward.states));
  append(all.forward.heads, std::move(next.forward.heads));
  append(all.forward.coverage.experts, std::move(next.forward.coverage.experts));
  all.forward.seconds = std::max(all.forward.seconds, next.forward.seconds);
}

void sort_found(TensorVerdict& tensors, const ModelConfig& a, const ModelConfig& b) {
  const std::map<std::string, int64_t> first = numbers_of(a);
  const std::map<std::string, int64_t> second = numbers_of(b);
  const auto place = [&](const TensorDifference& found) {
    const auto number = first.find(found.name);
    if (number != first.end()) return std::tuple(0, number->second, std::string());
    if (second.contains(found.name)) return std::tuple(1, int64_t{0}, found.name);
    return std::tuple(2, int64_t{0}, std::string());
  };
  const auto sort = [&](std::vector<TensorDifference>& found) {
    std::stable_sort(found.begin(), found.end(),
                     [&](const auto& x, const auto& y) { return place(x) < place(y); });
  };
  sort(tensors.differences);
  sort(tensors.rounded);
}

}  // namespace models
