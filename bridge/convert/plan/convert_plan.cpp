#include "bridge/convert/plan/convert_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "bridge/convert/algebra/layout_cache.h"
#include "bridge/convert/match/hybrid_keys.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/torch_dist/torch_item.h"

namespace bridge {
namespace {

// A logical tensor on its way into the plan.
struct Placed {
  std::string name;
  WrittenKey key;
  std::shared_ptr<const OpLayout> layout;
  std::vector<TransferInput> inputs;
  Dtype to;
  std::vector<int64_t> chunks;  // along each leading axis; [gate; up] has 2 along the first
  // The key holds rows [first_row, first_row + rows): all of them, or a part of a split.
  int64_t first_row = 0;
  int64_t rows = 0;

  Shape shape() const {
    Shape shape = layout->megatron_shape();
    shape[0] = rows;
    return shape;
  }
  int64_t chunk_count() const {
    int64_t count = 1;
    for (const int64_t on_axis : chunks) count = checked_mul(count, on_axis, "number of chunks");
    return count;
  }
};

int64_t cost_of(const Placed& tensor) {
  // Counts the name twice (here and as a key), and each transfer with its chunk, whose two shapes
  // have one more axis for the layers.
  const int64_t inputs = heap_cost(tensor.inputs.size() * sizeof(TransferInput));
  const int64_t shape = heap_cost((tensor.shape().size() + 1) * sizeof(int64_t));
  const auto chunk =
      static_cast<int64_t>(sizeof(Transfer) + sizeof(DcpChunk) + sizeof(ConvertPlan::Item)) +
      inputs + 2 * shape;
  return static_cast<int64_t>(sizeof(Placed)) + 2 * heap_cost(tensor.name.size()) + inputs +
         tensor.chunk_count() * chunk;
}

class Planner {
 public:
  Planner(const HfFolder& source, const mappings::Binding& binding, const ConvertOptions& options,
          MemoryBudget& budget)
      : source_(source),
        binding_(binding),
        options_(options),
        budget_(budget),
        layouts_(options.glu_interleave) {
    plan_.style.prefix = options.name_prefix.value_or(binding.name_prefix());
    plan_.style.per_layer = options.layer_keys == LayerKeys::kPerLayer ||
                            (options.layer_keys == LayerKeys::kAuto && binding.per_layer_keys());
    if (options.layout == Layout::kHybrid) plan_.style.hybrid = plan_.style.per_layer = true;
  }

  ConvertPlan make() {
    Accounting accounting;
    const SourceMatchOptions match = {.local_spec = options_.spec == Spec::kLocal,
                                      .keep_mtp = options_.keep_mtp,
                                      .text_only = options_.text_only,
                                      .unlike_dtypes = options_.dtype.has_value()};
    plan_.match = match_source(source_, binding_, match, accounting,
                               [&](const MatchedTensor& tensor) { place(tensor); });
    if (!accounting.clean()) {
      std::string hint = hint_for_missing_output_layer(source_, binding_, plan_.match.dialect);
      if (hint.empty()) {
        hint = fmt::format("table {} describes what is expected: see `causeway mappings show {}`",
                           binding_.table().file, binding_.table().architectures.front());
      }
      accounting.raise_unless_clean(printable(source_.path.string()), std::move(hint));
    }
    sort_by_source();
    build_tensors();
    lay_out();
    add_extra_states();
    plan_.configuration =
        make_configuration_files(binding_, options_,
                                 {.main_dtype = plan_.main_dtype,
                                  .vocab_rows = plan_.vocab_rows,
                                  .asks_for_each_layer = plan_.style.per_layer && !plan_.stacks});
    return std::move(plan_);
  }

 private:
  // Keys of a part have no prefix, and a family may be stacked even if others are not.
  KeyStyle style_of(const mappings::Family* family, const std::string& part) const {
    KeyStyle style = plan_.style;
    if (options_.layer_keys == LayerKeys::kAuto && !style.hybrid) {
      style.per_layer = binding_.per_layer_keys(family);
    }
    if (!part.empty()) style.prefix.clear();
    return style;
  }

  void place(const MatchedTensor& matched) {
    const mappings::LogicalTensor& logical = matched.logical;
    int64_t rows = 0;
    if (logical.row->op->is_vocabulary) {
      rows = target_vocab_rows(logical, options_.vocab_rows);
      plan_.vocab_rows = rows;
    }
    Placed tensor{logical.name,
                  written_key(logical, logical.name, style_of(logical.family, logical.row->part)),
                  layouts_.get(logical, rows),
                  matched.parts,
                  target_dtype(*logical.row, matched.dtype, options_.dtype),
                  logical.row->gated ? std::vector<int64_t>{2} : logical.chunks};
    if (tensor.key.axes.count > (logical.expert < 0 ? 0 : 1)) plan_.stacks = true;
    if (logical.row->op->changes_values()) plan_.converts = true;
    for (const TransferInput& input : tensor.inputs) {
      if (input.dtype != tensor.to) plan_.converts = true;
    }
    if (logical.numbers.split.empty()) {
      tensor.rows = tensor.layout->megatron_shape().at(0);
      add(std::move(tensor));
      return;
    }
    for (const mappings::SplitPart& split : logical.numbers.split) {
      tensor.rows = split.rows;
      Placed part = tensor;
      part.name += split.suffix;
      part.key.key += split.suffix;
      add(std::move(part));
      tensor.first_row += tensor.rows;
    }
  }

  void add(Placed tensor) {
    budget_.reserve(cost_of(tensor), "the plan");
    placed_.push_back(std::move(tensor));
  }

  // Orders tensors by the place of their first part in the source, so that reads are sequential.
  void sort_by_source() {
    const auto position = [&](const Placed& tensor) {
      const HfTensor& first = source_.tensors[static_cast<size_t>(tensor.inputs[0].tensor)];
      return std::pair(first.shard, first.begin);
    };
    std::stable_sort(placed_.begin(), placed_.end(),
                     [&](const Placed& a, const Placed& b) { return position(a) < position(b); });
  }

  // Makes the torch_dist tensors and their chunks. A stacked tensor collects one chunk per layer.
  void build_tensors() {
    std::map<std::string_view, int32_t> by_key;
    for (const Placed& tensor : placed_) by_key.emplace(tensor.key.key, 0);
    int32_t next = 0;
    for (auto& [key, index] : by_key) index = next++;
    plan_.tensors.resize(by_key.size());

    std::map<Dtype, int64_t> bytes_by_dtype;
    for (const Placed& tensor : placed_) {
      const int32_t index = by_key.at(tensor.key.key);
      DcpTensor& written = plan_.tensors[static_cast<size_t>(index)];
      const Shape shape = start_tensor(written, tensor);
      for (int64_t i = 0; i < tensor.chunk_count(); ++i) add_item(written, index, tensor, shape, i);
      plan_.names.push_back(tensor.name);
      const int64_t bytes = byte_size(tensor.to, tensor.shape());
      plan_.output_bytes = checked_add(plan_.output_bytes, bytes);
      bytes_by_dtype[tensor.to] += bytes;
    }
    for (const DcpTensor& tensor : plan_.tensors) check_complete(tensor);
    const auto most =
        std::max_element(bytes_by_dtype.begin(), bytes_by_dtype.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != bytes_by_dtype.end()) plan_.main_dtype = most->first;
  }

  // Gives the torch_dist tensor its key, dtype and shape, or checks them against the layers and
  // experts that came before.
  static Shape start_tensor(DcpTensor& written, const Placed& tensor) {
    Shape shape = tensor.shape();
    const LeadingAxes& axes = tensor.key.axes;
    shape.insert(shape.begin(), axes.size.begin(), axes.size.begin() + axes.count);
    if (written.key.empty()) {
      written.key = tensor.key.key;
      written.dtype = tensor.to;
      written.shape = shape;
    } else if (written.dtype != tensor.to || written.shape != shape) {
      usage_error(fmt::format("{}: {} {} cannot be stacked with layers of {} {}", tensor.name,
                              safetensors_name(tensor.to), shape_text(shape),
                              safetensors_name(written.dtype), shape_text(written.shape)),
                  "use --layer-keys per-layer, or --dtype to make the layers alike");
    }
    return shape;
  }

  void add_item(DcpTensor& written, int32_t index, const Placed& tensor, const Shape& shape,
                int64_t chunk_number) {
    DcpChunk chunk{Shape(shape.size(), 0), shape, 0, 0, 0};
    const auto rows = static_cast<size_t>(tensor.key.axes.count);
    for (size_t axis = 0; axis < rows; ++axis) {
      chunk.offsets[axis] = tensor.key.axes.index[axis];
      chunk.sizes[axis] = 1;
    }
    const int64_t of_key = element_count(tensor.shape());
    const int64_t elements = of_key / tensor.chunk_count();
    int64_t place = chunk_number;  // row-major among the chunks
    for (size_t i = tensor.chunks.size(); i-- > 0;) {
      chunk.sizes[rows + i] = shape[rows + i] / tensor.chunks[i];
      chunk.offsets[rows + i] = place % tensor.chunks[i] * chunk.sizes[rows + i];
      place /= tensor.chunks[i];
    }
    Transfer transfer;
    transfer.layout = tensor.layout;
    transfer.inputs = tensor.inputs;
    transfer.target = static_cast<int32_t>(plan_.names.size());
    transfer.to = tensor.to;
    transfer.begin = of_key / tensor.rows * tensor.first_row + chunk_number * elements;
    transfer.end = transfer.begin + elements;
    plan_.transfers.push_back(std::move(transfer));
    plan_.items.push_back({index, static_cast<int32_t>(written.chunks.size())});
    written.chunks.push_back(std::move(chunk));
  }

  // A layer that some condition leaves out would be a hole in a stacked tensor.
  static void check_complete(const DcpTensor& tensor) {
    int64_t covered = 0;
    for (const DcpChunk& chunk : tensor.chunks) covered += element_count(chunk.sizes);
    if (covered != element_count(tensor.shape)) {
      usage_error(
          fmt::format("{}: not every layer has this tensor, so it cannot be stacked", tensor.key),
          "use --layer-keys per-layer");
    }
  }

  // Gives the items their files and offsets, one after another. The shared _extra_state item comes
  // first.
  void lay_out() {
    PickleWriter none_list(2);
    none_list.empty_list().mark().none().appends();
    plan_.extra_state_item = object_item(none_list.finish(), "archive");
    start_file();
    plan_.file_sizes[0] = std::ssize(plan_.extra_state_item);
    for (const ConvertPlan::Item item : plan_.items) {
      DcpTensor& tensor = plan_.tensors[static_cast<size_t>(item.tensor)];
      DcpChunk& chunk = tensor.chunks[static_cast<size_t>(item.chunk)];
      chunk.length = tensor_item_layout(tensor.dtype, chunk.sizes).total_size();
      // Items start at multiples of 64 bytes. Payloads are aligned in the item, so also in the
      // file.
      int64_t offset = (plan_.file_sizes.back() + 63) / 64 * 64;
      if (plan_.file_sizes.back() > 0 && checked_add(offset, chunk.length) > options_.file_size) {
        start_file();
        offset = 0;
      }
      chunk.file = static_cast<int32_t>(plan_.files.size()) - 1;
      chunk.offset = offset;
      plan_.file_sizes.back() = checked_add(offset, chunk.length);
    }
  }

  void start_file() {
    plan_.files.push_back(fmt::format("__0_{}.distcp", plan_.files.size()));
    plan_.file_sizes.push_back(0);
  }

  void add_extra_states() {
    const bool local = options_.spec == Spec::kLocal;
    binding_.for_each_extra_state(local, [&](const mappings::ExtraStateModule& module) {
      if (options_.text_only && !module.state->part.empty()) return;
      add_object(extra_state_key(module, style_of(module.family, module.state->part)));
    });
    if (plan_.style.hybrid) add_object(plan_.style.prefix + std::string(kHybridOutputState));
    std::sort(plan_.objects.begin(), plan_.objects.end(),
              [](const DcpObject& a, const DcpObject& b) { return a.key < b.key; });
  }

  // An object that is the shared _extra_state item.
  void add_object(std::string key) {
    budget_.reserve(static_cast<int64_t>(sizeof(DcpObject)) + heap_cost(key.size()), "the plan");
    plan_.objects.push_back({std::move(key), 0, 0, std::ssize(plan_.extra_state_item)});
  }

  const HfFolder& source_;
  const mappings::Binding& binding_;
  const ConvertOptions& options_;
  MemoryBudget& budget_;
  LayoutCache layouts_;
  std::vector<Placed> placed_;
  ConvertPlan plan_;
};

void check_layout(const ConvertOptions& options) {
  if (options.layout != Layout::kHybrid) return;
  if (options.spec == Spec::kLocal) {
    usage_error("--layout hybrid: a HybridModel has layers of TransformerEngine only",
                "leave --spec local out");
  }
  if (options.layer_keys == LayerKeys::kStacked) {
    usage_error("--layout hybrid: the layers of a HybridModel are never stacked",
                "leave --layer-keys stacked out");
  }
}

}  // namespace

Dtype target_dtype(const mappings::Row& row, Dtype source, std::optional<Dtype> asked) {
  if (row.keep) return *row.keep;
  return asked && is_plain_float(source) ? *asked : source;
}

int64_t target_vocab_rows(const mappings::LogicalTensor& tensor, int64_t asked) {
  const int64_t rows = tensor.hf[0].shape.at(0);
  if (asked == 0) return rows;
  if (asked < rows) {
    usage_error(
        fmt::format("--vocab-rows {} is smaller than the vocabulary of {} rows", asked, rows),
        "rows would be lost: ask for as many or more");
  }
  return asked;
}

ConvertPlan plan_convert(const HfFolder& source, const mappings::Binding& binding,
                         const ConvertOptions& options, MemoryBudget& budget) {
  check_layout(options);
  refuse_interleaving(binding, options.glu_interleave);
  return Planner(source, binding, options, budget).make();
}

}  // namespace bridge
