// What a training step gave, as lines and as the report's `train_step`.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "models/verify/train_verification.h"
#include "models/verify/verify_report.h"

namespace models {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShown = 20;

Json json_of(const LossValue& loss) {
  return {{"sum", loss.sum}, {"count", loss.count}, {"loss", loss.mean()}};
}

Json json_of(const StepLosses& losses) {
  Json mtp = Json::array();
  for (const LossValue& depth : losses.mtp) mtp.push_back(json_of(depth));
  return {{"main", json_of(losses.main)}, {"mtp", std::move(mtp)}};
}

Json json_of(const StepComparison& found) {
  return {{"equal", found.equal},
          {"bit_for_bit", found.bit_for_bit},
          {"gradients", found.gradients},
          {"largest_loss_difference", found.largest_loss},
          {"largest_gradient_difference", found.largest},
          {"largest_of", found.largest_of},
          {"different", found.different}};
}

Json json_of_gradients(const TrainVerdict& verdict) {
  Json each = Json::array();
  for (const GradientSummary& gradient : verdict.gradients) {
    each.push_back({{"name", bridge::printable(gradient.key)},
                    {"norm", gradient.norm},
                    {"crc32", fmt::format("{:08x}", gradient.crc32)}});
  }
  Json without = Json::array();
  for (const auto& [key, reason] : verdict.without_gradient) {
    without.push_back({{"name", bridge::printable(key)}, {"reason", reason}});
  }
  return {{"tensors", verdict.gradients.size()},
          {"without_gradient", std::move(without)},
          {"each", std::move(each)}};
}

Json json_of(const TrainVerdict& verdict) {
  Json json = json_of(verdict.result.losses);
  json["mtp_loss_scale"] = {{"value", verdict.mtp_loss_scale}, {"from", verdict.scale_from}};
  if (verdict.router_loss) json["aux_loss"] = verdict.result.router_loss;
  json["gradients"] = json_of_gradients(verdict);
  Json ranks = Json::array();
  for (const StepLosses& losses : verdict.result.of_ranks) {
    Json rank = {{"rank", ranks.size()}};
    rank.update(json_of(losses));
    ranks.push_back(std::move(rank));
  }
  json["context_parallel"] = std::move(ranks);
  json["bytes_needed"] = verdict.bytes_needed;
  json["recompute"] = {{"mode", verdict.recompute},
                       {"peak_activation_bytes", verdict.result.peak_activation_bytes}};
  if (!verdict.recompute_note.empty()) json["recompute"]["note"] = verdict.recompute_note;
  if (verdict.recomputed) json["recompute"]["against_none"] = json_of(*verdict.recomputed);
  if (verdict.fp8 != "none") json["fp8"] = {{"recipe", verdict.fp8}, {"numbers", "emulated"}};
  if (verdict.packed) json["packed"] = json_of(*verdict.packed);
  if (verdict.mhc_block > 0) {
    json["mhc_recompute"] = {{"layers", verdict.mhc_block},
                             {"from", verdict.mhc_from},
                             {"dropped_bytes", verdict.result.dropped_bytes}};
    if (verdict.mhc) json["mhc_recompute"].update(json_of(*verdict.mhc));
  }
  if (verdict.sides) json["sides"] = json_of(*verdict.sides);
  json["equal"] = verdict.equal();
  return json;
}

std::string line_of(std::string_view name, const LossValue& loss) {
  return fmt::format("  {:<14} {:>12.7g} {:>12.7g} {:>8g}", name, loss.mean(), loss.sum,
                     loss.count);
}

double norm_of_all(const std::vector<GradientSummary>& gradients) {
  double squares = 0;
  for (const GradientSummary& gradient : gradients) squares += gradient.norm * gradient.norm;
  return std::sqrt(squares);
}

std::string text_of(const StepComparison& found) {
  const std::string most = found.largest_of.empty() ? "bit for bit"
                                                    : fmt::format("{:.3g} at most, in {}",
                                                                  found.largest, found.largest_of);
  return fmt::format("{}: {} gradients, {}", found.equal ? "equal" : "DIFFERENT", found.gradients,
                     most);
}

}  // namespace

bool VerifyReport::train_step(const TrainVerdict& verdict) {
  json_["train_step"] = json_of(verdict);
  const auto list = [&](const StepComparison& found) {
    for (size_t i = 0; i < std::min(found.different.size(), kShown); ++i) {
      print_line(fmt::format("  {}", found.different[i]));
    }
    if (found.different.size() > kShown) {
      print_line(fmt::format("  and {} more", found.different.size() - kShown));
    }
  };
  if (verdict.sides) {
    print_line("train step     " + text_of(*verdict.sides));
    list(*verdict.sides);
  } else {
    print_line("train step");
  }
  print_line(fmt::format("  {:<14} {:>12} {:>12} {:>8}", "head", "loss", "sum", "count"));
  print_line(line_of("main", verdict.result.losses.main));
  for (size_t depth = 0; depth < verdict.result.losses.mtp.size(); ++depth) {
    print_line(line_of(fmt::format("mtp.{}", depth), verdict.result.losses.mtp[depth]));
  }
  if (!verdict.result.losses.mtp.empty()) {
    print_line(fmt::format("  mtp in the step: times {:g} / {} ({})", verdict.mtp_loss_scale,
                           verdict.result.losses.mtp.size(), verdict.scale_from));
  }
  print_line(verdict.router_loss
                 ? fmt::format("  routers' losses {:.7g}", verdict.result.router_loss)
                 : "  routers' losses are left out (--aux-loss adds them)");
  print_line(fmt::format("gradients      {} tensors, norm {:.7g}; {} without",
                         verdict.gradients.size(), norm_of_all(verdict.gradients),
                         verdict.without_gradient.size()));
  const auto& without = verdict.without_gradient;
  for (size_t i = 0; i < std::min(without.size(), kShown); ++i) {
    print_line(fmt::format("  {}: {}", bridge::printable(without[i].first), without[i].second));
  }
  if (without.size() > kShown) print_line(fmt::format("  and {} more", without.size() - kShown));
  if (verdict.fp8 != "none") {
    print_line(
        fmt::format("fp8            {}, emulated: not the numbers of TransformerEngine's "
                    "kernels",
                    verdict.fp8));
  }
  print_line(fmt::format("activations    {} kept at most, recompute {}",
                         bridge::size_text(verdict.result.peak_activation_bytes),
                         bridge::printable(verdict.recompute)));
  if (!verdict.recompute_note.empty()) print_line("  " + verdict.recompute_note);
  if (verdict.recomputed) {
    print_line("recomputed     against none " + text_of(*verdict.recomputed));
    list(*verdict.recomputed);
  }
  if (verdict.packed) {
    print_line("packed         against its sequences alone " + text_of(*verdict.packed));
    list(*verdict.packed);
  }
  if (verdict.mhc_block > 0) {
    print_line(fmt::format("mhc            {} of results dropped in blocks of {} layers ({}){}",
                           bridge::size_text(verdict.result.dropped_bytes), verdict.mhc_block,
                           verdict.mhc_from,
                           verdict.mhc ? ", against keeping them " + text_of(*verdict.mhc) : ""));
    if (verdict.mhc) list(*verdict.mhc);
  }
  print_line("memory         " + bridge::size_text(verdict.bytes_needed) + " at most");
  return verdict.equal();
}

}  // namespace models
