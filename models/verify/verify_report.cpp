#include "models/verify/verify_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/standard_output.h"
#include "models/compare/forward_comparison.h"
#include "models/verify/device.h"

namespace models {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownDifferences = 20;
constexpr size_t kShownNames = 3;  // in one line

Json json_of(const std::vector<TensorDifference>& differences) {
  Json list = Json::array();
  for (const TensorDifference& found : differences) {
    list.push_back({{"name", found.name}, {"what", found.what}, {"largest", found.largest}});
  }
  return list;
}

Json json_of(const std::vector<FieldDifference>& fields) {
  Json list = Json::array();
  for (const FieldDifference& found : fields) {
    list.push_back({{"field", found.field}, {"a", found.a}, {"b", found.b}});
  }
  return list;
}

Json json_of(const StateDifference& found) {
  return {{"name", found.name},     {"identical", found.identical}, {"max", found.largest},
          {"judged", found.judged}, {"mean", found.mean},           {"allowed", found.allowed}};
}

Json json_of(const HeadDifference& found) {
  Json json = json_of(static_cast<const StateDifference&>(found));
  json["kl"] = found.divergence;
  json["rows"] = found.rows;
  json["top1"] = found.top1;
  json["top5"] = found.top5;
  return json;
}

Json json_of(const Coverage& coverage, int64_t vocab) {
  Json experts = Json::array();
  for (const Coverage::Experts& layer : coverage.experts) {
    experts.push_back({{"layer", layer.layer}, {"routed", layer.routed}, {"experts", layer.count}});
  }
  return {{"embedding_rows", coverage.embedding_rows},
          {"vocabulary", vocab},
          {"experts", std::move(experts)}};
}

// Prevents "-nan", which some processors produce.
double plain(double number) {
  return std::isnan(number) ? std::numeric_limits<double>::quiet_NaN() : number;
}

bool passes(const StateDifference& found) {
  return found.identical || (found.allowed > 0 && found.judged <= found.allowed);
}

// Returns the end of a row: a mark if the difference exceeds the tolerance.
std::string_view mark(bool good) {
  return good ? "" : "  DIFFERENT";
}

// "hidden.3" and "mtp_hidden.0" are the outputs of "layers.3" and "mtp.0".
std::string layer_of(const std::string& state) {
  const auto after = [&](std::string_view prefix) { return state.substr(prefix.size()); };
  if (state.starts_with("hidden.")) return "layers." + after("hidden.");
  if (state.starts_with("mtp_hidden.")) return "mtp." + after("mtp_hidden.");
  return {};
}

// Returns the tensors of a layer that differ.
std::vector<std::string> tensors_of(const std::string& layer, const TensorVerdict& tensors) {
  std::vector<std::string> names;
  for (const TensorDifference& found : tensors.differences) {
    if (!layer.empty() && found.name.starts_with(layer + ".")) names.push_back(found.name);
  }
  return names;
}

}  // namespace

VerifyReport::VerifyReport(bool quiet, const std::optional<LayerRange>& layers) : quiet_(quiet) {
  if (!layers) return;
  partial_ = fmt::format(" (PARTIAL: layers {}:{})", layers->begin, layers->end);
  json_["partial"] = {{"first_layer", layers->begin}, {"end_layer", layers->end}};
}

template <typename... Args>
void VerifyReport::print(fmt::format_string<Args...> text, Args&&... args) const {
  if (quiet_) return;
  fmt::print(text, std::forward<Args>(args)...);
  bridge::flush_standard_output();  // the next verdict may take hours
}

// Drops the blanks of empty columns.
void VerifyReport::print_line(std::string_view line) const {
  print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
}

template <typename Items, typename Line>
void VerifyReport::print_some(const Items& items, const Line& line) const {
  for (size_t i = 0; i < std::min(items.size(), kShownDifferences); ++i) line(items[i]);
  if (items.size() > kShownDifferences) {
    print("  and {} more\n", items.size() - kShownDifferences);
  }
}

std::string VerifyReport::verdict_text(bool equal) const {
  return (equal ? "equal" : "DIFFERENT") + partial_;
}

void VerifyReport::checkpoints(const std::string& a, const std::string& b) {
  json_["a"] = bridge::printable(a);
  json_["b"] = bridge::printable(b);
  if (b.empty()) return;  // the verdict names the checkpoint
  print("first          {}\nsecond         {}\n", bridge::printable(a), bridge::printable(b));
}

void VerifyReport::prompt(const at::Tensor& ids, const std::string& from,
                          const std::string& compute, const ChosenDevice& device) {
  const int64_t prompts = ids.size(0);
  const int64_t tokens = ids.size(1);
  print("prompt         {}{} token{} ({}), {} on {}{}\n",
        prompts == 1 ? "" : fmt::format("{} x ", prompts), tokens, tokens == 1 ? "" : "s", from,
        compute, device.device.str(), device.what.empty() ? "" : fmt::format(" ({})", device.what));
  json_["prompts"] = prompts;
  json_["tokens"] = tokens;
  json_["prompt"] = from;
  json_["compute"] = compute;
  json_["device"] = device.device.str();
  json_["device_what"] = device.what;
}

void VerifyReport::text_only(const std::string& side) {
  print(
      "parts          the text model only: what the other side was made without is the vision "
      "tower of {}\n",
      bridge::printable(side));
  json_["parts"] = "text";
}

bool VerifyReport::configuration(const std::vector<FieldDifference>& fields,
                                 const std::vector<FieldDifference>& known) {
  const bool equal = fields.empty();
  const std::string but =
      known.empty() ? "" : fmt::format(", but for {} that the conversion warned of", known.size());
  print("configuration  {}{}\n", verdict_text(equal), but);
  const auto line = [&](const FieldDifference& found) {
    print("  {}: {} and {}\n", found.field, found.a.empty() ? "nothing" : found.a,
          found.b.empty() ? "nothing" : found.b);
  };
  print_some(fields, line);
  print_some(known, line);
  json_["configuration"] = {{"equal", equal}, {"differences", json_of(fields)}};
  if (!known.empty()) json_["configuration"]["known"] = json_of(known);
  return equal;
}

bool VerifyReport::tensors(const TensorVerdict& verdict) {
  const bool equal = verdict.differences.empty();
  const std::string rounded =
      verdict.rounded.empty() ? "" : fmt::format(", {} rounded", verdict.rounded.size());
  print("tensors        {}: {} of {} differ{}\n", verdict_text(equal), verdict.differences.size(),
        verdict.compared, rounded);
  const auto line = [&](const TensorDifference& found) {
    print("  {}: {}\n", found.name, found.what);
  };
  print_some(verdict.permutations, [&](const std::string& found) { print("  {}\n", found); });
  print_some(verdict.differences, line);
  print_some(verdict.rounded, line);
  json_["tensors"] = {{"equal", equal},
                      {"compared", verdict.compared},
                      {"seconds", verdict.seconds},
                      {"permutations", verdict.permutations},
                      {"differences", json_of(verdict.differences)},
                      {"rounded", json_of(verdict.rounded)}};
  return equal;
}

void VerifyReport::print_states(const ForwardVerdict& verdict, int64_t vocab) const {
  print("  {:<14} {:>12} {:>12} {:>12}  {}\n", "state after", "max |d|", "mean |d|", "allowed",
        "weights used");
  for (const StateDifference& found : verdict.states) {
    std::string used;
    if (found.name == "hidden_embed") {
      used = fmt::format("{} of {} rows", verdict.coverage.embedding_rows, vocab);
    }
    for (const Coverage::Experts& layer : verdict.coverage.experts) {
      if (layer.layer == layer_of(found.name)) {
        used = fmt::format("{} of {} experts", layer.routed, layer.count);
      }
    }
    print_line(fmt::format("  {:<14} {:>12.3g} {:>12.3g} {:>12.3g}  {:<18}{}", found.name,
                           plain(found.largest), plain(found.mean), found.allowed, used,
                           mark(passes(found))));
  }
}

void VerifyReport::print_heads(const ForwardVerdict& verdict) const {
  if (verdict.heads.empty()) return;
  print("  {:<14} {:>12} {:>12} {:>12} {:>12} {:>9} {:>9}\n", "head", "max |d|", "mean |d|",
        "allowed", "KL", "top-1", "top-5");
  for (const HeadDifference& head : verdict.heads) {
    print_line(fmt::format("  {:<14} {:>12.3g} {:>12.3g} {:>12.3g} {:>12.3g} {:>9} {:>9}{}",
                           head.name, plain(head.largest), plain(head.mean), head.allowed,
                           plain(head.divergence), fmt::format("{}/{}", head.top1, head.rows),
                           fmt::format("{}/{}", head.top5, head.rows), mark(passes(head))));
  }
}

bool VerifyReport::forward(ForwardVerdict verdict, bool bit_for_bit, const TensorVerdict& tensors,
                           int64_t vocab) {
  Json& json = json_["forward"];
  if (!verdict.not_comparable.empty()) {
    print("forward        {}: not comparable ({})\n", verdict_text(false), verdict.not_comparable);
    json = {{"equal", false}, {"not_comparable", verdict.not_comparable}};
    return false;
  }
  if (bit_for_bit) {
    for (StateDifference& found : verdict.states) found.allowed = 0;
    for (HeadDifference& found : verdict.heads) found.allowed = 0;
  }
  const auto first = std::find_if_not(verdict.states.begin(), verdict.states.end(), passes);
  const auto identical = [](const StateDifference& found) { return found.identical; };
  const bool equal = first == verdict.states.end() &&
                     std::all_of(verdict.heads.begin(), verdict.heads.end(), passes);
  const bool same = std::all_of(verdict.states.begin(), verdict.states.end(), identical) &&
                    std::all_of(verdict.heads.begin(), verdict.heads.end(), identical);
  json = {{"equal", equal},
          {"identical", same},
          {"bit_for_bit", bit_for_bit},
          {"seconds", verdict.seconds},
          {"states", Json::array()},
          {"heads", Json::array()},
          {"first_diverging", nullptr},
          {"coverage", json_of(verdict.coverage, vocab)}};
  if (verdict.layer_by_layer) json["layer_by_layer"] = true;
  for (const StateDifference& found : verdict.states) json["states"].push_back(json_of(found));
  for (const HeadDifference& found : verdict.heads) json["heads"].push_back(json_of(found));

  print("forward        {}{}{}\n", verdict_text(equal), same ? ", bit for bit" : "",
        verdict.layer_by_layer ? ", layer by layer" : "");
  if (!tensors.rounded.empty()) {
    print("  on the rounded values of {} tensors, on both sides\n", tensors.rounded.size());
  }
  if (first != verdict.states.end()) {
    print("  first in {}: by {:.3g}, {:.3g} allowed\n", first->name,
          plain(first->allowed > 0 ? first->judged : first->largest), first->allowed);
    const std::vector<std::string> names = tensors_of(layer_of(first->name), tensors);
    if (!names.empty()) {
      const size_t shown = std::min(names.size(), kShownNames);
      print("  its tensors that differ: {}{}\n",
            fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
            names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
    }
    json["first_diverging"] = {{"state", first->name}, {"tensors", names}};
  }
  print_states(verdict, vocab);
  print_heads(verdict);
  return equal;
}

bool VerifyReport::reference(const std::string& side, const std::vector<Difference>& found,
                             bool rounded, const ReferenceLogits& reference) {
  Json list = Json::array();
  const bool equal =
      std::all_of(found.begin(), found.end(), [](const Difference& d) { return d.passes(); });
  print("reference      {}: {} {} the reference{}\n", verdict_text(equal), bridge::printable(side),
        equal ? "meets" : "differs from", rounded ? " (tolerance of rounded weights)" : "");
  const int64_t rows = reference.ids().size(1);
  if (reference.judged_rows() < rows) {
    print("  {} of {} rows follow a near-tie and were not judged\n", rows - reference.judged_rows(),
          rows);
  }
  print("{:<16} {:>12} {:>12} {:>12} {:>12}\n", "compared", "max |d|", "judged |d|", "allowed",
        "top-1");
  for (const Difference& difference : found) {
    const std::string top1 =
        difference.top1 < 0 ? "" : fmt::format("{}/{}", difference.top1, difference.rows);
    print_line(fmt::format("{:<16} {:>12.3g} {:>12.3g} {:>12.3g} {:>12}{}", difference.name,
                           plain(difference.largest), plain(difference.judged), difference.allowed,
                           top1, mark(difference.passes())));
    list.push_back({{"name", difference.name},
                    {"max", difference.largest},
                    {"judged", difference.judged},
                    {"allowed", difference.allowed},
                    {"rows", difference.rows},
                    {"equal", difference.passes()}});
    if (difference.top1 >= 0) list.back()["top1"] = difference.top1;
  }
  json_["reference"].push_back({{"checkpoint", bridge::printable(side)},
                                {"equal", equal},
                                {"rounded", rounded},
                                {"rows", rows},
                                {"judged_rows", reference.judged_rows()},
                                {"compared", std::move(list)}});
  return equal;
}

}  // namespace models
