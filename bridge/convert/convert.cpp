// The road: headers -> plan -> executor -> metadata files -> sidecar -> commit.
#include "bridge/convert/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/commit/expected_hashes.h"
#include "bridge/convert/commit/megatron_files.h"
#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/convert/plan/convert_plan.h"
#include "bridge/convert/stream/source_crcs.h"
#include "bridge/convert/stream/torch_dist_sink.h"
#include "bridge/convert/stream/witness_check.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/folder_size.h"
#include "bridge/io/sidecar/sidecar.h"
#include "mappings/megatron/megatron_args.h"

namespace bridge {
namespace {

std::string_view short_dtype(Dtype dtype) {
  return dtype == Dtype::kBF16 ? "bf16" : dtype == Dtype::kF16 ? "fp16" : "fp32";
}

nlohmann::ordered_json choices_of(const ConvertOptions& options, const ConvertPlan& plan,
                                  const mappings::Binding& binding) {
  nlohmann::ordered_json choices = {
      {"table", binding.table().file},
      {"spec", options.spec == Spec::kTe ? "te" : "local"},
      {"layer_keys", plan.style.per_layer ? "per-layer" : "stacked"},
      {"name_prefix", plan.style.prefix},
      {"vocab_rows", plan.vocab_rows},
      {"glu_interleave", options.glu_interleave},
      {"dtype", options.dtype ? nlohmann::ordered_json(short_dtype(*options.dtype)) : "source"},
      {"mtp", options.keep_mtp ? "keep" : "drop"},
      {"parts", options.text_only ? "text" : "all"}};
  if (binding.without_head()) choices["head"] = "none";
  if (!options.arch.empty()) choices["arch"] = options.arch;
  return choices;
}

// Source tensors no row writes (scales among them): read once, so that their CRCs are known, and kept or compared.
class DroppedTensors {
 public:
  DroppedTensors(const HfFolder& source, TensorReader& reader, SourceCrcs& crcs)
      : source_(source), reader_(reader), crcs_(crcs), a_(kPiece), b_(kPiece) {}

  void keep(int32_t tensor, WitnessWriter& witnesses) {
    for_each_piece(tensor, [&](int64_t begin, std::span<const std::byte> bytes) {
      witnesses.append({tensor, begin, bytes});
    });
  }

  void compare(const DroppedSource& dropped) {
    for_each_piece(dropped.tensor, [&](int64_t begin, std::span<const std::byte> bytes) {
      const std::span<std::byte> other(b_.data(), bytes.size());
      reader_.read(static_cast<size_t>(dropped.equals), begin, other);
      if (!std::equal(bytes.begin(), bytes.end(), other.begin())) {
        bad_input(fmt::format("{}: differs from {}, which it should repeat ({})",
                              name(dropped.tensor), name(dropped.equals), dropped.reason),
                  dropped.of_mtp
                      ? "--mtp drop converts the model without MTP (Megatron-Core's MTP layer "
                        "has no embedding and output layer of its own)"
                      : "if both are meant, the configuration should not tie them");
      }
    });
  }

 private:
  static constexpr size_t kPiece = 64 << 10;

  std::string name(int32_t tensor) const {
    return printable(source_.tensors[static_cast<size_t>(tensor)].name);
  }

  template <typename Fn>
  void for_each_piece(int32_t index, Fn&& fn) {
    const HfTensor& tensor = source_.tensors[static_cast<size_t>(index)];
    const int64_t size = tensor.end - tensor.begin;
    for (int64_t begin = 0; begin < size; begin += static_cast<int64_t>(kPiece)) {
      const auto length = std::min(kPiece, static_cast<size_t>(size - begin));
      const std::span<std::byte> bytes(a_.data(), length);
      reader_.read(static_cast<size_t>(index), begin, bytes);
      crcs_.add(static_cast<size_t>(index), begin, static_cast<int64_t>(length), crc32(bytes));
      fn(begin, bytes);
    }
  }

  const HfFolder& source_;
  TensorReader& reader_;
  SourceCrcs& crcs_;
  std::vector<std::byte> a_;
  std::vector<std::byte> b_;
};

void describe_parts(Report& report, const SourceMatch& match) {
  report.json["parts_left_out"] = nlohmann::ordered_json::object();
  for (const PartLeftOut& left : match.parts) {
    if (left.missing > 0) {
      report.warn(fmt::format("{}: {} tensors that config.json promises are not in the source",
                              left.part, left.missing));
    }
    report.json["parts_left_out"][left.part] = {{"tensors", left.tensors},
                                                {"missing", left.missing}};
  }
}

void describe(Report& report, const ConvertOptions& options, const HfFolder& source,
              const mappings::Binding& binding, const ConvertPlan& plan) {
  const auto output = std::accumulate(plan.file_sizes.begin(), plan.file_sizes.end(), int64_t{0});
  report.lines.push_back(fmt::format("source   {}: {} tensors in {} shards, {}",
                                     printable(source.path.string()), source.tensors.size(),
                                     source.shards.size(), size_text(source.total_bytes)));
  report.lines.push_back(fmt::format("table    {} ({})", binding.table().file,
                                     plan.style.per_layer ? "per-layer keys" : "stacked layers"));
  report.lines.push_back(fmt::format("target   {}: {} tensors in {} files, {}",
                                     printable(options.target.string()), plan.tensors.size(),
                                     plan.files.size(), size_text(output)));
  nlohmann::ordered_json dropped = nlohmann::ordered_json::array();
  std::vector<NamedReason> named;
  for (const DroppedSource& item : plan.match.dropped) {
    named.push_back(
        {printable(source.tensors[static_cast<size_t>(item.tensor)].name), item.reason});
    dropped.push_back({{"name", named.back().name}, {"reason", item.reason}});
  }
  report.list("dropped ", named);
  for (const std::string& prefix : plan.match.mtp_prefixes) {
    report.lines.push_back(fmt::format("dropped  {} tensors {}*: --mtp drop",
                                       tensors_with_prefix(source, prefix).size(),
                                       printable(prefix)));
  }
  if (!plan.match.scales.empty()) {
    report.lines.push_back(
        fmt::format("fp8      {} tensors become {}; their scales go to the sidecar",
                    plan.match.scales.size(), safetensors_name(plan.main_dtype)));
  }
  for (const HfSideFile& file : source.large_side_files) {
    report.warn(fmt::format(
        "{} ({}) is too large to be carried in the sidecar; an export takes it from --reference",
        printable(file.name), size_text(file.size)));
  }
  for (const std::string& text : binding.warnings()) report.warn(text);
  if (binding.without_head()) {
    report.warn(
        "no output layer in the source: the checkpoint has none, and its configuration says that "
        "Megatron is to use the embedding instead (hidden states are the model's, logits are not)");
  }
  report.json = {{"command", "convert-hf"},
                 {"source", printable(source.path.string())},
                 {"target", printable(options.target.string())},
                 {"table", binding.table().file},
                 {"dialect", plan.match.dialect + 1},
                 {"dialects", binding.dialect_count()},
                 {"choices", choices_of(options, plan, binding)},
                 {"source_tensors", source.tensors.size()},
                 {"source_bytes", source.total_bytes},
                 {"target_tensors", plan.tensors.size()},
                 {"target_files", plan.files.size()},
                 {"target_tensor_bytes", plan.output_bytes},
                 {"target_bytes", output},
                 {"dropped", dropped},
                 {"dropped_mtp_tensors", plan.match.mtp.size()},
                 {"quantized_tensors", plan.match.scales.size()},
                 {"dry_run", options.dry_run}};
  describe_parts(report, plan.match);
  describe_beside_model(report, source);
}

class Conversion {
 public:
  Conversion(FileSystem& fs, const ConvertOptions& options, const HfFolder& source,
             const mappings::Binding& binding, const ConvertPlan& plan, MemoryBudget& budget)
      : fs_(fs),
        options_(options),
        source_(source),
        binding_(binding),
        plan_(plan),
        budget_(budget),
        reader_(fs, source),
        crcs_(source, plan.match.mtp) {}

  void run() {
    const auto expected = read_expected_hashes(fs_, options_.expect, source_);
    refuse_sidecar_in_target();
    if (options_.overwrite) refuse_to_replace_others(fs_, options_.target);
    OutputDir output(fs_, options_.target, options_.overwrite, inputs());
    // Elsewhere, the sidecar is an output of its own; it is committed first, so that a finished checkpoint has one.
    std::optional<OutputDir> elsewhere;
    if (!options_.sidecar.empty()) {
      if (options_.overwrite) refuse_to_replace_others(fs_, options_.sidecar);
      elsewhere.emplace(fs_, options_.sidecar, options_.overwrite, inputs());
    }
    output.require_space(output_bytes());
    const Path dist_dir = output.path() / kIterationFolder;
    const Path sidecar_dir = elsewhere ? elsewhere->path() : output.path() / kSidecarFolder;
    fs_.make_dir(dist_dir);
    if (!elsewhere) fs_.make_dir(sidecar_dir);

    copy_tensors(dist_dir, sidecar_dir);
    check_expected_hashes(fs_, source_, expected);
    mappings::Json provider = binding_.megatron_config(short_dtype(plan_.main_dtype));
    // Nothing else in the checkpoint tells the order of these rows; the arguments have it from here.
    if (options_.glu_interleave > 0) {
      provider["moe_mlp_glu_interleave_size"] = options_.glu_interleave;
    }
    mappings::ArgsOptions args;
    args.padded_vocab_size = plan_.vocab_rows;
    args.local_spec = options_.spec == Spec::kLocal;
    write_metadata_files(fs_, dist_dir, plan_, provider, mappings::megatron_args(provider, args));
    write_sidecar(fs_, sidecar_dir, source_, choices_of(options_, plan_, binding_),
                  options_.version, crcs_.values(), has_witnesses_, witness_crc_, budget_);
    sidecar_size_ = size_of_folder(fs_, sidecar_dir);
    write_root_files(fs_, output.path());
    if (elsewhere) elsewhere->commit();
    output.commit();
  }

  int64_t witness_bytes() const { return witness_bytes_; }
  FolderSize sidecar_size() const { return sidecar_size_; }

 private:
  void refuse_sidecar_in_target() const {
    if (options_.sidecar.empty()) return;
    const Path target = std::filesystem::absolute(options_.target).lexically_normal();
    const Path sidecar = std::filesystem::absolute(options_.sidecar).lexically_normal();
    const auto [rest, unused] =
        std::mismatch(target.begin(), target.end(), sidecar.begin(), sidecar.end());
    if (rest == target.end()) {
      usage_error(
          printable(options_.sidecar.string()) + ": --sidecar lies inside the output folder",
          "leave the option out: the sidecar goes to causeway/ there");
    }
  }

  // The folder itself and, for a Hugging Face cache, the folder its symlinks lead to.
  std::vector<Path> inputs() const {
    std::vector<Path> paths = {source_.path};
    for (const HfShard& shard : source_.shards) {
      const Path parent = fs_.real_path(source_.path / shard.name).parent_path();
      if (std::find(paths.begin(), paths.end(), parent) == paths.end()) paths.push_back(parent);
    }
    return paths;
  }

  int64_t output_bytes() const {
    int64_t needed = std::accumulate(plan_.file_sizes.begin(), plan_.file_sizes.end(), int64_t{0});
    for (const HfSideFile& file : source_.side_files) needed += file.size;
    for (const HfShard& shard : source_.shards) needed += shard.payload_offset;
    const auto keep = [&](int32_t index) {
      const HfTensor& tensor = source_.tensors[static_cast<size_t>(index)];
      needed += tensor.end - tensor.begin;
    };
    for (const int32_t scales : plan_.match.scales) keep(scales);
    for (const DroppedSource& dropped : plan_.match.dropped) {
      if (dropped.equals < 0) keep(dropped.tensor);
    }
    return needed;
  }

  void copy_tensors(const Path& dist_dir, const Path& sidecar_dir) {
    std::optional<WitnessWriter> witnesses;
    has_witnesses_ =
        plan_.converts || std::any_of(plan_.match.dropped.begin(), plan_.match.dropped.end(),
                                      [](const DroppedSource& d) { return d.equals < 0; });
    if (has_witnesses_) witnesses.emplace(fs_, sidecar_dir / "witnesses.bin");
    {
      DroppedTensors dropped(source_, reader_, crcs_);
      for (const DroppedSource& item : plan_.match.dropped) {
        item.equals < 0 ? dropped.keep(item.tensor, *witnesses) : dropped.compare(item);
      }
      for (const int32_t scales : plan_.match.scales) dropped.keep(scales, *witnesses);
    }
    const ExecutorOptions executor = plan_execution(options_.threads, plan_.transfers, budget_);
    ExecutorHooks hooks;
    hooks.on_read = [&](size_t index, int64_t begin, int64_t length, uint32_t crc) {
      crcs_.add(index, begin, length, crc);
    };
    if (plan_.converts) {
      hooks.on_slice = [&](const SliceView& slice) { write_witnesses(slice, *witnesses); };
      hooks.on_error = [&] { witnesses->abort(); };
    }
    TorchDistSink sink(fs_, dist_dir, plan_);
    Progress progress(options_.progress, options_.quiet, "convert", plan_.output_bytes);
    execute(plan_.transfers, reader_, sink, executor, hooks, progress,
            [&](int32_t target) { return plan_.names[static_cast<size_t>(target)]; });
    progress.finish();
    budget_.release(executor.reserved);
    if (witnesses) {
      witness_crc_ = witnesses->finish();
      witness_bytes_ = witnesses->size();
    }
  }

  FileSystem& fs_;
  const ConvertOptions& options_;
  const HfFolder& source_;
  const mappings::Binding& binding_;
  const ConvertPlan& plan_;
  MemoryBudget& budget_;
  HfReader reader_;
  SourceCrcs crcs_;
  bool has_witnesses_ = false;
  uint32_t witness_crc_ = 0;
  int64_t witness_bytes_ = 0;
  FolderSize sidecar_size_;
};

void describe_sidecar(Report& report, const Conversion& conversion) {
  const FolderSize size = conversion.sidecar_size();
  std::string line = fmt::format("sidecar  {} in {} files", size_text(size.bytes), size.files);
  if (conversion.witness_bytes() > 0) {
    line += fmt::format(", {} of them source bytes that the target cannot hold",
                        size_text(conversion.witness_bytes()));
  }
  report.lines.push_back(std::move(line));
  report.json["sidecar_bytes"] = size.bytes;
  report.json["witness_bytes"] = conversion.witness_bytes();
}

}  // namespace

Report convert_hf(FileSystem& fs, const ConvertOptions& options) {
  MemoryBudget budget(options.memory);
  const HfFolder source = open_hf_folder(fs, options.source, budget);
  const Path config = source.path / "config.json";
  const BoundModel model = bind_model(
      fs, read_config(fs, source.path), config.string(), options,
      {.drop_mtp = !options.keep_mtp, .text_only = options.text_only},
      [&](const mappings::Binding& binding) { return found_mtp_depths(source, binding); },
      [&](const mappings::Binding& binding) {
        return options.no_head ? is_asked_for_without(source, binding)
                               : lacks_output_layer(source, binding);
      });
  const ConvertPlan plan = plan_convert(source, model.binding, options, budget);
  Report report;
  describe(report, options, source, model.binding, plan);
  if (options.dry_run) return report;
  Conversion conversion(fs, options, source, model.binding, plan, budget);
  conversion.run();
  describe_sidecar(report, conversion);
  report.lines.push_back(fmt::format(
      "next     Megatron-LM needs more than --use-checkpoint-args: `causeway inspect {} "
      "--megatron-args` prints it",
      printable(options.target.string())));
  return report;
}

}  // namespace bridge
