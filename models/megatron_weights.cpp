#include "models/megatron_weights.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/error.h"
#include "bridge/io/torch_dist.h"
#include "models/megatron_weights_config.h"
#include "models/megatron_weights_layout.h"
#include "models/tensor_bytes.h"

namespace models {
namespace {

using bridge::DcpTensor;

constexpr int64_t kLargestRunConfig = 16 << 20;

Settings read_settings(bridge::FileSystem& fs, const bridge::MegatronFolder& folder) {
  if (folder.has_run_config) {
    return megatron_settings(
        bridge::read_whole_file(fs, folder.dist_dir / "run_config.yaml", kLargestRunConfig));
  }
  const bridge::PickleNode* args = folder.common ? folder.common->get("args") : nullptr;
  if (args != nullptr) return megatron_settings(*args);
  bridge::unsupported(
      fmt::format("{}: neither run_config.yaml nor args in the common state, so the model's "
                  "configuration is not known",
                  folder.dist_dir.native()),
      "checkpoints that causeway, Megatron-Bridge or Megatron-LM wrote have one");
}

// A vision-language model's text part is a module of its own.
std::string prefix_of(const bridge::MegatronFolder& folder) {
  return folder.find("embedding.word_embeddings.weight") != nullptr ? "" : "language_model.";
}

class MegatronWeights : public Weights {
 public:
  MegatronWeights(bridge::FileSystem& fs, const bridge::Path& path, std::string_view iteration,
                  bridge::MemoryBudget& budget)
      : folder_(bridge::open_megatron(fs, path, iteration, budget)),
        settings_(read_settings(fs, folder_)),
        config_(megatron_model_config(settings_)),
        layout_(config_, settings_.integer_or("moe_mlp_glu_interleave_size", 0)),
        prefix_(prefix_of(folder_)),
        reader_(fs, folder_.dist_dir, folder_.metadata) {
    check_shapes(*this);
    check_all_used();
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return locate(id).shape; }
  std::string source(const TensorId& id) override {
    return bridge::printable(locate(id).tensor->key);
  }

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    const Location location = locate(id);
    bridge::Shape shape = location.shape;
    shape.at(0) = end - begin;
    at::Tensor out =
        at::empty(shape, at::TensorOptions().dtype(torch_type(location.tensor->dtype)));
    const std::span<std::byte> bytes = bytes_of(out);
    const int64_t row_bytes = static_cast<int64_t>(bytes.size()) / (end - begin);
    const size_t index = static_cast<size_t>(location.tensor - folder_.metadata.tensors.data());
    const RowPattern& rows = location.rows;
    for (int64_t row = begin; row < end;) {
      const int64_t in_run = row % rows.run;
      const int64_t count = std::min(rows.run - in_run, end - row);
      const int64_t stored =
          location.first_row + rows.first + row / rows.run * rows.stride + in_run;
      reader_.read(index, stored * row_bytes,
                   bytes.subspan(static_cast<size_t>((row - begin) * row_bytes),
                                 static_cast<size_t>(count * row_bytes)));
      row += count;
    }
    return out;
  }

 private:
  struct Location {
    const DcpTensor* tensor;
    int64_t first_row;  // of the matrix in the stored tensor, whose leading axes are taken as rows
    bridge::Shape shape;  // of the canonical tensor
    RowPattern rows;
  };

  // Indices into axes that a key has in front of the matrix.
  struct Leading {
    std::array<std::pair<int64_t, int64_t>, 2> axes;  // index, size
    size_t count = 0;
    void add(int64_t index, size_t size) { axes[count++] = {index, static_cast<int64_t>(size)}; }
  };

  std::optional<Location> find_key(const std::string& key, const MegatronPlace& place,
                                   const TensorId& id, Leading leading) const {
    const DcpTensor* tensor = folder_.find(prefix_ + key);
    if (tensor == nullptr) return std::nullopt;
    if (place.expert_axis) leading.add(id.expert, experts_of(id));
    return bridge::with_context([&] { return bridge::printable(tensor->key); },
                                [&] { return located(*tensor, place, leading); });
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
    switch (id.section) {
      case Section::kModel:
        return find_key(place.inner, place, id, {});
      case Section::kLayer: {
        const std::string own = fmt::format("decoder.layers.{}.{}", id.index, place.inner);
        if (std::optional<Location> found = find_key(own, place, id, {})) return found;
        Leading stacked;
        stacked.add(id.index, config_.layers.size());
        return find_key("decoder.layers." + place.inner, place, id, stacked);
      }
      case Section::kMtp:
        // The frame; the layer in it; the layer as newer Megatron-Core names the module.
        for (const std::string_view module : {"", "transformer_layer.", "mtp_model_layer."}) {
          const std::string key = fmt::format("mtp.layers.{}.{}{}", id.index, module, place.inner);
          if (std::optional<Location> found = find_key(key, place, id, {})) return found;
        }
        return std::nullopt;
    }
    return std::nullopt;
  }

  Location locate(const TensorId& id) const {
    const std::vector<MegatronPlace> places = layout_.places(id);
    for (const MegatronPlace& place : places) {
      if (std::optional<Location> found = find_place(place, id)) return *std::move(found);
    }
    bridge::bad_input(fmt::format("{}: {} is missing: no key for {} ({})",
                                  folder_.dist_dir.native(), to_string(id), places[0].inner,
                                  prefix_.empty() ? "no prefix" : prefix_));
  }

  void check_all_used() const {
    std::vector<bool> used(folder_.metadata.tensors.size());
    for_each_tensor(config_, [&](const TensorId& id, const bridge::Shape&) {
      used[static_cast<size_t>(locate(id).tensor - folder_.metadata.tensors.data())] = true;
    });
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i]) continue;
      bridge::bad_input(fmt::format("{}: {}: the configured model has no such tensor",
                                    folder_.dist_dir.native(),
                                    bridge::printable(folder_.metadata.tensors[i].key)));
    }
  }

  bridge::MegatronFolder folder_;
  Settings settings_;
  ModelConfig config_;
  MegatronLayout layout_;
  std::string prefix_;
  bridge::DcpReader reader_;
};

}  // namespace

std::unique_ptr<Weights> open_megatron_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                               std::string_view iteration,
                                               bridge::MemoryBudget& budget) {
  return std::make_unique<MegatronWeights>(fs, path, iteration, budget);
}

}  // namespace models
