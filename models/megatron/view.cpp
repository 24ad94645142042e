#include "models/megatron/view.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "models/megatron/config.h"
#include "models/megatron/hybrid.h"
#include "models/megatron/layout.h"
#include "models/megatron/training.h"
#include "models/megatron/vision.h"
#include "models/model/vision_tensors.h"
#include "models/weights/striped_read.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

using bridge::DcpTensor;

constexpr int64_t kLargestRunConfig = 1 << 20;  // known ones have about 20 KB

// Runs fn; its errors name the folder of the checkpoint.
template <typename Fn>
auto in(const bridge::Path& folder, const Fn& fn) {
  return bridge::with_context([&] { return bridge::printable(folder.native()); }, fn);
}

int64_t interleave_of(const Settings& settings) {
  return settings.integer_or("moe_mlp_glu_interleave_size", 0);
}

Settings read_settings(bridge::FileSystem& fs, const bridge::MegatronFolder& folder,
                       const bridge::Path& run_config) {
  if (!run_config.empty()) {
    if (folder.has_run_config) {
      bridge::usage_error(fmt::format("--run-config: {} has a run_config.yaml of its own",
                                      bridge::printable(folder.dist_dir.native())));
    }
    return bridge::with_context(
        [&] { return bridge::printable(run_config.native()); },
        [&] {
          return megatron_settings(bridge::read_whole_file(fs, run_config, kLargestRunConfig));
        });
  }
  if (folder.has_run_config) {
    const std::string text =
        bridge::read_whole_file(fs, folder.dist_dir / "run_config.yaml", kLargestRunConfig);
    return in(folder.dist_dir, [&] { return megatron_settings(text); });
  }
  const bridge::PickleNode* args = folder.common ? folder.common->get("args") : nullptr;
  if (args != nullptr) return in(folder.dist_dir, [&] { return megatron_settings(*args); });
  bridge::unsupported(
      fmt::format("{}: neither run_config.yaml nor args in the common state, so the model's "
                  "configuration is not known",
                  bridge::printable(folder.dist_dir.native())),
      "--run-config FILE names a run_config.yaml for it");
}

// Arguments name no layer specification: there the width of the stored norm tells one of each head
// from one of the channels of all heads together, which Megatron-Core itself does not have.
void settle_qk_norm(const bridge::MegatronFolder& folder, ModelConfig& config) {
  int64_t width = 0;
  for (const DcpTensor& tensor : folder.metadata.tensors) {
    const bool is_norm = tensor.key.ends_with(".self_attention.q_layernorm.weight") ||
                         tensor.key.ends_with(".self_attention.q_norm.weight");
    if (is_norm && !tensor.shape.empty()) width = tensor.shape.back();
  }
  for (std::vector<LayerConfig>* layers : {&config.layers, &config.mtp}) {
    for (LayerConfig& layer : *layers) {
      auto* const attention = std::get_if<GroupedAttention>(&layer.attention);
      if (attention == nullptr || attention->heads == 1) continue;
      if (width != attention->heads * attention->head_dim) continue;
      attention->qk_norm = attention->whole_qk_norm = true;
    }
  }
}

bool has_post_norms(const bridge::MegatronFolder& folder) {
  return std::any_of(folder.metadata.tensors.begin(), folder.metadata.tensors.end(),
                     [](const DcpTensor& tensor) { return is_post_norm(tensor.key); });
}

// The text part of a vision-language model is a module with a prefix.
std::string prefix_of(const bridge::MegatronFolder& folder) {
  return folder.find("embedding.word_embeddings.weight") != nullptr ? "" : "language_model.";
}

// Megatron-Core's arguments know no classifiers. What gives a model such a head keeps the key, so
// an output layer of its own with fewer rows than there are tokens is one.
void settle_labels(const bridge::MegatronFolder& folder, ModelConfig& config) {
  const DcpTensor* const output = folder.find(prefix_of(folder) + "output_layer.weight");
  if (config.tied || output == nullptr || output->shape.empty()) return;
  if (output->shape[0] < config.vocab) config.labels = output->shape[0];
}

ModelConfig config_of(const Settings& settings, const bridge::MegatronFolder& folder) {
  ModelConfig config = megatron_model_config(settings, has_post_norms(folder));
  if (!settings.has("transformer_layer_spec")) settle_qk_norm(folder, config);
  settle_labels(folder, config);
  return config;
}

class MegatronWeights : public Weights {
 public:
  MegatronWeights(bridge::FileSystem& fs, const bridge::Path& path, std::string_view iteration,
                  bridge::MemoryBudget& budget, const bridge::Path& run_config)
      : folder_(bridge::open_megatron(fs, path, iteration, budget)),
        settings_(read_settings(fs, folder_, run_config)),
        config_(in(folder_.dist_dir, [&] { return config_of(settings_, folder_); })),
        hybrid_(in(folder_.dist_dir, [&] { return hybrid_blocks(settings_); })),
        layout_(config_, in(folder_.dist_dir, [&] { return interleave_of(settings_); })),
        prefix_(prefix_of(folder_)),
        reader_(fs, folder_.dist_dir, folder_.metadata) {
    in(folder_.dist_dir, [&] {
      check_shapes(*this);
      check_all_used();
    });
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return locate(id).shape; }
  std::vector<StoredTensor> stored() override {
    std::vector<StoredTensor> tensors;
    for (const DcpTensor& tensor : folder_.metadata.tensors) {
      tensors.push_back({tensor.key, tensor.shape, ""});
    }
    return tensors;
  }
  std::vector<StoredPart> parts(const TensorId& id) override {
    const Location location = locate(id);
    StoredPart first{index_of(*location.tensor), location.first_row, location.rows, location.shape};
    if (location.then.empty()) return {first};
    first.shape = {1};
    std::vector<StoredPart> found = {first};
    for (const DcpTensor* tensor : location.then) {
      first.tensor = index_of(*tensor);
      found.push_back(first);
    }
    return found;
  }
  TrainingSettings training() override {
    return in(folder_.dist_dir, [&] { return megatron_training(settings_); });
  }
  std::string source(const TensorId& id) override {
    return bridge::printable(locate(id).tensor->key);
  }

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    const Location location = locate(id);
    if (!location.then.empty()) return numbers(location).slice(0, begin, end).clone();
    const at::Tensor stored = stored_rows(location, begin, end);
    return location.without_one ? stored.to(at::kFloat) + 1 : stored;
  }

 private:
  struct Location {
    const DcpTensor* tensor;
    // The first row of the matrix in the stored tensor, whose leading axes count as rows.
    int64_t first_row;
    bridge::Shape shape;  // of the canonical tensor
    RowPattern rows;
    bool without_one = false;
    std::vector<const DcpTensor*> then = {};  // of one number each, to append to that of `tensor`
  };

  // The rows as the checkpoint stores them.
  at::Tensor stored_rows(const Location& location, int64_t begin, int64_t end) {
    bridge::Shape shape = location.shape;
    shape.at(0) = end - begin;
    at::Tensor out =
        at::empty(shape, at::TensorOptions().dtype(torch_type(location.tensor->dtype)));
    const std::span<std::byte> bytes = bytes_of(out);
    const int64_t row_bytes = static_cast<int64_t>(bytes.size()) / (end - begin);
    const size_t index = index_of(*location.tensor);
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      read_in_stripes(count, row_bytes, [&](int64_t first, int64_t last) {
        reader_.read(index, (location.first_row + stored + first) * row_bytes,
                     bytes.subspan(static_cast<size_t>((row - begin + first) * row_bytes),
                                   static_cast<size_t>((last - first) * row_bytes)));
      });
    });
    return out;
  }

  at::Tensor numbers(const Location& location) {
    std::vector<const DcpTensor*> tensors = {location.tensor};
    tensors.insert(tensors.end(), location.then.begin(), location.then.end());
    std::vector<at::Tensor> out;
    for (const DcpTensor* tensor : tensors) {
      out.push_back(at::empty({1}, at::TensorOptions().dtype(torch_type(tensor->dtype))));
      const std::span<std::byte> bytes = bytes_of(out.back());
      reader_.read(index_of(*tensor), location.first_row * std::ssize(bytes), bytes);
    }
    return at::cat(out);
  }

  size_t index_of(const DcpTensor& tensor) const {
    return static_cast<size_t>(&tensor - folder_.metadata.tensors.data());
  }

  // Indices into axes that precede the matrix in a stored tensor.
  struct Leading {
    std::array<std::pair<int64_t, int64_t>, 2> axes;  // index, size
    size_t count = 0;
    void add(int64_t index, size_t size) { axes[count++] = {index, static_cast<int64_t>(size)}; }
  };

  // module: the key up to place.inner.
  std::optional<Location> find_key(const std::string& module, const MegatronPlace& place,
                                   const TensorId& id, Leading leading) const {
    const DcpTensor* tensor = folder_.find(module + place.inner);
    if (tensor == nullptr) return std::nullopt;
    if (place.expert_axis) leading.add(id.expert, experts_of(id));
    return bridge::with_context([&] { return bridge::printable(tensor->key); },
                                [&] {
                                  Location location = located(*tensor, place, leading);
                                  location.without_one = place.without_one;
                                  for (const std::string& name : place.then) {
                                    location.then.push_back(number_beside(location, module + name));
                                  }
                                  location.shape[0] += static_cast<int64_t>(place.then.size());
                                  return location;
                                });
  }

  // The tensor of a number that is to follow the one at `first`.
  const DcpTensor* number_beside(const Location& first_number, const std::string& key) const {
    const DcpTensor* tensor = folder_.find(key);
    if (tensor == nullptr) bridge::bad_input(fmt::format("{} is missing", bridge::printable(key)));
    const DcpTensor& first = *first_number.tensor;
    const bridge::Shape one = {1};
    if (first_number.shape != one || tensor->shape != first.shape || tensor->dtype != first.dtype) {
      bridge::bad_input(fmt::format("shape {}, and {} of {}: a number each of one type is expected",
                                    bridge::shape_text(first.shape), bridge::printable(key),
                                    bridge::shape_text(tensor->shape)));
    }
    return tensor;
  }

  size_t experts_of(const TensorId& id) const {
    const std::vector<LayerConfig>& layers =
        id.section == Section::kMtp ? config_.mtp : config_.layers;
    const LayerConfig& layer = layers.at(static_cast<size_t>(id.index));
    return static_cast<size_t>(std::get<MixtureOfExperts>(layer.mlp).router.experts);
  }

  static Location located(const DcpTensor& tensor, const MegatronPlace& place,
                          const Leading& leading) {
    const bridge::Shape& stored = tensor.shape;
    int64_t matrix = 0;
    for (size_t axis = 0; axis < leading.count; ++axis) {
      const auto [index, size] = leading.axes[axis];
      if (axis >= stored.size() || stored[axis] != size) {
        bridge::bad_input(fmt::format("shape {}, but axis {} should be {} layers or experts",
                                      bridge::shape_text(stored), axis, size));
      }
      matrix = matrix * size + index;
    }
    Location location{&tensor,
                      0,
                      {stored.begin() + static_cast<int64_t>(leading.count), stored.end()},
                      place.rows};
    if (location.shape.empty()) {
      bridge::bad_input(fmt::format("shape {} has too few axes", bridge::shape_text(stored)));
    }
    int64_t& rows = location.shape[0];
    location.first_row = matrix * rows;
    if (place.rows.count == 0) {
      location.rows = {rows, 0, std::max<int64_t>(rows, 1), rows, rows};
      return location;
    }
    if (place.rows.total > 0 ? rows != place.rows.total : rows < place.rows.count) {
      bridge::bad_input(fmt::format("shape {}, but {} rows are expected",
                                    bridge::shape_text(stored),
                                    std::max(place.rows.total, place.rows.count)));
    }
    rows = place.rows.count;
    return location;
  }

  std::optional<Location> find_place(const MegatronPlace& place, const TensorId& id) const {
    const std::string prefix = prefix_for(id);
    // The tensor has a key of its own, or is stacked with all layers on a first axis.
    const auto find_in_layer = [&](size_t layers) -> std::optional<Location> {
      const bool hybrid = hybrid_ && id.section == Section::kLayer;
      const int64_t number = hybrid ? hybrid_->in_layer(id.index, place.inner) : id.index;
      const std::string own = fmt::format("{}decoder.layers.{}.", prefix, number);
      if (std::optional<Location> found = find_key(own, place, id, {})) return found;
      if (hybrid) return std::nullopt;
      Leading stacked;
      stacked.add(id.index, layers);
      return find_key(prefix + "decoder.layers.", place, id, stacked);
    };
    switch (id.section) {
      case Section::kModel:
      case Section::kVision:
        return find_key(prefix, place, id, {});
      case Section::kLayer:
        return find_in_layer(config_.layers.size());
      case Section::kVisionMerger:
        return find_key(fmt::format("{}decoder.deepstack_merger_list.{}.", prefix, id.index), place,
                        id, {});
      case Section::kVisionBlock:
        if (config_.vision.value().gated) {
          return find_key(fmt::format("{}blocks.{}.", prefix, id.index), place, id, {});
        }
        return find_in_layer(static_cast<size_t>(config_.vision.value().blocks));
      case Section::kMtp: {
        const std::string depth = fmt::format("{}mtp.layers.{}.", prefix, id.index);
        if (is_of_frame(id.role)) return find_key(depth, place, id, {});
        if (hybrid_ && !hybrid_->depths().empty()) {
          return find_key(fmt::format("{}mtp_model_layer.layers.{}.", depth,
                                      hybrid_->in_depth(id.index, place.inner)),
                          place, id, {});
        }
        // Newer Megatron-Core gives the module the second name.
        for (const std::string_view layer : {"transformer_layer.", "mtp_model_layer."}) {
          const std::string of = fmt::format("{}{}", depth, layer);
          if (std::optional<Location> found = find_key(of, place, id, {})) return found;
        }
        return std::nullopt;
      }
    }
    return std::nullopt;
  }

  Location locate(const TensorId& id) const {
    const std::vector<MegatronPlace> places = layout_.places(id);
    for (const MegatronPlace& place : places) {
      if (std::optional<Location> found = find_place(place, id)) return *std::move(found);
    }
    const std::string prefix = prefix_for(id);
    bridge::bad_input(fmt::format("{} is missing: no key for {} ({})", to_string(id),
                                  places[0].inner, prefix.empty() ? "no prefix" : prefix));
  }

  void check_all_used() const {
    std::vector<bool> used(folder_.metadata.tensors.size());
    for_each_tensor(config_, [&](const TensorId& id, const bridge::Shape&) {
      const Location location = locate(id);
      used[index_of(*location.tensor)] = true;
      for (const DcpTensor* tensor : location.then) used[index_of(*tensor)] = true;
    });
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i]) continue;
      const std::string& key = folder_.metadata.tensors[i].key;
      const std::string where = bridge::printable(key);
      const bool is_tower = key.starts_with(kMegatronVision) || key.starts_with(kGatedVision);
      if (is_tower && !config_.vision) {
        bridge::unsupported(where + ": nothing says the sizes of the vision tower",
                            "vision_config in run_config.yaml does; --run-config FILE names one "
                            "for a checkpoint without");
      }
      bridge::bad_input(where + ": the configured model has no such tensor");
    }
  }

  std::string prefix_for(const TensorId& id) const {
    if (!is_vision(id)) return prefix_;
    return std::string(config_.vision.value().gated ? kGatedVision : kMegatronVision);
  }

  bridge::MegatronFolder folder_;
  Settings settings_;
  ModelConfig config_;
  std::optional<HybridBlocks> hybrid_;
  MegatronLayout layout_;
  std::string prefix_;
  bridge::DcpReader reader_;
};

}  // namespace

std::unique_ptr<Weights> open_megatron_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                               std::string_view iteration,
                                               bridge::MemoryBudget& budget,
                                               const bridge::Path& run_config) {
  return std::make_unique<MegatronWeights>(fs, path, iteration, budget, run_config);
}

}  // namespace models
