// Reads what megatron-core and Megatron-Bridge wrote, across chunks, and compares with hashes that
// another reader computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "bridge/io/file/sha256.h"
#include "bridge/io/torch_dist/dcp_reader.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "tests/data_dir.h"

namespace bridge {
namespace {

const Path kData = data_dir();

MegatronFolder open(const Path& path) {
  // Nodes of the common state stay charged to the budget.
  static MemoryBudget budget(int64_t{1} << 40);
  return open_megatron(real_file_system(), path, "", budget);
}

std::span<std::byte> writable(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

std::string sha256(const std::string& bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.hex();
}

size_t index_of(const DcpMetadata& metadata, std::string_view key) {
  const auto found = std::find_if(metadata.tensors.begin(), metadata.tensors.end(),
                                  [&](const DcpTensor& tensor) { return tensor.key == key; });
  EXPECT_NE(found, metadata.tensors.end()) << key;
  return static_cast<size_t>(found - metadata.tensors.begin());
}

std::string read_whole(DcpReader& reader, const DcpMetadata& metadata, size_t index) {
  const DcpTensor& tensor = metadata.tensors.at(index);
  std::string bytes(static_cast<size_t>(byte_size(tensor.dtype, tensor.shape)), '?');
  reader.read(index, 0, writable(bytes));
  return bytes;
}

// The first 16 digits of the SHA-256 of every whole tensor. A reader in Python (zipfile and numpy)
// computed them from the output of one process. In the *_resave folders, several ranks wrote the
// same model again.
using Hashes = std::map<std::string, std::string>;

const Hashes kDense = {
    {"decoder.final_layernorm.weight", "d1008b1511129b2c"},
    {"decoder.layers.mlp.linear_fc1.layer_norm_weight", "59c24c3e14ac7171"},
    {"decoder.layers.mlp.linear_fc1.weight", "ad551c8c77d6e574"},
    {"decoder.layers.mlp.linear_fc2.weight", "ea22489f66a9983d"},
    {"decoder.layers.self_attention.linear_proj.weight", "d2e4d123b19f2ff6"},
    {"decoder.layers.self_attention.linear_qkv.bias", "41f6802d1558bda5"},
    {"decoder.layers.self_attention.linear_qkv.layer_norm_weight", "c5b21d0f8a3ed45b"},
    {"decoder.layers.self_attention.linear_qkv.weight", "2179f648044f2eed"},
    {"embedding.word_embeddings.weight", "fad2df33109a3e85"},
    {"output_layer.weight", "0d0d25a988ffe36a"},
};

const Hashes kMoe = {
    {"decoder.final_layernorm.weight", "d1008b1511129b2c"},
    {"decoder.layers.mlp.experts.experts.linear_fc1.weight", "3b96e9204ad31b21"},
    {"decoder.layers.mlp.experts.experts.linear_fc2.weight", "8944465bbfbd0e4b"},
    {"decoder.layers.mlp.linear_fc1.layer_norm_weight", "f8f29da18c7f11fb"},
    {"decoder.layers.mlp.router.weight", "a98e31764dc3622c"},
    {"decoder.layers.self_attention.k_layernorm.weight", "6d40b56323a24dc7"},
    {"decoder.layers.self_attention.linear_proj.weight", "127beed8dc13117a"},
    {"decoder.layers.self_attention.linear_qkv.layer_norm_weight", "7020afe73cfcfcac"},
    {"decoder.layers.self_attention.linear_qkv.weight", "60591a3786a1b082"},
    {"decoder.layers.self_attention.q_layernorm.weight", "60d2b9034606c6ee"},
    {"embedding.word_embeddings.weight", "fad2df33109a3e85"},
    {"output_layer.weight", "0d0d25a988ffe36a"},
};

const Hashes kBridge = {
    {"decoder.final_layernorm.weight", "b97742a5e3508e9d"},
    {"decoder.layers.mlp.linear_fc1.layer_norm_weight", "bdb87cc1156cef83"},
    {"decoder.layers.mlp.linear_fc1.weight", "45b76461bb6e3bab"},
    {"decoder.layers.mlp.linear_fc2.weight", "0d4bde4b356f56f2"},
    {"decoder.layers.self_attention.k_layernorm.weight", "5dab1f381b046bd4"},
    {"decoder.layers.self_attention.linear_proj.weight", "c1b7703e4c899663"},
    {"decoder.layers.self_attention.linear_qkv.layer_norm_weight", "fdafb1680651edd5"},
    {"decoder.layers.self_attention.linear_qkv.weight", "b4e213c3b51f50fb"},
    {"decoder.layers.self_attention.q_layernorm.weight", "34b99f680b103afc"},
    {"embedding.word_embeddings.weight", "c64fb6edbf5f9a38"},
    {"output_layer.weight", "4994ec2baa96b8a7"},
};

struct Checkpoint {
  const char* folder;
  const Hashes* hashes;
};

void PrintTo(const Checkpoint& checkpoint, std::ostream* out) {
  *out << checkpoint.folder;
}

class RealCheckpoints : public testing::TestWithParam<Checkpoint> {
 protected:
  MegatronFolder folder_ = open(kData / GetParam().folder);
  DcpReader reader_{real_file_system(), folder_.dist_dir, folder_.metadata};
};

TEST_P(RealCheckpoints, WholeTensorsHaveTheKnownHashes) {
  ASSERT_EQ(folder_.metadata.tensors.size(), GetParam().hashes->size());
  for (size_t i = 0; i < folder_.metadata.tensors.size(); ++i) {
    const std::string& key = folder_.metadata.tensors[i].key;
    EXPECT_EQ(sha256(read_whole(reader_, folder_.metadata, i)).substr(0, 16),
              GetParam().hashes->at(key))
        << key;
  }
  reader_.finish();
  EXPECT_EQ(reader_.items_without_crc(), 0);
}

TEST_P(RealCheckpoints, AnySlicesInAnyOrderGiveTheSameBytes) {
  std::mt19937 random(1);
  for (size_t i = 0; i < folder_.metadata.tensors.size(); ++i) {
    const std::string whole = read_whole(reader_, folder_.metadata, i);
    for (const size_t step : {size_t{2}, size_t{46}, size_t{1000}, size_t{4096}}) {
      if (whole.size() / step > 1000) continue;
      DcpReader fresh(real_file_system(), folder_.dist_dir, folder_.metadata);
      std::vector<size_t> begins;
      for (size_t at = 0; at < whole.size(); at += step) begins.push_back(at);
      std::shuffle(begins.begin(), begins.end(), random);
      std::string bytes(whole.size(), '?');
      for (const size_t at : begins) {
        const size_t size = std::min(step, whole.size() - at);
        fresh.read(i, static_cast<int64_t>(at), writable(bytes).subspan(at, size));
      }
      EXPECT_EQ(bytes, whole) << folder_.metadata.tensors[i].key << " by " << step;
      fresh.finish();
    }
  }
}

TEST_P(RealCheckpoints, ThreadsMayReadOverlappingRanges) {
  std::vector<std::string> whole;
  for (size_t i = 0; i < folder_.metadata.tensors.size(); ++i) {
    DcpReader fresh(real_file_system(), folder_.dist_dir, folder_.metadata);
    whole.push_back(read_whole(fresh, folder_.metadata, i));
  }
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int round = 0; round < 300; ++round) {
        const size_t i = random() % whole.size();
        const size_t begin = random() % whole[i].size() & ~size_t{1};
        const size_t size = std::min(whole[i].size() - begin, size_t{random() % 3000 & ~1u});
        std::string bytes(size, '?');
        reader_.read(i, static_cast<int64_t>(begin), writable(bytes));
        if (bytes != whole[i].substr(begin, size)) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
  reader_.finish();
}

INSTANTIATE_TEST_SUITE_P(Folders, RealCheckpoints,
                         testing::Values(Checkpoint{"megatron_written/dense", &kDense},
                                         Checkpoint{"megatron_written/dense_tp2_resave", &kDense},
                                         Checkpoint{"megatron_written/dense_pp3_resave", &kDense},
                                         Checkpoint{"megatron_written/moe_homog_ep2_resave", &kMoe},
                                         Checkpoint{"bridge_written/qwen3_dense/megatron",
                                                    &kBridge}));

// In singleton_local_shards, the gate half of layer 1 is a tensor of its own, with the bytes that
// the stacked checkpoint of the same model has there.
TEST(DcpReader, ASingletonCheckpointHoldsTheSameBytes) {
  const MegatronFolder stacked = open(kData / "megatron_written/dense");
  const MegatronFolder single = open(kData / "megatron_written/dense_singleton");
  DcpReader stacked_reader(real_file_system(), stacked.dist_dir, stacked.metadata);
  DcpReader single_reader(real_file_system(), single.dist_dir, single.metadata);
  std::string part(96 * 64 * 2, '?');
  stacked_reader.read(index_of(stacked.metadata, "decoder.layers.mlp.linear_fc1.weight"),
                      192 * 64 * 2, writable(part));
  const size_t gate = index_of(single.metadata, "decoder.layers.1.mlp.linear_fc1.weight_w");
  EXPECT_EQ(read_whole(single_reader, single.metadata, gate), part);
  EXPECT_EQ(sha256(part).substr(0, 16), "42adc3146d1b496f");
}

}  // namespace
}  // namespace bridge
