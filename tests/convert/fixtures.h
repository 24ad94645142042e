// What the tests of bridge/convert share: the contents of a folder, Hugging Face folders made of
// named bytes, a tiny Llama, and items of a Megatron checkpoint changed in place.
//
// The tiny Llama's names and shapes are those of transformers/models/llama/modeling_llama.py,
// written out here once more so that the mapping tables are not checked against themselves.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "bridge/convert/options.h"
#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "bridge/io/torch_dist/torch_item.h"
#include "tests/data_dir.h"
#include "tests/io/file/fault_file_system.h"
#include "tests/refusal.h"
#include "tests/temp_dir.h"

namespace bridge {

inline const Path kData = data_dir();

// Everything below a folder: name -> content, "/" for a folder, "-> x" for a symlink.
using Tree = std::map<std::string, std::string>;
inline Tree tree(const Path& folder) {
  Tree found;
  if (!std::filesystem::exists(folder)) return found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder);
    found[name] = entry.is_symlink() ? "-> " + std::filesystem::read_symlink(entry.path()).native()
                  : entry.is_directory() ? "/"
                                         : file_content(entry.path());
  }
  return found;
}

// Trees are compared with this rather than EXPECT_EQ, which would print them.
inline std::string first_difference(const Tree& a, const Tree& b) {
  for (const auto& [name, content] : a) {
    const auto it = b.find(name);
    if (it == b.end()) return name + " is only in the first";
    if (it->second != content) return name + " differs";
  }
  for (const auto& [name, content] : b) {
    if (!a.contains(name)) return name + " is only in the second";
  }
  return {};
}

// The operating system without waiting for the disk.
class FastFileSystem : public FaultFileSystem {
 public:
  FastFileSystem() : FaultFileSystem(real_file_system()) {}
};

// --- Hugging Face folders -----------------------------------------------------------------------

struct NamedTensor {
  std::string name;
  Dtype dtype;
  Shape shape;
  std::string bytes;
};

inline std::string safetensors_file(const std::vector<NamedTensor>& tensors) {
  std::vector<SafetensorsEntry> entries;
  std::string payload;
  for (const NamedTensor& tensor : tensors) {
    const auto begin = static_cast<int64_t>(payload.size());
    payload += tensor.bytes;
    entries.push_back(
        {tensor.name, tensor.dtype, tensor.shape, begin, static_cast<int64_t>(payload.size())});
  }
  return make_safetensors_header(entries, {{"format", "pt"}}) + payload;
}

// `shards` files with an index, or one model.safetensors; a tokenizer beside them.
inline void write_hf_folder(const Path& folder, const nlohmann::ordered_json& config,
                            const std::vector<NamedTensor>& tensors, size_t shards = 1) {
  put_file(folder / "config.json", config.dump(1));
  put_file(folder / "tokenizer.json", "{\"version\": \"1.0\"}");
  if (shards == 1) {
    put_file(folder / "model.safetensors", safetensors_file(tensors));
    return;
  }
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  for (size_t s = 0; s < shards; ++s) {
    const std::string name =
        "model-0000" + std::to_string(s + 1) + "-of-0000" + std::to_string(shards) + ".safetensors";
    std::vector<NamedTensor> part;
    for (size_t i = s; i < tensors.size(); i += shards) {
      part.push_back(tensors[i]);
      weight_map[tensors[i].name] = name;
    }
    put_file(folder / name, safetensors_file(part));
  }
  put_file(folder / "model.safetensors.index.json",
           nlohmann::ordered_json{{"metadata", {{"made_by", "a test"}}}, {"weight_map", weight_map}}
               .dump());
}

// name -> "BF16 [2, 64] <bytes>".
inline std::map<std::string, std::string> hf_tensors(const Path& folder) {
  MemoryBudget budget(64 << 20);
  const HfFolder hf = open_hf_folder(real_file_system(), folder, budget);
  std::map<std::string, std::string> found;
  for (const HfTensor& tensor : hf.tensors) {
    const HfShard& shard = hf.shards[static_cast<size_t>(tensor.shard)];
    found[tensor.name] = std::string(safetensors_name(tensor.dtype)) + " " +
                         shape_text(tensor.shape) + " " +
                         file_content(folder / shard.name)
                             .substr(static_cast<size_t>(shard.payload_offset + tensor.begin),
                                     static_cast<size_t>(tensor.end - tensor.begin));
  }
  return found;
}

// --- a tiny Llama -------------------------------------------------------------------------------

struct TinySize {
  int64_t vocab = 10;
  int64_t ffn = 6;
  int64_t head_dim = 4;
};
// Every kind of tensor is larger than the smallest slice of the executor.
constexpr TinySize kWide{6000, 5001, 1024};

inline nlohmann::ordered_json tiny_config(int layers, bool tied, const std::string& dtype,
                                          TinySize size = {}) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 8},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", size.head_dim},
          {"intermediate_size", size.ffn},
          {"vocab_size", size.vocab},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", tied},
          {"torch_dtype", dtype}};
}

// `bytes(n)` makes the n bytes of a tensor.
inline std::vector<NamedTensor> tiny_tensors(int layers, bool tied, Dtype dtype,
                                             const std::function<std::string(size_t)>& bytes,
                                             TinySize size = {}) {
  std::vector<NamedTensor> tensors;
  const auto add = [&](const std::string& name, Shape shape) {
    const auto length = static_cast<size_t>(byte_size(dtype, shape));
    tensors.push_back({name, dtype, std::move(shape), bytes(length)});
  };
  const int64_t q_rows = 4 * size.head_dim;
  const int64_t kv_rows = 2 * size.head_dim;
  add("model.embed_tokens.weight", {size.vocab, 8});
  for (int l = 0; l < layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    add(layer + "input_layernorm.weight", {8});
    add(layer + "self_attn.q_proj.weight", {q_rows, 8});
    add(layer + "self_attn.k_proj.weight", {kv_rows, 8});
    add(layer + "self_attn.v_proj.weight", {kv_rows, 8});
    add(layer + "self_attn.o_proj.weight", {8, q_rows});
    add(layer + "post_attention_layernorm.weight", {8});
    add(layer + "mlp.gate_proj.weight", {size.ffn, 8});
    add(layer + "mlp.up_proj.weight", {size.ffn, 8});
    add(layer + "mlp.down_proj.weight", {8, size.ffn});
  }
  add("model.norm.weight", {8});
  if (!tied) add("lm_head.weight", {size.vocab, 8});
  return tensors;
}

inline std::function<std::string(size_t)> random_bytes(unsigned seed) {
  return [random = std::mt19937(seed)](size_t size) mutable {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
  };
}

inline void write_tiny_model(const Path& folder, int layers = 1, bool tied = false,
                             size_t shards = 1) {
  write_hf_folder(folder, tiny_config(layers, tied, "bfloat16"),
                  tiny_tensors(layers, tied, Dtype::kBF16, random_bytes(1)), shards);
}

// --- runs ---------------------------------------------------------------------------------------

template <typename Options>
Options run_options(const Path& source, const Path& target) {
  Options options;
  options.source = source;
  options.target = target;
  options.threads = 1;
  options.quiet = true;
  options.progress = ProgressMode::kNever;
  options.version = "test";
  return options;
}

// --- Megatron checkpoints -----------------------------------------------------------------------

inline MegatronFolder open_checkpoint(const Path& root) {
  MemoryBudget budget(64 << 20);
  MegatronFolder folder = open_megatron(real_file_system(), root, "", budget);
  folder.common = nullptr;  // it is charged to the budget, which ends here
  return folder;
}

// Changes the payload of one item in place. The archive's CRC is made right unless told otherwise.
inline void edit_item(const Path& root, const std::string& key, size_t chunk_number,
                      const std::function<void(std::string&)>& edit, bool correct_crc = true) {
  const MegatronFolder folder = open_checkpoint(root);
  const DcpTensor* tensor = folder.find(key);
  ASSERT_NE(tensor, nullptr) << key;
  ASSERT_LT(chunk_number, tensor->chunks.size());
  const DcpChunk& chunk = tensor->chunks[chunk_number];
  const Path path = folder.dist_dir / folder.metadata.files[static_cast<size_t>(chunk.file)];
  const TensorItem item =
      read_tensor_item(*real_file_system().open_read(path), chunk.offset, chunk.length);
  std::string bytes = file_content(path);
  const auto at = static_cast<size_t>(item.record_offset);
  const auto size = static_cast<size_t>(item.record_size);
  std::string payload = bytes.substr(at, size);
  edit(payload);
  ASSERT_EQ(payload.size(), size);
  bytes.replace(at, size, payload);
  if (correct_crc) {
    // Its four bytes are in the data descriptor and in the central directory: little-endian both.
    const auto text = [](uint32_t crc) {
      std::string four(4, '\0');
      std::memcpy(four.data(), &crc, 4);
      return four;
    };
    const std::string before = text(item.record_crc);
    const std::string after = text(crc32(std::as_bytes(std::span(payload))));
    int replaced = 0;
    const auto end = static_cast<size_t>(chunk.offset + chunk.length);
    for (size_t p = bytes.find(before, at + size); p < end; p = bytes.find(before, p + 4)) {
      bytes.replace(p, 4, after);
      ++replaced;
    }
    ASSERT_EQ(replaced, 2);
  }
  put_file(path, bytes);
}

}  // namespace bridge
