#include "models/compare/permutation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "bridge/io/file/sha256.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

constexpr size_t kParts = 4;
constexpr size_t kRouterPart = 3;
constexpr std::array<Role, kRouterPart> kMatrices = {Role::kExpertGate, Role::kExpertUp,
                                                     Role::kExpertDown};
constexpr std::array<Role, kRouterPart> kBiases = {Role::kExpertGateBias, Role::kExpertUpBias,
                                                   Role::kExpertDownBias};
constexpr unsigned kEverything = 0b1111;
constexpr unsigned kExpertsAlone = 0b0111;
constexpr unsigned kRouterAlone = 0b1000;
constexpr unsigned kGate = 0b0001;
constexpr unsigned kWithoutGate = 0b0110;
constexpr size_t kShownMoves = 16;

// Entry i is the place on the other side of this side's expert i.
using Order = std::vector<int64_t>;
// One digest for each expert.
using Digests = std::vector<std::string>;

const MixtureOfExperts* experts_of(const ModelConfig& config, Section section, int64_t index) {
  const std::vector<LayerConfig>& layers = section == Section::kMtp ? config.mtp : config.layers;
  const auto i = static_cast<size_t>(index);
  return i < layers.size() ? std::get_if<MixtureOfExperts>(&layers[i].mlp) : nullptr;
}

void add_values(const at::Tensor& rows, bridge::Sha256& digest) {
  at::Tensor values = rows.to(at::kFloat).contiguous();
  digest.add(bytes_of(values));
}

std::string digest_of(Weights& weights, const TensorId& id) {
  const bridge::Shape shape = weights.shape(id);
  const int64_t step = block_rows(shape);
  bridge::Sha256 digest;
  for (int64_t first = 0; first < shape[0]; first += step) {
    add_values(weights.rows(id, first, std::min(first + step, shape[0])), digest);
  }
  return digest.hex();
}

std::array<Digests, kParts> digests_of(Weights& weights, const MixtureOfExperts& mlp,
                                       Section section, int64_t index) {
  const RouterConfig& router = mlp.router;
  std::array<Digests, kParts> parts;
  for (int64_t expert = 0; expert < router.experts; ++expert) {
    for (size_t part = 0; part < kRouterPart; ++part) {
      if (part == 0 && !mlp.gated) {
        parts[part].emplace_back();
        continue;
      }
      std::string digest = digest_of(weights, {kMatrices[part], section, index, expert});
      if (mlp.bias) digest += digest_of(weights, {kBiases[part], section, index, expert});
      parts[part].push_back(std::move(digest));
    }
    bridge::Sha256 row;
    add_values(weights.rows({Role::kRouter, section, index}, expert, expert + 1), row);
    if (router.logit_bias) {
      add_values(weights.rows({Role::kRouterLogitBias, section, index}, expert, expert + 1), row);
    }
    if (router.selection_bias) {
      add_values(weights.rows({Role::kRouterBias, section, index}, expert, expert + 1), row);
    }
    parts[kRouterPart].push_back(row.hex());
  }
  return parts;
}

// Joins each expert's digests of a set of parts; bit i of `set` stands for part i.
Digests joined(const std::array<Digests, kParts>& parts, unsigned set) {
  Digests all(parts[0].size());
  for (size_t part = 0; part < kParts; ++part) {
    if ((set >> part & 1U) == 0) continue;
    for (size_t i = 0; i < all.size(); ++i) all[i] += parts[part][i];
  }
  return all;
}

std::optional<Order> order_of(const Digests& a, const Digests& b) {
  std::map<std::string, std::vector<int64_t>> moved;
  for (size_t i = b.size(); i-- > 0;) {
    if (a[i] != b[i]) moved[b[i]].push_back(static_cast<int64_t>(i));
  }
  Order order;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) {
      order.push_back(static_cast<int64_t>(i));
      continue;
    }
    const auto found = moved.find(a[i]);
    if (found == moved.end() || found->second.empty()) return std::nullopt;
    order.push_back(found->second.back());
    found->second.pop_back();
  }
  return order;
}

// "0->5, 5->0"; "" if nothing moved.
std::string moves(const Order& order) {
  std::string text;
  size_t count = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] == static_cast<int64_t>(i)) continue;
    if (++count > kShownMoves) continue;
    text += fmt::format("{}{}->{}", text.empty() ? "" : ", ", i, order[i]);
  }
  if (count > kShownMoves) text += fmt::format(" and {} more", count - kShownMoves);
  return text;
}

std::string name_of(unsigned set) {
  if (set == kEverything || set == kExpertsAlone) return "experts";
  if (set == kRouterAlone) return "rows of the router";
  std::vector<std::string_view> names;
  for (size_t part = 0; part < kRouterPart; ++part) {
    if ((set >> part & 1U) != 0) names.push_back(role_name(kMatrices[part]));
  }
  return fmt::format("{} of the experts{}", fmt::join(names, " and "),
                     (set & kRouterAlone) != 0 ? " and rows of the router" : "");
}

// True if both tables give every token the same experts, each under its new number.
bool same_table(Weights& a, Weights& b, Section section, int64_t index, const Order& order) {
  const TensorId table{Role::kRouterTable, section, index};
  const bridge::Shape shape = a.shape(table);
  if (b.shape(table) != shape) return false;
  const int64_t step = block_rows(shape);
  for (int64_t first = 0; first < shape[0]; first += step) {
    const int64_t last = std::min(first + step, shape[0]);
    const at::Tensor ours = a.rows(table, first, last).to(at::kLong).contiguous();
    const at::Tensor theirs = b.rows(table, first, last).to(at::kLong).contiguous();
    const int64_t* numbers = ours.const_data_ptr<int64_t>();
    const bool same = std::equal(numbers, numbers + ours.numel(), theirs.const_data_ptr<int64_t>(),
                                 [&](int64_t our, int64_t their) {
                                   return our >= 0 && our < std::ssize(order) &&
                                          order[static_cast<size_t>(our)] == their;
                                 });
    if (!same) return false;
  }
  return true;
}

bool is_arranged_by_experts(const TensorId& id) {
  return id.expert >= 0 || id.role == Role::kRouter || id.role == Role::kRouterBias ||
         id.role == Role::kRouterLogitBias;
}

}  // namespace

std::vector<std::string> permuted_experts(Weights& a, Weights& b, Section section, int64_t index) {
  const MixtureOfExperts* ours = experts_of(a.config(), section, index);
  const MixtureOfExperts* theirs = experts_of(b.config(), section, index);
  if (ours == nullptr || theirs == nullptr || ours->router.experts != theirs->router.experts) {
    return {};
  }
  const auto digests_a = digests_of(a, *ours, section, index);
  const auto digests_b = digests_of(b, *theirs, section, index);

  std::vector<unsigned> sets;
  for (unsigned set = 1; set <= kEverything; ++set) {
    // Experts without a gate are whole with the two other parts.
    const bool is_whole = (set & kWithoutGate) == kWithoutGate;
    if (ours->gated || is_whole == ((set & kGate) != 0)) sets.push_back(set);
  }
  std::stable_sort(sets.begin(), sets.end(),
                   [](unsigned x, unsigned y) { return std::popcount(x) > std::popcount(y); });
  std::vector<std::string> lines;
  unsigned explained = 0;
  for (const unsigned set : sets) {
    if ((explained & set) != 0) continue;
    const std::optional<Order> order = order_of(joined(digests_a, set), joined(digests_b, set));
    if (!order) continue;
    explained |= set;
    const std::string moved = moves(*order);
    if (moved.empty()) continue;
    std::string line = fmt::format("{} of {} {} are permuted: {}", name_of(set),
                                   section == Section::kMtp ? "MTP depth" : "layer", index, moved);
    if (set == kExpertsAlone) line += "; the router's rows not alike";
    if (set == kEverything) line += "; the router's rows alike";
    if (set == kEverything && ours->router.by_token && theirs->router.by_token) {
      line += same_table(a, b, section, index, *order) ? ", its table alike" : ", its table not";
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> permutations_among(Weights& a, Weights& b,
                                            const std::set<std::string>& differing) {
  std::set<std::pair<Section, int64_t>> layers;
  for_each_tensor(a.config(), [&](const TensorId& id, const bridge::Shape&) {
    if (is_arranged_by_experts(id) && differing.contains(to_string(id))) {
      layers.emplace(id.section, id.index);
    }
  });
  std::vector<std::string> lines;
  for (const auto& [section, index] : layers) {
    const std::vector<std::string> found = permuted_experts(a, b, section, index);
    lines.insert(lines.end(), found.begin(), found.end());
  }
  return lines;
}

}  // namespace models
