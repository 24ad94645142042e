#include "bridge/convert/verify_hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "bridge/convert/commit/meeting.h"
#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/match/export_config.h"
#include "bridge/convert/match/hybrid_keys.h"
#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/convert/match/stated_config.h"
#include "bridge/convert/match/statement.h"
#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/stream/compare_sink.h"
#include "bridge/convert/stream/export_reader.h"
#include "bridge/io/base/heap_cost.h"
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

// The forward direction keeps the parts of every source tensor, and a transfer for every tensor of
// the checkpoint.
using Parts = std::map<std::string, std::vector<TransferInput>>;

int64_t entry_cost(const MatchedTensor& tensor) {
  return tree_cost<Parts::value_type>() + heap_cost(tensor.logical.hf[0].name.size()) +
         heap_cost(tensor.parts.size() * sizeof(TransferInput));
}

int64_t cost_of(const Transfer& transfer, const CheckpointTensor& tensor) {
  return static_cast<int64_t>(sizeof(Transfer) + sizeof(std::string) + sizeof(int32_t) +
                              sizeof(std::vector<RawStretch>)) +
         heap_cost(transfer.inputs.size() * sizeof(TransferInput)) +
         heap_cost(tensor.logical.name.size()) +
         heap_cost(tensor.found.stretches.size() * sizeof(RawStretch));
}

class Verification {
 public:
  Verification(FileSystem& fs, const VerifyOptions& options, const Sides& sides)
      : fs_(fs), options_(options), sides_(sides), budget_(options.memory) {}

  // Runs the comparison, together with the other processes if there are any.
  HashSummary run() {
    const bool meets = options_.rank.count > 1 && !options_.dry_run;
    meeting_.emplace(fs_, meets ? beside_output(options_.report, "verify") : Path("."),
                     meets ? options_ : VerifyOptions(), budget_);
    try {
      compare_all();
      meeting_->finish();
    } catch (const Error& error) {
      meeting_->fail(error.code(), error.message());
      throw;
    } catch (...) {
      meeting_->fail(Code::kIo, "interrupted");
      throw;
    }
    return std::move(report_);
  }

 private:
  void compare_all() {
    const HfFolder source = open_hf_folder(fs_, sides_.hf, budget_);
    const std::string config = (source.path / "config.json").string();
    const MegatronFolder checkpoint =
        open_with_gpt_keys(fs_, sides_.megatron, options_.iteration, budget_);
    find_sidecar(checkpoint);
    keep_mtp_ = !origin_ || !origin_->mtp_was_dropped();
    const TableChoice table = choose_table(fs_, options_, origin_ ? &*origin_->sidecar : nullptr);
    const BoundModel model = bind_model(
        read_config(fs_, source.path), config, table, {.drop_mtp = !keep_mtp_},
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
    if (table.own) {
      report_.own_table = printable(model.binding.table().file);
      report_.json["own_table"] = true;
    }
    report_.bytes_alone = model.binding.table().about.checked.empty();
    report_.without_mtp = !keep_mtp_;
    report_.without_head = model.binding.without_head();
    report_.text_only = text_only_;
    report_.dry_run = options_.dry_run;
    if (report_.without_mtp) report_.json["mtp"] = "dropped";
    if (report_.without_head) report_.json["head"] = "none";
    if (report_.text_only) report_.json["parts"] = "text";
    compare_statement(checkpoint, model.binding);
    forward(source, model.binding, checkpoint);
    if (!report_.difference) inverse(source, model.binding, checkpoint);
    report_.json["dry_run"] = options_.dry_run;
    if (!options_.dry_run) report_.json["identical"] = !report_.difference;
  }

  void find_sidecar(const MegatronFolder& checkpoint) {
    const Path dir = options_.sidecar.empty() ? checkpoint.root / kSidecarFolder : options_.sidecar;
    if (!fs_.stat(dir)) return;
    origin_ = find_origin(fs_, checkpoint, {.sidecar = options_.sidecar}, budget_);
    for (const std::string& text : origin_->changed_files) report_.warn(text);
  }

  // True if the checkpoint holds the text model only. The sidecar says so; without one, keys that
  // lack the prefix of the multimodal model do.
  bool has_text_only(const mappings::Binding& binding, const MegatronFolder& checkpoint) const {
    if (!binding.has_parts() ||
        absent_parts(checkpoint, binding, {}).size() < binding.parts().size()) {
      return false;
    }
    return origin_ ? origin_->parts_were_left_out()
                   : detect_prefix(checkpoint) != binding.name_prefix();
  }

  // Reports every field in which the checkpoint's statement of itself contradicts config.json.
  void compare_statement(const MegatronFolder& checkpoint, const mappings::Binding& binding) {
    const Statement statement = read_statement(fs_, checkpoint, budget_);
    report_.json["statement"] = statement.of;
    report_.statement = statement.of;
    for (const mappings::FieldDifference& found : statement_differences(statement, binding)) {
      report_.different_fields.push_back(difference(found.field, difference_values(found)));
    }
  }

  void forward(const HfFolder& source, const mappings::Binding& binding,
               const MegatronFolder& checkpoint) {
    Parts parts;  // by the first HF name
    Accounting source_accounting;
    const SourceMatchOptions match_source_options = {
        .keep_mtp = keep_mtp_, .text_only = text_only_, .unlike_dtypes = true};
    const SourceMatch match = match_source(source, binding, match_source_options, source_accounting,
                                           [&](const MatchedTensor& tensor) {
                                             budget_.reserve(entry_cost(tensor), "the plan");
                                             parts.emplace(tensor.logical.hf[0].name, tensor.parts);
                                           });
    source_accounting.raise_unless_clean(printable(source.path.string()), {});

    std::vector<Transfer> transfers;
    std::vector<std::string> names;
    std::vector<std::vector<RawStretch>> logical;
    std::vector<int32_t> other;
    std::vector<HashSummary::Difference> narrowed;
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
                       note_narrowed(tensor, transfer.inputs, narrowed);
                       for (const auto& part : tensor.logical.hf) {
                         transfer.end += element_count(part.shape);
                       }
                       bytes += bytes_of(transfer.to, transfer.end);
                       budget_.reserve(cost_of(transfer, tensor), "the plan");
                       transfers.push_back(std::move(transfer));
                       other.push_back(static_cast<int32_t>(logical.size()));
                       logical.push_back(tensor.found.stretches);
                       names.push_back(tensor.logical.name);
                     });
    if (!accounting.clean()) {
      report_.difference = true;
      report_.misfit = accounting.summary();
      report_.json["accounting"] = accounting.json();
      return;
    }
    add_copies(match, source, transfers, other, names);
    HfReader reader(fs_, source);
    MegatronReader megatron(fs_, checkpoint, std::move(logical));
    CompareSink sink(megatron, std::move(other));
    report_.forward = compare({transfers,
                               reader,
                               sink,
                               {},
                               {},
                               [&](int32_t target) { return names[static_cast<size_t>(target)]; }},
                              sink, {"forward", bytes});
    if (narrowed.empty()) return;
    report_.json["forward"]["narrowed"] = narrowed.size();
    auto& different = report_.forward->different;
    different.insert(different.end(), narrowed.begin(), narrowed.end());
  }

  // A conversion keeps some tensors in a wider dtype, whatever the others are. A narrower one in
  // the checkpoint has lost bits of the source, which the comparison in its own dtype cannot show.
  void note_narrowed(const CheckpointTensor& tensor, const std::vector<TransferInput>& inputs,
                     std::vector<HashSummary::Difference>& narrowed) {
    const std::optional<Dtype> keep = tensor.logical.row->keep;
    if (!keep || tensor.found.dtype == *keep) return;
    const auto is_kept = [&](const TransferInput& input) { return input.dtype == *keep; };
    if (std::none_of(inputs.begin(), inputs.end(), is_kept)) return;
    narrowed.push_back(
        difference(tensor.logical.name,
                   fmt::format("{} in the checkpoint, {} in the source",
                               safetensors_name(tensor.found.dtype), safetensors_name(*keep))));
  }

  // Compares a tensor that the conversion drops as a copy with the place of its original.
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
      report_.inverse_not_checked = "no sidecar";
      return;
    }
    const Origin& origin = *origin_;
    if (origin.sidecar->identity != source_identity(fs_, source, budget_)) {
      report_.inverse_not_checked = "the sidecar is of another source";
      return;
    }
    ExportOptions as_export;
    as_export.keep_mtp = keep_mtp_;
    const ExportPlan plan = plan_export(checkpoint, binding, origin, as_export, fs_, budget_);
    std::vector<int32_t> other;
    for (const ExportPlan::Output& output : plan.outputs) {
      other.push_back(output.sidecar_tensor);  // the identity is the same, so the indices are too
    }
    ExportReader reader(fs_, checkpoint, plan, origin);
    HfReader hf(fs_, source);
    CompareSink sink(hf, std::move(other));
    BlockCounts blocks;
    report_.inverse =
        compare({plan.transfers,
                 reader,
                 sink,
                 {},
                 origin_hooks(plan, origin, reader, blocks),
                 [&](int32_t target) { return plan.outputs[static_cast<size_t>(target)].name; }},
                sink, {"inverse", plan.output_bytes});
    if (!options_.dry_run && meeting_->leads()) compare_side_files(source, checkpoint);
  }

  struct Task {
    const char* direction;
    int64_t bytes;
  };

  // Chooses execution.options itself.
  HashSummary::Direction compare(Execution execution, const CompareSink& sink, const Task& task) {
    HashSummary::Direction result{execution.transfers.size(), task.bytes, {}};
    report_.json[task.direction] = {{"tensors", result.tensors}, {"bytes", result.bytes}};
    if (options_.dry_run) return result;
    const TransferRange share = meeting_->share(execution.transfers);
    execution.first = static_cast<size_t>(share.first);
    execution.last = static_cast<size_t>(share.last);
    execution.options = plan_execution(options_.threads, execution.transfers, budget_);
    const int64_t bytes = options_.rank.count > 1
                              ? output_bytes(execution.transfers, execution.first, execution.last)
                              : task.bytes;
    Progress progress(options_.progress, options_.quiet, options_.rank.label(task.direction),
                      bytes);
    execute(execution, progress);
    progress.finish();
    budget_.release(execution.options.reserved);

    const Meeting::Differences differences =
        meeting_->merge(task.direction, execution.transfers, sink.differences());
    report_.json[task.direction]["different"] = differences.size();
    for (const auto& [target, found] : differences) {
      result.different.push_back(difference(
          execution.name_of(target),
          fmt::format("{} elements, the first is number {}", found.elements, found.first)));
    }
    return result;
  }

  // True if config.json is what an export of this checkpoint writes. After training that is the
  // sidecar's config.json with what the checkpoint says of itself.
  bool is_exported_config(const HfFolder& source, const MegatronFolder& checkpoint) {
    ExportOptions as_export;
    static_cast<CommonOptions&>(as_export) = options_;  // --mapping and --arch included
    as_export.keep_mtp = keep_mtp_;
    const ExportConfig config = settle_config(fs_, checkpoint, *origin_,
                                              read_statement(fs_, checkpoint, budget_), as_export);
    return read_config(fs_, source.path) == config.stated.text;
  }

  void compare_side_files(const HfFolder& source, const MegatronFolder& checkpoint) {
    const Sidecar& sidecar = *origin_->sidecar;
    std::map<std::string_view, const SidecarFile*> recorded;
    for (const SidecarFile& file : sidecar.files) recorded.emplace(file.name, &file);
    for (const HfSideFile& file : source.side_files) {
      const auto it = recorded.find(file.name);
      if (it == recorded.end() || it->second->size != file.size ||
          crc_of_file(*fs_.open_read(source.path / file.name)) != it->second->crc) {
        const bool exported = file.name == "config.json" && is_exported_config(source, checkpoint);
        if (!exported) {
          report_.different_files.push_back(difference(file.name, "the sidecar has other bytes"));
        }
      }
      if (it != recorded.end()) recorded.erase(it);
    }
    for (const auto& [name, file] : recorded) {
      report_.different_files.push_back(difference(name, "only in the sidecar"));
    }
  }

  HashSummary::Difference difference(std::string_view name, std::string what) {
    HashSummary::Difference found{printable(name), std::move(what)};
    report_.difference = true;
    report_.json["differences"].push_back({{"name", found.name}, {"what", found.what}});
    return found;
  }

  FileSystem& fs_;
  const VerifyOptions& options_;
  const Sides& sides_;
  MemoryBudget budget_;
  std::optional<Meeting> meeting_;
  std::optional<Origin> origin_;  // the sidecar, if there is one
  bool keep_mtp_ = true;
  bool text_only_ = false;
  HashSummary report_;
};

}  // namespace

HashSummary verify_hash(FileSystem& fs, const VerifyOptions& options) {
  if (options.rank.count > 1 && !options.dry_run && options.report.empty()) {
    usage_error("verify with several processes needs --report FILE",
                "they meet beside that file, in a folder that all of them see");
  }
  const Sides sides = tell_apart(fs, options.a, options.b);
  return Verification(fs, options, sides).run();
}

}  // namespace bridge
