// The steps of export-to-hf: .metadata -> origin (sidecar, reference) -> plan -> executor -> side
// files -> commit.
#include "bridge/convert/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/commit/replaceable.h"
#include "bridge/convert/commit/resumption.h"
#include "bridge/convert/commit/sections.h"
#include "bridge/convert/export_counts.h"
#include "bridge/convert/export_summary.h"
#include "bridge/convert/exported_config.h"
#include "bridge/convert/match/derived_config.h"
#include "bridge/convert/match/export_config.h"
#include "bridge/convert/match/hybrid_keys.h"
#include "bridge/convert/match/vocabulary.h"
#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/plan/export_shards.h"
#include "bridge/convert/statement_report.h"
#include "bridge/convert/stream/cast_check.h"
#include "bridge/convert/stream/export_reader.h"
#include "bridge/convert/stream/left_files.h"
#include "bridge/convert/stream/safetensors_sink.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/file/folder_size.h"
#include "bridge/io/file/input_watch.h"
#include "bridge/io/hf/hf_index.h"

namespace bridge {
namespace {

constexpr int64_t kLargestIndex = 256 << 20;
constexpr std::string_view kConfigFile = "config.json";

class Export {
 public:
  Export(InputWatch& fs, const ExportOptions& options, const MegatronFolder& checkpoint,
         const mappings::Table& table, const Origin& origin, const ExportPlan& plan,
         MemoryBudget& budget)
      : fs_(fs),
        options_(options),
        checkpoint_(checkpoint),
        table_(table),
        origin_(origin),
        plan_(plan),
        budget_(budget),
        counts_(options.dtype_asked || options.dtype.has_value(), plan) {}

  // Refuses, beyond what the plan refuses, whatever can be refused before a byte is copied. config:
  // the config.json to write; nullopt: the origin's as it is.
  void check(std::optional<std::string> config) {
    config_ = std::move(config);
    check_names();
    for (const OriginFile& file : origin_.side_files) {
      if (!is_index(file)) fs_.open_read(file.path);
    }
    if (plan_.index_verbatim) fs_.open_read(origin_.index_path());
  }

  void run(ExportSummary& report) {
    PlanFacts facts = plan_facts();  // before the checks of the target read what is there
    OutputDir output(
        fs_, options_.target, replaceable(), inputs(),
        options_.rank.leads() ? OutputDir::Leftover::kUndecided : OutputDir::Leftover::kOfRankZero);
    Resumption resumption(fs_, options_, {&output}, std::move(facts),
                          {plan_.transfers, cuts(), plan_.output_bytes}, budget_);
    resumption.guard([&] { write(output, resumption); });
    if (!resumption.leads()) return;
    resumption.finish();
    counts_.describe(report);
    for (std::string& text : warnings_) report.warn(std::move(text));
  }

 private:
  void write(OutputDir& output, Resumption& resumption) {
    const std::vector<Portion> portions = resumption.start_or_go_on([&](bool anew) {
      output.require_space(output_bytes() - (anew ? 0 : size_of_folder(fs_, output.path()).bytes));
      if (!anew) return clear_small_files(output.path());
      if (resumption.first_portion_makes_files()) return;
      SafetensorsSink(fs_, output.path(), plan_, origin_, OutputFiles::kCreate, budget_).sync();
    });
    copy_tensors(output.path(), portions, resumption);
    fs_.check_unchanged();
    if (!resumption.leads()) return resumption.finish_part();
    if (!resumption.is_alone()) merge(resumption);
    copy_side_files(output.path());
    write_index(output.path());
    fs_.check_unchanged();
    resumption.commit();
  }

  // A shard holds its tensors and their scales, but a scale may lie in another shard than its
  // tensor.
  std::vector<int64_t> cuts() const {
    const auto shard_of = [&](int32_t output) {
      return static_cast<size_t>(plan_.outputs[static_cast<size_t>(output)].shard);
    };
    return cuts_at_files(plan_.transfers.size(), plan_.shards.size(),
                         [&](size_t index, std::vector<size_t>& into) {
                           const Transfer& transfer = plan_.transfers[index];
                           into.push_back(shard_of(transfer.target));
                           if (!transfer.requantize) return;
                           into.push_back(shard_of(transfer.requantize->scale_target));
                         });
  }

  std::vector<Path> inputs() const {
    std::vector<Path> paths = {checkpoint_.root, checkpoint_.dist_dir};
    if (origin_.sidecar) paths.push_back(origin_.sidecar->path);
    if (origin_.reference) paths.push_back(origin_.reference->path);
    if (!options_.tokenizer.empty()) paths.push_back(options_.tokenizer);
    return paths;
  }

  CheckReplaceable replaceable() const {
    if (!options_.overwrite) return {};
    return [this](const Path& there) {
      std::set<std::string> names = {std::string(kConfigFile), std::string(kIndexFile)};
      for (const ExportPlan::Shard& shard : plan_.shards) names.insert(shard.name);
      for (const OriginFile& file : origin_.side_files) names.insert(file.name);
      check_model_is_ours(fs_, there, names);
    };
  }

  PlanFacts plan_facts() const {
    PlanFacts facts;
    add_options(facts, options_);
    facts.push_back({"--vocab-rows", std::to_string(options_.vocab_rows)});
    facts.push_back({"--max-shard-size", std::to_string(options_.max_shard_size)});
    std::vector<InputRoot> roots = {{"", checkpoint_.dist_dir}, {"", checkpoint_.root}};
    if (origin_.sidecar) roots.push_back({"sidecar ", origin_.sidecar->path});
    if (origin_.reference) {
      roots.push_back({"reference ", origin_.reference->path});
      add_headers(facts, *origin_.reference);
    }
    if (!options_.tokenizer.empty()) roots.push_back({"tokenizer ", options_.tokenizer});
    add_inputs(facts, fs_.seen(), roots);
    facts.push_back({"mapping table", table_.sha256});
    std::vector<std::pair<std::string, int64_t>> files;
    for (const ExportPlan::Shard& shard : plan_.shards) files.emplace_back(shard.name, shard.size);
    add_layout(facts, plan_.transfers, files);
    return facts;
  }

  // Removes the small files, which this run writes again.
  void clear_small_files(const Path& dir) {
    std::set<std::string> shards;
    for (const ExportPlan::Shard& shard : plan_.shards) shards.insert(shard.name);
    remove_all_but(fs_, dir, [&](const std::string& name) { return shards.contains(name); });
  }

  static bool is_index(const OriginFile& file) { return file.name == kIndexFile; }
  bool is_own_config(const OriginFile& file) const {
    return config_.has_value() && file.name == kConfigFile;
  }

  // Requires that every file has a path of its own and that none is the folder of another.
  void check_names() const {
    std::set<std::string> names;
    const auto add = [&](const std::string& name) {
      if (!names.insert(name).second) clash(name);
    };
    for (const ExportPlan::Shard& shard : plan_.shards) add(shard.name);
    if (config_) add(std::string(kConfigFile));
    for (const OriginFile& file : origin_.side_files) {
      if (!is_index(file) && !is_own_config(file)) add(file.name);
    }
    if (plan_.index_verbatim || plan_.needs_index) add(std::string(kIndexFile));
    for (const std::string& name : names) {
      for (Path folder = Path(name).parent_path(); !folder.empty(); folder = folder.parent_path()) {
        if (names.contains(folder.native())) clash(folder.native());
      }
    }
  }

  [[noreturn]] static void clash(const std::string& name) {
    bad_input(printable(name) + ": a shard to write, or its folder, has the name of a side file",
              "rename the side file in the origin, or choose another --max-shard-size");
  }

  int64_t output_bytes() const {
    int64_t needed = 0;
    for (const ExportPlan::Shard& shard : plan_.shards) needed += shard.size;
    return needed;
  }

  void copy_tensors(const Path& dir, const std::vector<Portion>& portions, Resumption& resumption) {
    int64_t bytes = 0;
    for (const Portion& portion : portions) {
      bytes += bridge::output_bytes(plan_.transfers, static_cast<size_t>(portion.first),
                                    static_cast<size_t>(portion.last));
    }
    const int64_t total = options_.rank.count > 1 ? bytes : plan_.output_bytes;
    Progress progress(options_.progress, options_.quiet, options_.rank.label("export"), total);
    progress.start_at(total - bytes);
    for (const Portion& portion : portions) {
      resumption.begin(portion);
      copy_portion(dir, portion, resumption, progress);
    }
    progress.finish();
  }

  void copy_portion(const Path& dir, const Portion& portion, Resumption& resumption,
                    Progress& progress) {
    const std::optional<Watermark>& before = portion.before;
    counts_.clear();
    // The sink writes headers, so it comes before the buffers take what is left of the budget.
    SafetensorsSink sink(
        fs_, dir, plan_, origin_,
        resumption.first_portion_makes_files() ? OutputFiles::kCreate : OutputFiles::kTakeUp,
        budget_);
    const ExecutorOptions executor = plan_execution(options_.threads, plan_.transfers, budget_);
    ExportReader reader(fs_, checkpoint_, plan_, origin_);
    if (before) {
      check_written(sink, *before, dir);
      counts_.add(before->counts);
      reader.items().restore(before->open, without_crc(*before));
    }
    const Resumption::Wait wait(resumption);
    ExecutorHooks hooks = origin_hooks(plan_, origin_, reader, counts_.blocks());
    hooks.on_slice = [this, witnesses = std::move(hooks.on_slice)](const SliceView& slice) {
      if (witnesses) witnesses(slice);
      counts_.casts().see(slice);
    };
    hooks.overflow_hint = overflow_hint;
    hooks.on_watermark = [&](size_t next) {
      Watermark mark;
      mark.open = reader.items().open_parts();
      mark.checked = static_cast<int64_t>(sink.crc_from());
      mark.written_crc = sink.take_crc();
      if (!resumption.wants(next)) return;
      if (mark.open.size() > kMostOpenParts && !resumption.needs(next)) return;
      mark.next = static_cast<int64_t>(next);
      for (const int64_t item : reader.items().take_without_crc()) {
        mark.complete.push_back({item, 0});
      }
      mark.counts = counts_.numbers();
      resumption.record(
          std::move(mark), [&sink] { sink.sync(); }, executor.threads > 1);
    };
    // What this portion has read parts of may be read by another process: merge() reads the rest.
    execute({plan_.transfers, reader, sink, executor, hooks,
             [&](int32_t target) { return plan_.outputs[static_cast<size_t>(target)].name; },
             static_cast<size_t>(portion.first), options_.watermark_bytes,
             static_cast<size_t>(portion.last), resumption.is_alone()},
            progress);
    resumption.wait();
    budget_.release(executor.reserved);
    if (resumption.is_alone()) warn_without_crc(reader.items_without_crc());
  }

  // Makes what all processes and runs have counted into what one would have, and verifies the items
  // of the checkpoint that several of them have read.
  void merge(Resumption& resumption) {
    counts_.clear();
    std::vector<NumberedPart> open;
    std::vector<int64_t> items;
    for (const Journal& journal : resumption.gather()) {
      const Watermark& last = *journal.last;
      counts_.add(last.counts);
      open.insert(open.end(), last.open.begin(), last.open.end());
      const std::vector<int64_t> more = without_crc(last);
      items.insert(items.end(), more.begin(), more.end());
    }
    ExportReader reader(fs_, checkpoint_, plan_, origin_);
    reader.items().restore(without_overlaps(std::move(open)), items);
    reader.finish();
    warn_without_crc(reader.items_without_crc());
  }

  // Two processes may have read the same bytes, for tensors that repeat each other. A part that
  // overlaps another is left out; the reader reads what is missing then.
  static std::vector<NumberedPart> without_overlaps(std::vector<NumberedPart> parts) {
    std::sort(parts.begin(), parts.end(), [](const NumberedPart& a, const NumberedPart& b) {
      return std::pair(a.number, a.part.offset) < std::pair(b.number, b.part.offset);
    });
    std::vector<NumberedPart> kept;
    for (const NumberedPart& next : parts) {
      const bool overlaps = !kept.empty() && kept.back().number == next.number &&
                            next.part.offset - kept.back().part.offset < kept.back().part.length;
      if (!overlaps) kept.push_back(next);
    }
    return kept;
  }

  static std::vector<int64_t> without_crc(const Watermark& mark) {
    std::vector<int64_t> items;
    items.reserve(mark.complete.size());
    for (const NumberedCrc& item : mark.complete) items.push_back(item.number);
    return items;
  }

  void warn_without_crc(int64_t items) {
    if (items == 0) return;
    warnings_.push_back(fmt::format(
        "{} tensors of the checkpoint were written without CRCs: damage in them goes unseen",
        items));
  }

  void copy_side_files(const Path& dir) {
    if (config_) write_whole_file(fs_, dir / kConfigFile, *config_);
    for (const OriginFile& file : origin_.side_files) {
      if (is_index(file) || is_own_config(file)) continue;
      make_dirs(fs_, (dir / file.name).parent_path());
      copy_file(fs_, file.path, dir / file.name);
    }
  }

  // The index belongs to the shards, whose map may come from elsewhere than the side files.
  void write_index(const Path& dir) {
    if (plan_.index_verbatim) {
      copy_file(fs_, origin_.index_path(), dir / kIndexFile);
    } else if (plan_.needs_index) {
      write_whole_file(fs_, dir / kIndexFile, make_index(plan_, total_parameters()));
    }
  }

  // Returns the number of parameters that transformers 5 writes into the index: the origin's,
  // changed by what the export adds and leaves out. nullopt: the origin's index has none.
  std::optional<int64_t> total_parameters() const {
    const HfFolder* layout = origin_.layout();
    if (layout == nullptr || !layout->has_index || !fs_.stat(origin_.index_path())) return {};
    Reservation text(&budget_, "the origin's index");
    text.grow(fs_.open_read(origin_.index_path())->size());
    const auto before =
        total_parameters_of_index(read_whole_file(fs_, origin_.index_path(), kLargestIndex));
    if (!before) return {};
    return *before + added_parameters(plan_, *layout);
  }

  InputWatch& fs_;
  const ExportOptions& options_;
  const MegatronFolder& checkpoint_;
  const mappings::Table& table_;
  const Origin& origin_;
  std::optional<std::string> config_;
  const ExportPlan& plan_;
  MemoryBudget& budget_;
  ExportCounts counts_;
  std::vector<std::string> warnings_;
};

int64_t padding_rows_of(const MegatronFolder& checkpoint, const ExportConfig& config,
                        const Origin& origin, const ExportOptions& options,
                        const ExportPlan& plan) {
  if (plan.match.vocab_rows == 0) return 0;
  return with_context([&] { return printable(checkpoint.dist_dir.string()); },
                      [&] {
                        return padding_rows(config.statement,
                                            {.config = plan.match.config_vocab_rows,
                                             .stored = plan.match.vocab_rows,
                                             .recorded = origin.vocab_rows(),
                                             .asked = options.vocab_rows});
                      });
}

}  // namespace

ExportSummary export_to_hf(FileSystem& file_system, const ExportOptions& asked) {
  ExportOptions options = asked;
  MemoryBudget budget(options.memory);
  InputWatch fs(file_system, budget);
  const MegatronFolder checkpoint =
      open_with_gpt_keys(fs, options.source, options.iteration, budget);
  for (const std::string& name : checkpoint.metadata.files) fs.add(checkpoint.dist_dir / name);
  Statement said = read_statement(fs, checkpoint, budget);
  const Origin origin = find_origin(fs, checkpoint,
                                    {.sidecar = options.sidecar,
                                     .reference = options.reference,
                                     .tokenizer = options.tokenizer,
                                     .may_be_none = can_derive_config(said)},
                                    budget);
  for (const OriginFile& file : origin.side_files) fs.add(file.path);
  const ExportConfig config = settle_config(fs, checkpoint, origin, std::move(said), options);
  options.keep_mtp = config.keep_mtp;
  const mappings::Binding& binding = config.stated.model.binding;
  const ExportPlan plan = plan_export(checkpoint, binding, origin, options, fs, budget);
  const ConfigChanges changes = config_changes(options, config, origin, plan);
  StatementSummary statement = summarize_statement(config);
  statement.padding_rows = padding_rows_of(checkpoint, config, origin, options, plan);
  statement.kept_rows = plan.match.vocab_rows - statement.padding_rows;
  if (!options.dtype) statement.dtype = changes.dtype;
  ExportSummary report = describe_export(options, checkpoint, binding, origin, plan);
  record_statement(statement, report.json);
  report.statement = std::move(statement);
  Export exported(fs, options, checkpoint, binding.table(), origin, plan, budget);
  exported.check(own_config(config.stated.text, binding, plan, changes));
  if (!options.dry_run) exported.run(report);
  return report;
}

}  // namespace bridge
