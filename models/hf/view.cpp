#include "models/hf/view.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ldexp.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/hf/hf_folder.h"
#include "models/hf/config.h"
#include "models/hf/folder_config.h"
#include "models/hf/names.h"
#include "models/hf/quantization.h"
#include "models/hf/scales.h"
#include "models/hf/training.h"
#include "models/weights/quantized_rows.h"
#include "models/weights/striped_read.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

using bridge::HfTensor;

constexpr size_t kMostOpenFiles = 64;
constexpr int64_t kLargestConfig = 4 << 20;

// Adds the location of the checkpoint to the errors that fn throws.
template <typename Fn>
auto in(const bridge::Path& folder, const Fn& fn) {
  return bridge::with_context([&] { return bridge::printable(folder.native()); }, fn);
}

Settings read_config(bridge::FileSystem& fs, const bridge::Path& folder) {
  const bridge::Path path = folder / "config.json";
  const std::string text = bridge::read_whole_file(fs, path, kLargestConfig);
  const nlohmann::ordered_json values = bridge::with_context(bridge::printable(path.native()), [&] {
    return bridge::parse_json(text, {.non_finite = true});
  });
  return in(folder, [&] { return Settings("config.json", values); });
}

cuda::CodeFormat format_of(const HfTensor& tensor) {
  if (is_hf_int4(tensor)) return cuda::CodeFormat::kInt4;
  return is_hf_fp4(tensor) ? cuda::CodeFormat::kE2m1 : cuda::CodeFormat::kE4m3;
}

at::Tensor columns_of(const at::Tensor& stored, const HfColumns& columns) {
  if (columns.count == 0) return stored;
  const int64_t to_the_last = std::min(columns.count, columns.total - columns.first);
  const at::Tensor first = stored.narrow(1, columns.first, to_the_last);
  return to_the_last == columns.count
             ? first.contiguous()
             : at::cat({first, stored.narrow(1, 0, columns.count - to_the_last)}, 1);
}

class HfWeights : public Weights {
 public:
  HfWeights(bridge::FileSystem& fs, const bridge::Path& path, bridge::MemoryBudget& budget,
            bool drop_mtp)
      : fs_(fs),
        folder_(bridge::open_hf_folder(fs, path, budget)),
        settings_(read_config(fs, folder_.path)),
        drop_mtp_(drop_mtp || hf_passes_over_mtp(settings_)),
        config_(in(folder_.path, [&] { return hf_folder_config(settings_, folder_, drop_mtp_); })),
        names_(hf_folder_names(settings_, config_, folder_)),
        scales_(in(folder_.path, [&] { return HfScales(folder_, settings_); })) {
    in(folder_.path, [&] {
      check_shapes(*this);
      check_all_used();
    });
  }

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& id) override { return locate(id).shape; }
  std::vector<StoredTensor> stored() override {
    std::vector<StoredTensor> tensors;
    for (const HfTensor& tensor : folder_.tensors) {
      tensors.push_back({tensor.name, hf_element_shape(tensor), reason_not_read(tensor.name)});
    }
    mark_scales(tensors);
    return tensors;
  }
  std::vector<StoredPart> parts(const TensorId& id) override {
    const Location location = locate(id);
    return {{index_of(*location.tensor), location.first_row, location.rows, location.shape,
             location.columns.first, location.columns.total, location.transposed}};
  }
  TrainingSettings training() override {
    return in(folder_.path, [&] { return hf_training(settings_); });
  }
  std::string source(const TensorId& id) override {
    return bridge::printable(locate(id).tensor->name);
  }

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return rows(locate(id), begin, end);
  }
  at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) override {
    return rows(locate(id), begin, end, at::kFloat);
  }
  std::optional<QuantizedRows> quantized_rows(const TensorId& id, int64_t begin,
                                              int64_t end) override {
    const Location location = locate(id);
    const HfTensor& found = *location.tensor;
    const bool has_kernel = is_hf_quantized(found) && !is_hf_mxfp4(found);
    if (!has_kernel || location.columns.count > 0 || location.transposed) return std::nullopt;
    return bridge::with_context(
        [&] { return bridge::printable(found.name); },
        [&] { return with_scales(location, stored_rows(location, begin, end), begin, end); });
  }

  std::vector<Copy> copies() override {
    std::vector<Copy> found;
    for (const HfTensor& tensor : folder_.tensors) {
      if (is_hf_quantized(tensor)) continue;  // it has codes of its own, so it is no copy
      if (const auto of = names_.copy_of(tensor.name)) found.push_back({tensor.name, *of});
    }
    return found;
  }
  bridge::Shape copy_shape(const Copy& copy) override { return locate_copy(copy).shape; }
  at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) override {
    return rows(locate_copy(copy), begin, end);
  }

 private:
  struct Location {
    const HfTensor* tensor;
    int64_t first_row;    // in the stored tensor, whose first axis may be the experts' axis
    bridge::Shape shape;  // of the canonical tensor
    RowPattern rows;
    HfColumns columns = {};
    bool transposed = false;  // then first_row counts rows of the stored [in, out]
  };

  // quantized_as: the dtype of a dequantized tensor.
  at::Tensor rows(const Location& location, int64_t begin, int64_t end,
                  at::ScalarType quantized_as = at::kBFloat16) {
    const HfTensor& found = *location.tensor;
    return bridge::with_context(
        [&] { return bridge::printable(found.name); },
        [&] {
          at::Tensor out = location.transposed ? transposed_rows(location, begin, end)
                                               : stored_rows(location, begin, end);
          if (is_hf_quantized(found)) {
            const at::Tensor values = is_hf_mxfp4(found)
                                          ? mxfp4_values(location, out, begin, end)
                                          : dequantized(with_scales(location, out, begin, end));
            out = values.to(quantized_as);
          }
          return columns_of(out, location.columns);
        });
  }

  Location locate_copy(const Copy& copy) const {
    const HfTensor& tensor = *folder_.find(copy.name);
    return bridge::with_context([&] { return bridge::printable(tensor.name); },
                                [&] { return located(tensor, {copy.name}, copy.of); });
  }

  Location locate(const TensorId& id) const {
    const std::vector<HfPlace> places = names_.places(id);
    for (const HfPlace& place : places) {
      const HfTensor* tensor = find_hf_weight(folder_, place.name);
      if (tensor == nullptr) continue;
      return bridge::with_context([&] { return bridge::printable(tensor->name); },
                                  [&] { return located(*tensor, place, id); });
    }
    bridge::bad_input(fmt::format("{} is missing: the configuration asks for {}",
                                  bridge::printable(places[0].name), to_string(id)));
  }

  int64_t experts_of(const TensorId& id) const {
    const std::vector<LayerConfig>& layers =
        id.section == Section::kMtp ? config_.mtp : config_.layers;
    return std::get<MixtureOfExperts>(layers.at(static_cast<size_t>(id.index)).mlp).router.experts;
  }

  Location located(const HfTensor& tensor, const HfPlace& place, const TensorId& id) const {
    Location location{&tensor,         0, hf_element_shape(tensor), place.rows, place.columns,
                      place.transposed};
    bridge::Shape& shape = location.shape;
    if (place.expert_axis) {
      if (shape.empty() || shape[0] != experts_of(id)) {
        bridge::bad_input(fmt::format("shape {}, but its first axis should be {} experts",
                                      bridge::shape_text(tensor.shape), experts_of(id)));
      }
      shape.erase(shape.begin());
    }
    if (shape.empty()) return location;  // a number, which is never a canonical tensor
    if (place.expert_axis) location.first_row = id.expert * shape[0];
    if (place.transposed) {
      if (shape.size() != 2) {
        bridge::bad_input(
            fmt::format("shape {}, but a matrix is expected", bridge::shape_text(tensor.shape)));
      }
      std::swap(shape[0], shape[1]);
    }
    const int64_t stored = shape[0];
    if (place.rows.count == 0) {
      location.rows = {stored, 0, std::max<int64_t>(stored, 1), stored, stored};
    } else if (stored != place.rows.total) {
      bridge::bad_input(fmt::format("shape {}, but {} rows are expected",
                                    bridge::shape_text(tensor.shape), place.rows.total));
    }
    shape[0] = location.rows.count;
    if (place.columns.count == 0) return location;
    if (shape.size() != 2 || shape[1] != place.columns.total) {
      bridge::bad_input(fmt::format("shape {}, but {} columns are expected",
                                    bridge::shape_text(tensor.shape), place.columns.total));
    }
    shape[1] = place.columns.count;
    return location;
  }

  size_t index_of(const HfTensor& tensor) const {
    return static_cast<size_t>(&tensor - folder_.tensors.data());
  }

  // Empty for a tensor of the model.
  std::string reason_not_read(const std::string& name) const {
    if (names_.copy_of(name)) return "a copy that the model does not read";
    if (names_.is_unused(name)) return "not read by the model";
    return drop_mtp_ && names_.is_mtp(name) ? "not run: --mtp drop" : "";
  }

  void mark_scales(std::vector<StoredTensor>& tensors) const {
    for (const HfTensor& tensor : folder_.tensors) {
      if (!is_hf_quantized(tensor)) continue;
      const HfTensor* scale = find_hf_scales(folder_, hf_weight_name(tensor.name));
      if (scale != nullptr) tensors[index_of(*scale)].unread = "scales of a quantized tensor";
      for (const HfTensor* beside : hf_tensors_beside(folder_, hf_weight_name(tensor.name))) {
        tensors[index_of(*beside)].unread = "beside a quantized tensor, for other readers";
      }
    }
  }

  // Checks that every tensor of the folder is one of the model's, the scales of one, or known to be
  // unused.
  void check_all_used() const {
    std::vector<bool> used(folder_.tensors.size());
    const auto mark = [&](const HfTensor& found) { used[index_of(found)] = true; };
    for_each_tensor(config_, [&](const TensorId& id, const bridge::Shape&) {
      const HfTensor& found = *locate(id).tensor;
      mark(found);
      if (is_surely_linear(id, found)) {
        bridge::with_context([&] { return bridge::printable(found.name); },
                             [&] { scales_.check_linear(found); });
      }
      if (!is_hf_quantized(found)) return;
      mark(bridge::with_context([&] { return bridge::printable(found.name); },
                                [&]() -> const HfTensor& { return scales_.of(found); }));
      for (const HfTensor* beside : hf_tensors_beside(folder_, hf_weight_name(found.name))) {
        mark(*beside);
      }
    });
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i] || is_unused(folder_.tensors[i].name)) continue;
      bridge::bad_input(fmt::format("{}: the model of config.json has no such tensor",
                                    bridge::printable(folder_.tensors[i].name)));
    }
  }

  // Whether the weight is of a linear layer of this name in every library that loads the model.
  // Routers are linear layers in some versions of transformers only. No version has layers of
  // multi-token prediction, and a model of images and text has other names for its modules than for
  // its tensors.
  bool is_surely_linear(const TensorId& id, const HfTensor& found) const {
    const bool is_of_text = id.section == Section::kModel || id.section == Section::kLayer;
    return is_of_text && !settings_.has("text_config") && id.role != Role::kEmbedding &&
           id.role != Role::kRouter && found.shape.size() == 2 &&
           hf_weight_name(found.name).ends_with(".weight");
  }

  // The scales of an unused tensor are unused too, and so is what else lies beside it.
  bool is_unused(const std::string& stored) const {
    const std::string name = hf_weight_name(stored);
    return names_.is_unused(name) || (drop_mtp_ && names_.is_mtp(name));
  }

  const bridge::File& file_of(int32_t shard) {
    const auto it = files_.find(shard);
    if (it != files_.end()) return *it->second;
    if (files_.size() >= kMostOpenFiles) files_.clear();
    const bridge::Path path = folder_.path / folder_.shards[static_cast<size_t>(shard)].name;
    return *files_.emplace(shard, fs_.open_read(path)).first->second;
  }

  // Returns rows as the file stores them.
  at::Tensor stored_rows(const Location& location, int64_t begin, int64_t end) {
    const HfTensor& found = *location.tensor;
    bridge::Shape shape = location.shape;
    shape.at(0) = end - begin;
    if (location.columns.count > 0) shape.back() = location.columns.total;
    shape.back() /= hf_elements_of_number(found);
    at::Tensor out = at::empty(shape, at::TensorOptions().dtype(torch_type(found.dtype)));
    const std::span<std::byte> bytes = bytes_of(out);
    const int64_t row_bytes = static_cast<int64_t>(bytes.size()) / (end - begin);
    const int64_t payload =
        folder_.shards[static_cast<size_t>(found.shard)].payload_offset + found.begin;
    const bridge::File& file = file_of(found.shard);
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      read_in_stripes(count, row_bytes, [&](int64_t first, int64_t last) {
        file.read_at(payload + (location.first_row + stored + first) * row_bytes,
                     bytes.subspan(static_cast<size_t>((row - begin + first) * row_bytes),
                                   static_cast<size_t>((last - first) * row_bytes)));
      });
    });
    return out;
  }

  // A matrix that is stored [in, out], read whole. It is kept until the next one is read, as
  // several canonical tensors may lie in it, and each may be read in blocks.
  const at::Tensor& transposed_matrix(const Location& location) {
    if (transposed_.tensor != location.tensor || transposed_.first_row != location.first_row) {
      const int64_t in = location.shape.at(1);
      transposed_ = {};
      transposed_.matrix = stored_rows(
          {location.tensor, location.first_row, {in, location.rows.total}, {in, 0, in, in, in}}, 0,
          in);
      transposed_.tensor = location.tensor;
      transposed_.first_row = location.first_row;
    }
    return transposed_.matrix;
  }

  at::Tensor transposed_rows(const Location& location, int64_t begin, int64_t end) {
    const int64_t in = location.shape.at(1);
    const at::Tensor matrix = transposed_matrix(location).t();
    at::Tensor out = at::empty({end - begin, in}, matrix.options());
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      out.narrow(0, row - begin, count).copy_(matrix.narrow(0, stored, count));
    });
    return out;
  }

  // codes: rows [begin, end), in fp32.
  at::Tensor mxfp4_values(const Location& location, const at::Tensor& codes, int64_t begin,
                          int64_t end) {
    const HfTensor& scale = scales_.of(*location.tensor);
    const Location of_scales{&scale, location.first_row, {0, scale.shape.back()}, location.rows};
    const at::Tensor exponents = stored_rows(of_scales, begin, end).to(at::kInt) - 127;
    return at::ldexp(e2m1_values(codes).unflatten(1, {-1, kHfFp4Block.columns}),
                     exponents.unsqueeze(-1))
        .flatten(1);
  }

  // codes: rows [begin, end) of a quantized tensor of another kind.
  QuantizedRows with_scales(const Location& location, const at::Tensor& codes, int64_t begin,
                            int64_t end) {
    const HfTensor& found = *location.tensor;
    const HfTensor& scale = scales_.of(found);
    const HfBlock block = scales_.block_in(found);
    const bridge::Shape grid = scales_.grid_of(found);
    at::Tensor scale_row = at::empty({end - begin}, at::kInt);
    int32_t* block_row = scale_row.mutable_data_ptr<int32_t>();
    location.rows.for_each_run(begin, end, [&](int64_t stored, int64_t row, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        block_row[row - begin + i] = static_cast<int32_t>((stored + i) / block.rows);
      }
    });
    const auto [least, most] = std::minmax_element(block_row, block_row + (end - begin));
    const int32_t first = *least;
    const at::Tensor scales =
        stored_rows({&scale, 0, grid, {0, 0, grid[0], 0, 0}}, first, int64_t{*most} + 1);
    return {format_of(found), codes.view(at::kByte), scales, scale_row - first, block.columns};
  }

  bridge::FileSystem& fs_;
  bridge::HfFolder folder_;
  Settings settings_;
  bool drop_mtp_;
  ModelConfig config_;
  HfNames names_;
  HfScales scales_;
  std::map<int32_t, std::unique_ptr<bridge::File>> files_;
  struct Transposed {
    const HfTensor* tensor = nullptr;
    int64_t first_row = 0;
    at::Tensor matrix;
  } transposed_;
};

}  // namespace

std::unique_ptr<Weights> open_hf_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                         bridge::MemoryBudget& budget, bool drop_mtp) {
  return std::make_unique<HfWeights>(fs, path, budget, drop_mtp);
}

}  // namespace models
