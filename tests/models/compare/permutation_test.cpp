// Orders of experts, of weights in memory: an expert is three matrices full of its own numbers.
#include "models/compare/permutation.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <utility>
#include <variant>

namespace models {
namespace {

constexpr int64_t kExperts = 4;

using Numbers = std::vector<double>;

struct Contents {
  Numbers gate{10, 11, 12, 13};
  Numbers up{20, 21, 22, 23};
  Numbers down{30, 31, 32, 33};
  Numbers router{40, 41, 42, 43};
  Numbers bias{0, 0, 0, 0};
  std::vector<int64_t> table{0, 1, 2, 3, 3, 1};
  at::ScalarType dtype = at::kFloat;
};

class Memory : public Weights {
 public:
  explicit Memory(Contents contents, bool by_token = false) : contents_(std::move(contents)) {
    MixtureOfExperts mlp;
    mlp.router.experts = kExperts;
    mlp.router.chosen = 2;
    mlp.router.selection_bias = !by_token;
    mlp.router.by_token = by_token;
    config_.layers = {{GroupedAttention{}, DenseMlp{}}, {GroupedAttention{}, mlp}};
    config_.mtp = {{GroupedAttention{}, mlp}};
  }

  ModelConfig& change() { return config_; }
  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return whole(id).sizes().vec(); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return whole(id).slice(0, begin, end);
  }
  std::string source(const TensorId& id) override { return to_string(id); }

 private:
  at::Tensor matrix(const Numbers& numbers, int64_t expert, int64_t rows, int64_t columns) const {
    const double number = numbers.at(static_cast<size_t>(expert));
    return at::full({rows, columns}, number, at::TensorOptions().dtype(contents_.dtype));
  }
  at::Tensor whole(const TensorId& id) const {
    switch (id.role) {
      case Role::kExpertGate:
        return matrix(contents_.gate, id.expert, 3, 5);
      case Role::kExpertUp:
        return matrix(contents_.up, id.expert, 3, 5);
      case Role::kExpertDown:
        return matrix(contents_.down, id.expert, 5, 3);
      case Role::kRouter:
        return at::tensor(contents_.router).to(contents_.dtype).unsqueeze(1);
      case Role::kRouterBias:
        return at::tensor(contents_.bias).to(at::kFloat);
      default:
        return at::tensor(contents_.table).view({3, 2});
    }
  }

  Contents contents_;
  ModelConfig config_;
};

using Lines = std::vector<std::string>;

Lines lines(const Contents& a, const Contents& b, bool by_token = false) {
  Memory ours(a, by_token);
  Memory theirs(b, by_token);
  return permuted_experts(ours, theirs, Section::kLayer, 1);
}

// Every number is where `order` sends it: expert i of the first is expert order[i] of the second.
Contents permuted(const std::vector<size_t>& order) {
  const Contents first;
  Contents second;
  for (size_t i = 0; i < order.size(); ++i) {
    second.gate[order[i]] = first.gate[i];
    second.up[order[i]] = first.up[i];
    second.down[order[i]] = first.down[i];
    second.router[order[i]] = first.router[i];
  }
  return second;
}

TEST(Permutation, WithTheRouter) {
  EXPECT_EQ(lines({}, permuted({2, 1, 3, 0})),
            Lines{"experts of layer 1 are permuted: 0->2, 2->3, 3->0; the router's rows alike"});
}

TEST(Permutation, OfAnMtpDepth) {
  Memory ours{{}};
  Memory theirs(permuted({1, 0, 2, 3}));
  EXPECT_EQ(permuted_experts(ours, theirs, Section::kMtp, 0),
            Lines{"experts of MTP depth 0 are permuted: 0->1, 1->0; the router's rows alike"});
}

TEST(Permutation, WithoutTheRouter) {
  Contents second = permuted({1, 2, 3, 0});
  second.router = Contents().router;
  EXPECT_EQ(lines({}, second), Lines{"experts of layer 1 are permuted: 0->1, 1->2, 2->3, 3->0; the "
                                     "router's rows not alike"});
}

TEST(Permutation, ABiasThatStaysIsNotAlike) {
  Contents first;
  first.bias = {1, 2, 3, 4};
  Contents second = permuted({1, 0, 2, 3});
  second.bias = first.bias;
  EXPECT_EQ(lines(first, second),
            Lines{"experts of layer 1 are permuted: 0->1, 1->0; the router's rows not alike"});
  second.bias = {2, 1, 3, 4};
  EXPECT_EQ(lines(first, second),
            Lines{"experts of layer 1 are permuted: 0->1, 1->0; the router's rows alike"});
}

TEST(Permutation, OfTheRouterAlone) {
  Contents second;
  std::swap(second.router[1], second.router[3]);
  EXPECT_EQ(lines({}, second), Lines{"rows of the router of layer 1 are permuted: 1->3, 3->1"});
}

TEST(Permutation, OfSomeMatrices) {
  Contents second;
  std::swap(second.gate[0], second.gate[1]);
  std::swap(second.up[0], second.up[1]);
  EXPECT_EQ(lines({}, second),
            Lines{"gate and up of the experts of layer 1 are permuted: 0->1, 1->0"});
  std::swap(second.down[2], second.down[3]);
  EXPECT_EQ(lines({}, second),
            (Lines{"gate and up of the experts of layer 1 are permuted: 0->1, 1->0",
                   "down of the experts of layer 1 are permuted: 2->3, 3->2"}));
}

TEST(Permutation, NothingThatNoOrderExplains) {
  EXPECT_EQ(lines({}, {}), Lines{});
  Contents second = permuted({1, 0, 2, 3});
  second.gate[0] = 99;
  second.up[0] = 99;
  second.down[0] = 99;
  second.router[0] = 99;
  EXPECT_EQ(lines({}, second), Lines{});
}

TEST(Permutation, EqualExpertsKeepTheirPlace) {
  Contents first;
  first.gate = first.up = first.down = {7, 7, 8, 7};
  first.router = {1, 1, 2, 1};
  Contents second = first;
  EXPECT_EQ(lines(first, second), Lines{});
  second.gate = second.up = second.down = {7, 8, 7, 7};
  second.router = {1, 2, 1, 1};
  EXPECT_EQ(lines(first, second),
            Lines{"experts of layer 1 are permuted: 1->2, 2->1; the router's rows alike"});
}

TEST(Permutation, OtherTypesSameValues) {
  Contents second = permuted({1, 0, 2, 3});
  second.dtype = at::kBFloat16;
  EXPECT_EQ(lines({}, second).size(), 1U);
}

TEST(Permutation, TheTableOfTokens) {
  Contents second = permuted({1, 0, 2, 3});
  EXPECT_EQ(lines({}, second, true), Lines{"experts of layer 1 are permuted: 0->1, 1->0; the "
                                           "router's rows alike, its table not"});
  second.table = {1, 0, 2, 3, 3, 0};
  EXPECT_EQ(lines({}, second, true), Lines{"experts of layer 1 are permuted: 0->1, 1->0; the "
                                           "router's rows alike, its table alike"});
  second.table = {1, 0, 2, 3, 3, 7};
  EXPECT_EQ(lines({}, second, true), Lines{"experts of layer 1 are permuted: 0->1, 1->0; the "
                                           "router's rows alike, its table not"});
}

TEST(Permutation, OtherModels) {
  Memory ours{{}};
  Memory theirs{{}};
  EXPECT_EQ(permuted_experts(ours, theirs, Section::kLayer, 0), Lines{});  // no experts
  EXPECT_EQ(permuted_experts(ours, theirs, Section::kLayer, 2), Lines{});  // no such layer
  std::get<MixtureOfExperts>(theirs.change().layers[1].mlp).router.experts = kExperts - 1;
  EXPECT_EQ(permuted_experts(ours, theirs, Section::kLayer, 1), Lines{});
}

TEST(Permutation, OfExpertsWithoutAGate) {
  const auto lines_without = [](const Contents& b) {
    Memory ours{{}};
    Memory theirs(b);
    for (Memory* side : {&ours, &theirs}) {
      std::get<MixtureOfExperts>(side->change().layers[1].mlp).gated = false;
    }
    return permuted_experts(ours, theirs, Section::kLayer, 1);
  };
  Contents second = permuted({1, 0, 2, 3});
  second.gate = {99, 98, 97, 96};  // of no expert
  EXPECT_EQ(lines_without(second),
            Lines{"experts of layer 1 are permuted: 0->1, 1->0; the router's rows alike"});
  second.router = Contents().router;
  EXPECT_EQ(lines_without(second),
            Lines{"experts of layer 1 are permuted: 0->1, 1->0; the router's rows not alike"});
  second.down = Contents().down;
  EXPECT_EQ(lines_without(second), Lines{"up of the experts of layer 1 are permuted: 0->1, 1->0"});
}

TEST(Permutation, AmongTensorsThatDiffer) {
  Memory ours{{}};
  Memory theirs(permuted({1, 0, 2, 3}));
  const std::string moved = "are permuted: 0->1, 1->0; the router's rows alike";
  EXPECT_EQ(permutations_among(ours, theirs, {"layers.1.experts.1.up", "layers.0.gate"}),
            Lines{"experts of layer 1 " + moved});
  EXPECT_EQ(permutations_among(ours, theirs, {"layers.1.router_bias", "mtp.0.layer.router"}),
            (Lines{"experts of layer 1 " + moved, "experts of MTP depth 0 " + moved}));
  EXPECT_EQ(permutations_among(ours, theirs, {"embedding", "layers.1.shared.gate"}), Lines{});
}

}  // namespace
}  // namespace models
