// The steps of convert-hf: headers -> plan -> executor -> metadata files -> sidecar -> commit.
#include "bridge/convert/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "bridge/convert/commit/conversion_id.h"
#include "bridge/convert/commit/expected_hashes.h"
#include "bridge/convert/commit/journal_files.h"
#include "bridge/convert/commit/megatron_files.h"
#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/commit/replaceable.h"
#include "bridge/convert/commit/resumption.h"
#include "bridge/convert/commit/sections.h"
#include "bridge/convert/convert_summary.h"
#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/convert/plan/convert_plan.h"
#include "bridge/convert/stream/left_files.h"
#include "bridge/convert/stream/torch_dist_sink.h"
#include "bridge/convert/tensor_copy.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/file/folder_size.h"
#include "bridge/io/file/input_watch.h"
#include "bridge/io/file/paths.h"
#include "bridge/io/sidecar/sidecar.h"

namespace bridge {
namespace {

class Conversion {
 public:
  Conversion(InputWatch& fs, const ConvertOptions& options, const TableChoice& choice,
             const mappings::Binding& binding, const ConvertPlan& plan, const SidecarOrigin& origin,
             MemoryBudget& budget)
      : fs_(fs),
        options_(options),
        source_(origin.source),
        choice_(choice),
        binding_(binding),
        origin_(origin),
        plan_(plan),
        budget_(budget),
        copy_(fs, options, source_, plan, budget) {}

  // Refuses, beyond what the plan refuses, whatever can be refused before a byte is copied.
  void check() {
    expected_ = read_expected_hashes(fs_, options_.expect, source_);
    if (!options_.sidecar.empty() && lies_in_by_name(options_.sidecar, options_.target)) {
      usage_error(
          printable(options_.sidecar.string()) + ": --sidecar lies inside the output folder",
          "leave the option out: the sidecar goes to causeway/ there");
    }
    const Path iteration = options_.target / kIterationFolder;
    if (options_.overwrite_iteration && !fs_.stat(iteration)) {
      usage_error(printable(iteration.string()) + ": there is no earlier conversion to replace",
                  "leave --overwrite-iteration out");
    }
    check_sidecar(fs_, origin_, budget_);
  }

  void run() {
    PlanFacts facts = plan_facts();  // before the checks of the target read what is there
    const bool alone = options_.overwrite_iteration;  // replaces the iteration, not its root
    const auto leftover =
        options_.rank.leads() ? OutputDir::Leftover::kUndecided : OutputDir::Leftover::kOfRankZero;
    const bool has_elsewhere = !options_.sidecar.empty() || alone;
    CheckReplaceable replaces =
        replaceable(alone ? check_iteration_is_ours : check_checkpoint_is_ours);
    if (has_elsewhere) replaces = or_renamed(fs_, options_, {}, budget_, std::move(replaces));
    OutputDir output(fs_, alone ? options_.target / kIterationFolder : options_.target,
                     std::move(replaces), inputs(), leftover);
    // A sidecar elsewhere is an output of its own, committed last. A run that is killed in between
    // leaves the rest to the next one (resumption.h). Until then the iteration has an id that no
    // earlier sidecar has, whichever version wrote that sidecar.
    std::optional<OutputDir> elsewhere;
    if (has_elsewhere) {
      elsewhere.emplace(
          fs_, options_.sidecar.empty() ? options_.target / kSidecarFolder : options_.sidecar,
          or_renamed(fs_, options_, output.journal_path(), budget_,
                     replaceable(check_sidecar_is_ours)),
          inputs(), leftover);
    }
    std::vector<OutputDir*> outputs = {&output};
    if (elsewhere) outputs.push_back(&*elsewhere);
    Resumption resumption(fs_, options_, std::move(outputs), std::move(facts),
                          {plan_.transfers, cuts(), plan_.output_bytes}, budget_);
    resumption.guard([&] { write(output, elsewhere, resumption); });
    if (resumption.leads()) resumption.finish();
  }

  int64_t witness_bytes() const { return copy_.witness_bytes(); }
  FolderSize sidecar_size() const { return sidecar_size_; }

 private:
  void write(OutputDir& output, std::optional<OutputDir>& elsewhere, Resumption& resumption) {
    const bool alone = options_.overwrite_iteration;
    const Path dist_dir = alone ? output.path() : output.path() / kIterationFolder;
    const Path sidecar_dir = elsewhere ? elsewhere->path() : output.path() / kSidecarFolder;
    const std::vector<Portion> portions = resumption.start_or_go_on([&](bool anew) {
      output.require_space(output_bytes() - (anew ? 0 : size_of_folder(fs_, output.path()).bytes));
      if (!anew) return clear_small_files(alone ? Path() : output.path(), dist_dir, sidecar_dir);
      if (!alone) fs_.make_dir(dist_dir);
      if (!elsewhere) fs_.make_dir(sidecar_dir);
      if (resumption.first_portion_makes_files()) return;
      TorchDistSink(fs_, dist_dir, plan_, 0, 0, OutputFiles::kCreate).sync();
    });
    if (resumption.only_commits()) {
      resumption.commit();
      sidecar_size_ = size_of_folder(fs_, elsewhere->target());
      return;
    }

    copy_.copy(dist_dir, sidecar_dir, portions, resumption);
    fs_.check_unchanged();
    if (!resumption.leads()) return resumption.finish_part();
    if (!resumption.is_alone()) copy_.merge(sidecar_dir, resumption);
    check_expected_hashes(fs_, source_, copy_.source_crcs(), expected_);
    SidecarFacts facts = sidecar_facts();
    write_metadata_files(fs_, dist_dir, plan_, facts.id);
    facts.checkpoint_files = written_files(dist_dir);
    keep_table(fs_, sidecar_dir, choice_);
    write_sidecar(fs_, sidecar_dir, origin_, facts, budget_);
    sidecar_size_ = size_of_folder(fs_, sidecar_dir);
    if (!alone) write_root_files(fs_, output.path());
    fs_.check_unchanged();
    resumption.seal();
    resumption.commit();
  }

  std::vector<int64_t> cuts() const {
    return cuts_at_files(plan_.transfers.size(), plan_.files.size(),
                         [&](size_t transfer, std::vector<size_t>& into) {
                           const ConvertPlan::Item item = plan_.items[transfer];
                           const DcpTensor& tensor =
                               plan_.tensors[static_cast<size_t>(item.tensor)];
                           const DcpChunk& chunk = tensor.chunks[static_cast<size_t>(item.chunk)];
                           into.push_back(static_cast<size_t>(chunk.file));
                         });
  }

  PlanFacts plan_facts() const {
    PlanFacts facts;
    add_options(facts, options_);
    const auto add = [&](const char* name, int64_t value) {
      facts.push_back({name, std::to_string(value)});
    };
    add("--vocab-rows", options_.vocab_rows);
    add("--file-size", options_.file_size);
    add("--head none", options_.no_head ? 1 : 0);
    add("--layout hybrid", options_.layout == Layout::kHybrid ? 1 : 0);
    add("--overwrite-iteration", options_.overwrite_iteration ? 1 : 0);
    add("--sidecar", options_.sidecar.empty() ? 0 : 1);
    add_inputs(facts, fs_.seen(), {{"", source_.path}});
    add_headers(facts, source_);
    facts.push_back({"mapping table", binding_.table().sha256});
    std::vector<std::pair<std::string, int64_t>> files;
    for (size_t i = 0; i < plan_.files.size(); ++i) {
      files.emplace_back(plan_.files[i], plan_.file_sizes[i]);
    }
    add_layout(facts, plan_.transfers, files);
    return facts;
  }

  // Removes the small files, which this run writes again. root: empty if the output is the
  // iteration alone.
  void clear_small_files(const Path& root, const Path& dist_dir, const Path& sidecar_dir) {
    if (!root.empty()) {
      remove_all_but(fs_, root, [](const std::string& name) {
        return name == kIterationFolder || name == kSidecarFolder;
      });
    }
    const std::set<std::string> files(plan_.files.begin(), plan_.files.end());
    remove_all_but(fs_, dist_dir, [&](const std::string& name) { return files.contains(name); });
    remove_all_but(fs_, sidecar_dir, [](const std::string& name) { return name == kWitnessFile; });
  }

  CheckReplaceable replaceable(void (*check_is_ours)(FileSystem&, const Path&)) const {
    if (!options_.overwrite && !options_.overwrite_iteration) return {};
    return [this, check_is_ours](const Path& there) { check_is_ours(fs_, there); };
  }

  // Leaves checkpoint_files empty, because one of those files holds the id.
  SidecarFacts sidecar_facts() const {
    SidecarFacts facts;
    facts.identity = source_identity(fs_, source_, budget_);
    facts.tensor_crcs = copy_.source_crcs();
    facts.witness_crc = copy_.witness_crc();
    // The choices leave out how the table was chosen (record_table): only the table decides bytes.
    nlohmann::ordered_json choices = choices_of(options_, plan_, binding_);
    if (!binding_.has_parts()) choices.erase("parts");  // --parts has nothing to leave out
    facts.id = conversion_id({facts.identity, facts.tensor_crcs, binding_.table(), choices,
                              options_.file_size, origin_.version});
    return facts;
  }

  std::vector<SidecarFile> written_files(const Path& dist_dir) const {
    std::vector<SidecarFile> files;
    for (const std::string& name : origin_.checkpoint_files) {
      const auto file = fs_.open_read(dist_dir / name);
      files.push_back({name, file->size(), crc_of_file(*file)});
    }
    return files;
  }

  // Returns the source folder and, for a Hugging Face cache, the folders its symlinks lead to.
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
    for (const int32_t beside : plan_.match.beside) keep(beside);
    for (const DroppedSource& dropped : plan_.match.dropped) {
      if (dropped.equals < 0) keep(dropped.tensor);
    }
    return needed;
  }

  InputWatch& fs_;
  const ConvertOptions& options_;
  const HfFolder& source_;
  const TableChoice& choice_;
  const mappings::Binding& binding_;
  const SidecarOrigin& origin_;
  const ConvertPlan& plan_;
  MemoryBudget& budget_;
  TensorCopy copy_;
  std::map<std::string, std::string> expected_;  // SHA-256 by shard
  FolderSize sidecar_size_;
};

void describe_sidecar(ConvertSummary& report, const Conversion& conversion) {
  report.sidecar = conversion.sidecar_size();
  report.witness_bytes = conversion.witness_bytes();
  report.json["sidecar_bytes"] = report.sidecar->bytes;
  report.json["witness_bytes"] = report.witness_bytes;
}

}  // namespace

ConvertSummary convert_hf(FileSystem& file_system, const ConvertOptions& options) {
  MemoryBudget budget(options.memory);
  InputWatch fs(file_system, budget);
  const HfFolder source = open_hf_folder(fs, options.source, budget);
  for (const HfSideFile& file : source.side_files) fs.add(source.path / file.name);
  const Path config = source.path / "config.json";
  const TableChoice choice = choose_table(fs, options, nullptr);
  const BoundModel model = bind_model(
      read_config(fs, source.path), config.string(), choice,
      {.drop_mtp = !options.keep_mtp, .text_only = options.text_only},
      [&](const mappings::Binding& binding) { return found_mtp_depths(source, binding); },
      [&](const mappings::Binding& binding) {
        return options.no_head ? is_asked_for_without(source, binding)
                               : lacks_output_layer(source, binding);
      });
  const ConvertPlan plan = plan_convert(source, model.binding, options, budget);
  ConvertSummary report = describe_convert(options, source, model.binding, plan);
  nlohmann::ordered_json choices = choices_of(options, plan, model.binding);
  record_table(choice, choices);
  const SidecarOrigin origin{
      source, std::move(choices), options.version,
      std::vector<std::string>(kMetadataFiles.begin(), kMetadataFiles.end())};
  Conversion conversion(fs, options, choice, model.binding, plan, origin, budget);
  conversion.check();
  if (options.dry_run) return report;
  conversion.run();
  describe_sidecar(report, conversion);
  return report;
}

}  // namespace bridge
