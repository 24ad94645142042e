// Tests the table of DeepSeek-V4 in the release's names, tensor by tensor against the releases,
// against what Megatron-LM's dev branch requests at full size, and against Megatron-Bridge's
// registry (data/keys, data/reference_mappings).
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <tuple>

#include "bridge/io/base/checked.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/listed_tensors.h"
#include "tests/mappings/table/reference.h"
#include "tests/mappings/table/small_models.h"

namespace mappings {
namespace {

Json flash() {
  return Json::parse(kDeepSeekV4Flash);
}
Json pro() {
  Json config = flash();
  config.update(Json::parse(kDeepSeekV4Pro));
  return config;
}

struct Release {
  const char* name;
  Json config;
  size_t tensors;
  int64_t fp8;
  int64_t fp4;
  int64_t megatron_bytes;
};

class FullSize : public ::testing::TestWithParam<Release> {};

// Every tensor of the release belongs to a row or is the scales of a row, has the type that the row
// expects, and nothing is missing.
TEST_P(FullSize, NamesShapesAndTypes) {
  std::map<std::string, ListedTensor> left =
      listed_tensors(GetParam().name + std::string(".tsv.gz"));
  ASSERT_EQ(left.size(), GetParam().tensors);
  const Binding binding = bound(GetParam().config);
  ASSERT_EQ(binding.block_schemes().size(), 2u);
  const BlockScheme& fp8 = binding.block_schemes()[0];
  const BlockScheme& fp4 = binding.block_schemes()[1];
  std::map<std::string, int64_t> found;
  const auto take = [&](const std::string& name) {
    const auto it = left.find(name);
    EXPECT_NE(it, left.end()) << name;
    if (it == left.end()) return ListedTensor();
    const ListedTensor tensor = it->second;
    left.erase(it);
    ++found[tensor.dtype];
    return tensor;
  };
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    for (const HfTensorSpec& spec : tensor.hf) {
      const ListedTensor real = take(spec.name);
      if (real.dtype == "I8") {
        EXPECT_EQ(real.shape, fp4.stored_shape(spec.shape)) << spec.name;
        EXPECT_EQ(take(*fp4.scale_name(spec.name)),
                  (ListedTensor{"F8_E8M0", fp4.scale_shape(spec.shape)}));
      } else if (real.dtype == "F8_E4M3") {
        EXPECT_EQ(real.shape, spec.shape) << spec.name;
        EXPECT_EQ(take(*fp8.scale_name(spec.name)),
                  (ListedTensor{"F8_E8M0", fp8.scale_shape(spec.shape)}));
      } else {
        EXPECT_EQ(real.shape, spec.shape) << spec.name;
        const std::string expected = tensor.row->keep == bridge::Dtype::kF32   ? "F32"
                                     : tensor.row->keep == bridge::Dtype::kI32 ? "I64"
                                                                               : "BF16";
        EXPECT_EQ(real.dtype, expected) << spec.name;
      }
    }
  });
  EXPECT_EQ(found["F8_E4M3"], GetParam().fp8);
  EXPECT_EQ(found["I8"], GetParam().fp4);
  EXPECT_EQ(found["F8_E8M0"], GetParam().fp8 + GetParam().fp4);
  EXPECT_EQ(found["I64"], 3);
  EXPECT_TRUE(left.empty()) << left.size() << " not in the table, as " << left.begin()->first;
  EXPECT_TRUE(binding.warnings().empty());
  EXPECT_TRUE(binding.per_layer_keys());
  EXPECT_EQ(binding.promised_mtp_depths(), 1);
}

// Returns the tensors of the Megatron side: experts are stacked, and tensors in parts count part by
// part.
std::map<std::string, ListedTensor> megatron_tensors(const Binding& binding) {
  static const std::regex kExpert("experts\\.experts\\.\\d+");
  std::map<std::string, ListedTensor> tensors;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    if (tensor.expert > 0) return;
    bridge::Shape shape = tensor.hf[0].shape;
    for (size_t part = 1; part < tensor.hf.size(); ++part) shape[0] += tensor.hf[part].shape[0];
    std::string name = tensor.name;
    if (tensor.expert == 0) {
      name = std::regex_replace(name, kExpert, "experts.experts");
      shape.insert(shape.begin(), tensor.expert_count);
    }
    const std::string dtype = tensor.row->keep == bridge::Dtype::kF32   ? "F32"
                              : tensor.row->keep == bridge::Dtype::kI32 ? "I32"
                                                                        : "BF16";
    const std::vector<std::string>& split = tensor.row->split;
    if (split.empty()) tensors[name] = {dtype, shape};
    if (!split.empty()) shape[0] /= static_cast<int64_t>(split.size());
    for (const std::string& suffix : split) tensors[name + suffix] = {dtype, shape};
  });
  return tensors;
}

TEST_P(FullSize, BytesOfTheMegatronSide) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : megatron_tensors(bound(GetParam().config))) {
    bytes += bridge::element_count(tensor.shape) * (tensor.dtype == "BF16" ? 2 : 4);
  }
  EXPECT_EQ(bytes, GetParam().megatron_bytes);
}

const Release kReleases[] = {
    {"deepseek_v4_flash", flash(), 69'187, 375, 33'792, 581'966'222'920},
    {"deepseek_v4_pro", pro(), 145'116, 528, 71'424, 3'197'859'556'472},
};
INSTANTIATE_TEST_SUITE_P(All, FullSize, ::testing::ValuesIn(kReleases),
                         [](const auto& param) { return std::string(param.param.name); });

// Real Megatron-LM (dev) built the model of the release without allocating memory.
TEST(DeepSeekV4, FullSizeKeysOfMegatron) {
  const std::map<std::string, ListedTensor> real =
      listed_tensors("deepseek_v4_flash_megatron.tsv.gz");
  ASSERT_EQ(real.size(), 1448u);
  const Binding binding = bound(flash());
  EXPECT_EQ(megatron_tensors(binding), real);
  int64_t objects = 0;
  binding.for_each_extra_state(/*local_spec=*/false, [&](const ExtraStateModule&) { ++objects; });
  EXPECT_EQ(objects, 23'202);
}

// The role of a tensor for its HF tensor: gate or up, the first, second or third number, or the
// same.
std::string role_of(const ReferenceRow& row) {
  if (row.kind.starts_with("GatedMLPMapping")) return row.kind;
  if (row.kind == "_HCAlphaMapping") return "0";
  return row.kind == "_HCAlphaSecondaryMapping" ? row.extra.substr(row.extra.find('=') + 1) : "";
}

// Bridge uses the names of the modules: it has grouped experts, and the three alphas one by one.
TEST(DeepSeekV4, NamesAreThoseOfMegatronBridge) {
  using NamedRole = std::tuple<std::string, std::string, std::string>;  // Megatron, HF, role
  std::set<NamedRole> reference;
  for (const ReferenceRow& row : read_reference_rows("deepseek_v4")) {
    if (row.megatron.find("local_experts") != std::string::npos) continue;
    reference.emplace(row.megatron, row.hf, role_of(row));
  }
  ASSERT_EQ(reference.size(), 82u);
  const std::pair<std::regex, const char*> kSpellings[] = {
      {std::regex("experts\\.experts\\.\\d+\\.(.*)"), "experts.$1*"},
      {std::regex("\\.experts\\.\\d+"), ".experts.*"},
      {std::regex("^(decoder\\.)?layers\\.\\d+"), "$1layers.*"},
      {std::regex("transformer_layer"), "mtp_model_layer"},
  };
  const auto registered = [&](std::string name) {
    for (const auto& [own, theirs] : kSpellings) name = std::regex_replace(name, own, theirs);
    return name;
  };
  std::set<NamedRole> own;
  // Names of experts differ only by their number.
  bound(with_few_experts(flash())).for_each_tensor(1, false, [&](const LogicalTensor& tensor) {
    const std::string name = registered(tensor.name);
    for (size_t part = 0; part < tensor.hf.size(); ++part) {
      const std::string hf = registered(tensor.hf[part].name);
      const std::vector<std::string>& split = tensor.row->split;
      if (split.empty()) own.emplace(name, hf, tensor.row->gated ? kind_of(tensor, part) : "");
      for (size_t i = 0; i < split.size(); ++i) own.emplace(name + split[i], hf, std::to_string(i));
    }
  });
  for (const auto& [megatron, hf, role] : own) {
    EXPECT_TRUE(reference.contains({megatron, hf, role}))
        << megatron << " <- " << hf << " " << role;
  }
  std::set<std::string> artefacts;
  for (const NamedRole& row : reference) {
    if (!own.contains(row)) artefacts.insert(std::get<0>(row));
  }
  // MTP never routes by hash.
  EXPECT_EQ(artefacts, std::set<std::string>{"mtp.layers.0.mtp_model_layer.mlp.router.tid2eid"});
}

}  // namespace
}  // namespace mappings
