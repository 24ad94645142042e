#include "bridge/convert/verify_hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/stream/compare_sink.h"
#include "bridge/convert/stream/export_reader.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/hf/safetensors.h"

namespace bridge {
namespace {

struct Sides {
  Path hf;
  Path megatron;
};

Sides tell_apart(FileSystem& fs, const Path& a, const Path& b) {
  for (const Path& path : {a, b}) {
    if (!fs.stat(path)) bad_input(printable(path.string()) + ": no such file or folder");
  }
  const bool a_megatron = looks_like_megatron(fs, a);
  const bool b_megatron = looks_like_megatron(fs, b);
  for (const auto& [path, is_megatron] : {std::pair(a, a_megatron), {b, b_megatron}}) {
    if (is_megatron || looks_like_hf_folder(fs, path)) continue;
    usage_error(
        printable(path.string()) + ": neither a Hugging Face folder nor a Megatron checkpoint",
        "verify compares one with the other");
  }
  if (a_megatron == b_megatron) {
    usage_error(fmt::format("{} and {} are both {}", printable(a.string()), printable(b.string()),
                            a_megatron ? "Megatron checkpoints" : "Hugging Face folders"),
                "verify compares one with the other; causeway-verify takes two of a kind");
  }
  return a_megatron ? Sides{b, a} : Sides{a, b};
}

class Verification {
 public:
  Verification(FileSystem& fs, const VerifyOptions& options, const Sides& sides)
      : fs_(fs), options_(options), sides_(sides), budget_(options.memory) {}

  Report run() {
    const HfFolder source = open_hf_folder(fs_, sides_.hf, budget_);
    const std::string config = (source.path / "config.json").string();
    const MegatronFolder checkpoint =
        open_megatron(fs_, sides_.megatron, options_.iteration, budget_);
    find_sidecar(checkpoint);
    keep_mtp_ = !origin_ || !origin_->mtp_was_dropped();
    CommonOptions options = options_;
    if (options.arch.empty() && origin_) options.arch = origin_->arch();
    const BoundModel model = bind_model(
        fs_, read_config(fs_, source.path), config, options, {.drop_mtp = !keep_mtp_},
        [&](const mappings::Binding& binding) { return found_mtp_depths(source, binding); },
        [&](const mappings::Binding& binding) {
          return (origin_ && origin_->head_was_left_out()) || lacks_output_layer(source, binding);
        });
    text_only_ = has_text_only(model.binding, checkpoint);
    report_.json = {{"command", "verify"},
                    {"mode", "hash"},
                    {"hf", printable(source.path.string())},
                    {"megatron", printable(checkpoint.dist_dir.string())},
                    {"table", model.binding.table().file}};
    if (!keep_mtp_) {
      report_.lines.push_back("MTP      not compared: the sidecar says --mtp drop");
      report_.json["mtp"] = "dropped";
    }
    if (model.binding.without_head()) {
      report_.lines.push_back("head     none: the model has no output layer");
      report_.json["head"] = "none";
    }
    if (text_only_) {
      report_.lines.push_back("parts    the text model only is in the checkpoint, and compared");
      report_.json["parts"] = "text";
    }
    forward(source, model.binding, checkpoint);
    if (!report_.difference) inverse(source, model.binding, checkpoint);
    report_.json["dry_run"] = options_.dry_run;
    if (!options_.dry_run) report_.json["identical"] = !report_.difference;
    report_.lines.push_back(report_.difference ? "result   DIFFERENT"
                            : options_.dry_run ? "result   no bytes compared (dry run)"
                                               : "result   identical");
    return std::move(report_);
  }

 private:
  void find_sidecar(const MegatronFolder& checkpoint) {
    const Path dir = options_.sidecar.empty() ? checkpoint.root / kSidecarFolder : options_.sidecar;
    if (fs_.stat(dir)) origin_ = find_origin(fs_, checkpoint, options_.sidecar, {}, budget_);
  }

  // The sidecar says it. Without one, keys as the text model has them on its own do.
  bool has_text_only(const mappings::Binding& binding, const MegatronFolder& checkpoint) const {
    if (!binding.has_parts() ||
        absent_parts(checkpoint, binding, {}).size() < binding.parts().size()) {
      return false;
    }
    return origin_ ? origin_->parts_were_left_out()
                   : detect_prefix(checkpoint) != binding.name_prefix();
  }

  void forward(const HfFolder& source, const mappings::Binding& binding,
               const MegatronFolder& checkpoint) {
    std::map<std::string, std::vector<TransferInput>> parts;  // by the first HF name
    Accounting source_accounting;
    const SourceMatch match = match_source(
        source, binding, {.keep_mtp = keep_mtp_, .text_only = text_only_}, source_accounting,
        [&](const MatchedTensor& tensor) {
          budget_.reserve(static_cast<int64_t>(tensor.logical.hf[0].name.size() + 128 +
                                               tensor.parts.size() * sizeof(TransferInput)),
                          "the plan");
          parts.emplace(tensor.logical.hf[0].name, tensor.parts);
        });
    source_accounting.raise_unless_clean(printable(source.path.string()), {});

    std::vector<Transfer> transfers;
    std::vector<std::string> names;
    std::vector<std::vector<RawStretch>> logical;
    std::vector<int32_t> other;
    int64_t bytes = 0;
    Accounting accounting;
    CheckpointMatchOptions match_options;
    match_options.dialect = match.dialect;
    match_options.keep_mtp = keep_mtp_;
    match_options.text_only = text_only_;
    match_options.glu_interleave = recorded_glu_interleave(checkpoint);
    if (match_options.glu_interleave == 0 && origin_) {
      match_options.glu_interleave = origin_->glu_interleave();
    }
    match_checkpoint(checkpoint, binding, match_options, accounting,
                     [&](const CheckpointTensor& tensor) {
                       Transfer transfer;
                       transfer.layout = tensor.layout;
                       transfer.inputs = parts.at(tensor.logical.hf[0].name);
                       transfer.target = static_cast<int32_t>(names.size());
                       transfer.to = tensor.found.dtype;
                       for (const auto& part : tensor.logical.hf) {
                         transfer.end += element_count(part.shape);
                       }
                       bytes += bytes_of(transfer.to, transfer.end);
                       budget_.reserve(static_cast<int64_t>(sizeof(Transfer) + 200), "the plan");
                       transfers.push_back(std::move(transfer));
                       other.push_back(static_cast<int32_t>(logical.size()));
                       logical.push_back(tensor.found.stretches);
                       names.push_back(tensor.logical.name);
                     });
    if (!accounting.clean()) {
      report_.difference = true;
      report_.lines.push_back("forward  tensors do not fit the table: " + accounting.summary());
      report_.json["accounting"] = accounting.json();
      return;
    }
    add_copies(match, source, transfers, other, names);
    HfReader reader(fs_, source);
    MegatronReader megatron(fs_, checkpoint, std::move(logical));
    CompareSink sink(megatron, std::move(other));
    compare("forward", transfers, reader, sink, bytes, {},
            [&](int32_t target) { return names[static_cast<size_t>(target)]; });
  }

  // What the conversion drops as a copy of another tensor is compared with that one's place.
  static void add_copies(const SourceMatch& match, const HfFolder& source,
                         std::vector<Transfer>& transfers, std::vector<int32_t>& other,
                         std::vector<std::string>& names) {
    for (const DroppedSource& dropped : match.dropped) {
      const auto original =
          std::find_if(transfers.begin(), transfers.end(), [&](const Transfer& transfer) {
            return transfer.inputs.size() == 1 && transfer.inputs[0].tensor == dropped.equals;
          });
      if (original == transfers.end()) continue;
      Transfer copy = *original;
      other.push_back(other[static_cast<size_t>(copy.target)]);
      copy.inputs[0].tensor = dropped.tensor;
      copy.target = static_cast<int32_t>(names.size());
      names.push_back(source.tensors[static_cast<size_t>(dropped.tensor)].name);
      transfers.push_back(std::move(copy));
    }
  }

  void inverse(const HfFolder& source, const mappings::Binding& binding,
               const MegatronFolder& checkpoint) {
    if (!origin_) {
      report_.lines.push_back("inverse  not checked: no sidecar");
      return;
    }
    const Origin& origin = *origin_;
    if (origin.sidecar->identity != source_identity(fs_, source, budget_)) {
      report_.lines.push_back("inverse  not checked: the sidecar is of another source");
      return;
    }
    ExportOptions as_export;
    as_export.keep_mtp = keep_mtp_;
    const ExportPlan plan = plan_export(checkpoint, binding, origin, as_export, fs_, budget_);
    std::vector<int32_t> other;
    for (const ExportPlan::Output& output : plan.outputs) {
      other.push_back(output.sidecar_tensor);  // same headers, so the same tensors by name
    }
    ExportReader reader(fs_, checkpoint, plan, origin);
    HfReader hf(fs_, source);
    CompareSink sink(hf, std::move(other));
    BlockCounts blocks;
    const ExecutorHooks hooks = origin_hooks(plan, origin, reader, blocks);
    compare("inverse", plan.transfers, reader, sink, plan.output_bytes, hooks,
            [&](int32_t target) { return plan.outputs[static_cast<size_t>(target)].name; });
    if (!options_.dry_run) compare_side_files(source, *origin.sidecar);
  }

  void compare(const char* direction, const std::vector<Transfer>& transfers, TensorReader& reader,
               CompareSink& sink, int64_t bytes, const ExecutorHooks& hooks,
               const std::function<std::string(int32_t)>& name_of) {
    if (options_.dry_run) {
      report_.json[direction] = {{"tensors", transfers.size()}, {"bytes", bytes}};
      report_.lines.push_back(fmt::format("{}  {} tensors, {}: match by name, shape and dtype",
                                          direction, transfers.size(), size_text(bytes)));
      return;
    }
    ExecutorOptions executor = plan_execution(options_.threads, transfers, budget_);
    executor.want_crc = false;
    Progress progress(options_.progress, options_.quiet, direction, bytes);
    execute(transfers, reader, sink, executor, hooks, progress, name_of);
    progress.finish();
    budget_.release(executor.reserved);

    report_.json[direction] = {
        {"tensors", transfers.size()}, {"bytes", bytes}, {"different", sink.differences().size()}};
    report_.lines.push_back(fmt::format("{}  {} tensors, {}: {} differ", direction,
                                        transfers.size(), size_text(bytes),
                                        sink.differences().size()));
    constexpr size_t kShown = 20;
    size_t shown = 0;
    for (const auto& [target, found] : sink.differences()) {
      difference(name_of(target),
                 fmt::format("{} elements, the first is number {}", found.elements, found.first),
                 shown++ < kShown);
    }
  }

  void compare_side_files(const HfFolder& source, const Sidecar& sidecar) {
    std::map<std::string_view, const SidecarFile*> recorded;
    for (const SidecarFile& file : sidecar.files) recorded.emplace(file.name, &file);
    for (const HfSideFile& file : source.side_files) {
      const auto it = recorded.find(file.name);
      if (it == recorded.end() || it->second->size != file.size ||
          crc_of_file(*fs_.open_read(source.path / file.name)) != it->second->crc) {
        difference(file.name, "the sidecar has other bytes");
      }
      if (it != recorded.end()) recorded.erase(it);
    }
    for (const auto& [name, file] : recorded) {
      difference(name, "only in the sidecar");
    }
  }

  void difference(std::string_view name, std::string_view what, bool shown = true) {
    report_.difference = true;
    if (shown) report_.lines.push_back(fmt::format("differs  {}: {}", printable(name), what));
    report_.json["differences"].push_back({{"name", printable(name)}, {"what", what}});
  }

  FileSystem& fs_;
  const VerifyOptions& options_;
  const Sides& sides_;
  MemoryBudget budget_;
  std::optional<Origin> origin_;  // the sidecar, where there is one
  bool keep_mtp_ = true;
  bool text_only_ = false;
  Report report_;
};

}  // namespace

Report verify_hash(FileSystem& fs, const VerifyOptions& options) {
  const Sides sides = tell_apart(fs, options.a, options.b);
  return Verification(fs, options, sides).run();
}

ConversionFacts facts_of_conversion(FileSystem& fs, const VerifyOptions& options) {
  ConversionFacts facts;
  for (const auto& [source, path] : {Sides{options.b, options.a}, {options.a, options.b}}) {
    if (!fs.stat(path) || !looks_like_megatron(fs, path)) continue;
    MemoryBudget budget(options.memory);
    const MegatronFolder checkpoint = open_megatron(fs, path, options.iteration, budget);
    const Path& sidecar = options.sidecar;
    if (!fs.stat(sidecar.empty() ? checkpoint.root / kSidecarFolder : sidecar)) {
      facts.without_parts = facts.without_parts || detect_prefix(checkpoint).empty();
      continue;
    }
    const Origin origin = find_origin(fs, checkpoint, sidecar, {}, budget);
    facts.without_mtp = facts.without_mtp || origin.mtp_was_dropped();
    facts.without_parts = facts.without_parts || origin.parts_were_left_out();
    if (!fs.stat(source) || looks_like_megatron(fs, source) || !looks_like_hf_folder(fs, source)) {
      continue;
    }
    const HfFolder folder = open_hf_folder(fs, source, budget);
    if (origin.sidecar->identity == source_identity(fs, folder, budget))
      facts.dtype = origin.dtype();
  }
  return facts;
}

}  // namespace bridge
