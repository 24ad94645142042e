#include "models/forward/recompute.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>

#include "bridge/io/base/error.h"
#include "models/forward/forward_state.h"
#include "models/forward/linear.h"

namespace models {
namespace {

constexpr const char* kForms = "none, full[:N], block:N or selective[:PARTS]";

// A positive number that is all of the text.
int64_t layers_of(std::string_view mode, std::string_view text) {
  int64_t layers = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, layers);
  if (error != std::errc() || stop != end || layers < 1 || layers > kMostLayers) {
    bridge::usage_error(
        fmt::format("--recompute {}:{}: not a number of layers", mode, bridge::printable(text)),
        "layers are counted from 1");
  }
  return layers;
}

void add_part(RecomputedParts& parts, std::string_view name) {
  constexpr std::string_view kDiscarding[] = {"layernorm", "mla_up_proj", "moe_act", "gdn_norm_out",
                                              "mhc"};
  if (name == "core_attn") {
    parts.core_attention = true;
  } else if (name == "mlp") {
    parts.mlp = true;
  } else if (name == "moe") {
    parts.experts = true;
  } else if (name == "shared_experts") {
    parts.shared_experts = true;
  } else if (std::find(std::begin(kDiscarding), std::end(kDiscarding), name) !=
             std::end(kDiscarding)) {
    bridge::unsupported(
        fmt::format("--recompute selective:{}: discarding an output is not computed here", name),
        name == "mhc" ? "--mhc-recompute-layers N discards those of hyper-connections"
                      : "core_attn, mlp, moe and shared_experts are");
  } else {
    bridge::usage_error(
        fmt::format("--recompute selective:{}: no such part of a layer", bridge::printable(name)),
        "core_attn, mlp, moe, shared_experts");
  }
}

RecomputedParts parts_of(std::string_view list) {
  RecomputedParts parts;
  while (true) {
    const size_t comma = list.find(',');
    add_part(parts, list.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    list.remove_prefix(comma + 1);
  }
}

// The same values behind a node of their own, which adds up what the part gives for them before
// what others give comes to it.
std::vector<at::Tensor> apart(const std::vector<at::Tensor>& arguments) {
  std::vector<at::Tensor> views;
  for (const at::Tensor& argument : arguments) {
    const bool passes = argument.defined() && argument.requires_grad();
    views.push_back(passes ? argument.alias() : argument);
  }
  return views;
}

}  // namespace

Recompute parse_recompute(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view mode = text.substr(0, colon);
  const bool has_value = colon != std::string_view::npos;
  const std::string_view value = has_value ? text.substr(colon + 1) : std::string_view();
  using Method = Recompute::Method;
  if (mode == "none" && !has_value) return {};
  if (mode == "full") return {Method::kUniform, has_value ? layers_of(mode, value) : 1, {}};
  if (mode == "block" && has_value) return {Method::kBlock, layers_of(mode, value), {}};
  if (mode == "selective") {
    return {Method::kSelective, 1, parts_of(has_value ? value : "core_attn")};
  }
  bridge::usage_error(fmt::format("--recompute {}: not {}", bridge::printable(text), kForms));
}

void check(const Recompute& recompute, const ModelConfig& config) {
  if (!recompute.of_depths() || recompute.layers == 1 || config.mtp.empty()) return;
  bridge::usage_error(
      fmt::format("--recompute full:{}: multi-token prediction is recomputed one layer at a time",
                  recompute.layers),
      "full:1, or --mtp drop");
}

std::vector<LayerChunk> chunks_of(const Recompute& recompute, int64_t begin, int64_t end) {
  const bool uniform = recompute.method == Recompute::Method::kUniform;
  const bool block = recompute.method == Recompute::Method::kBlock;
  std::vector<LayerChunk> chunks;
  for (int64_t first = begin; first < end;) {
    const int64_t last = uniform ? std::min(first + recompute.layers, end) : first + 1;
    chunks.push_back({first, last, uniform || (block && first - begin < recompute.layers)});
    first = last;
  }
  return chunks;
}

std::vector<at::Tensor> run_part(bool again, const std::string& name, const StatePart& part,
                                 const std::vector<at::Tensor>& arguments, ForwardState& state) {
  if (!again) return part(state, apart(arguments));
  ForwardState captured = state;
  captured.hidden.reset();
  captured.left_out.reset();
  captured.router_losses.clear();
  captured.routed_experts = nullptr;
  const auto own = std::make_shared<size_t>(0);  // results of the part, before those of routers
  const auto indices = std::make_shared<decltype(state.indices)>();
  const auto run = [part, captured, own, indices](const std::vector<at::Tensor>& given) {
    ForwardState copy = captured;
    copy.left_out = given.back();
    std::vector<at::Tensor> results = part(copy, {given.begin(), given.end() - 1});
    *own = results.size();
    *indices = copy.indices;
    results.insert(results.end(), copy.router_losses.begin(), copy.router_losses.end());
    return results;
  };
  std::vector<at::Tensor> given = arguments;
  given.push_back(state.left_out);
  std::vector<at::Tensor> results = checkpoint(name, run, given, state.linears);
  state.indices = *indices;
  const auto losses = results.begin() + static_cast<std::ptrdiff_t>(*own);
  state.router_losses.insert(state.router_losses.end(), losses, results.end());
  results.erase(losses, results.end());
  return results;
}

}  // namespace models
