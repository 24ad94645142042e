#include "bridge/convert/tensor_copy.h"

#include <algorithm>
#include <utility>

#include "bridge/convert/commit/journal.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/stream/dropped_tensors.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/convert/stream/torch_dist_sink.h"
#include "bridge/convert/stream/witness_check.h"
#include "bridge/io/sidecar/sidecar.h"

namespace bridge {
namespace {

// Each journal has witnesses of its own. Those of the first are the file of the sidecar, to which
// merge() adds the others in order.
Path witness_path(const Path& sidecar_dir, int64_t journal, const Resumption& resumption) {
  return journal == 0 ? sidecar_dir / kWitnessFile : resumption.witness_path(journal);
}

}  // namespace

void TensorCopy::copy(const Path& dist_dir, const Path& sidecar_dir,
                      const std::vector<Portion>& portions, Resumption& resumption) {
  int64_t bytes = 0;
  for (const Portion& portion : portions) {
    bytes += output_bytes(plan_.transfers, static_cast<size_t>(portion.first),
                          static_cast<size_t>(portion.last));
  }
  const int64_t total = options_.rank.count > 1 ? bytes : plan_.output_bytes;
  Progress progress(options_.progress, options_.quiet, options_.rank.label("convert"), total);
  progress.start_at(total - bytes);
  for (const Portion& portion : portions) {
    resumption.begin(portion);
    copy_portion(dist_dir, sidecar_dir, portion, resumption, progress);
  }
  progress.finish();
}

void TensorCopy::copy_portion(const Path& dist_dir, const Path& sidecar_dir, const Portion& portion,
                              Resumption& resumption, Progress& progress) {
  const std::optional<Watermark>& before = portion.before;
  const Path witnessed = witness_path(sidecar_dir, portion.journal, resumption);
  std::optional<WitnessWriter> witnesses;
  const bool begins_all = portion.journal == 0;  // has what comes before the transfers
  const bool has_witnesses =
      plan_.converts ||
      (begins_all && std::any_of(plan_.match.dropped.begin(), plan_.match.dropped.end(),
                                 [](const DroppedSource& d) { return d.equals < 0; }));
  crcs_.emplace(source_, plan_.match.mtp);
  if (before) {
    if (has_witnesses) witnesses.emplace(fs_, witnessed, before->witnesses);
    crcs_->restore(before->complete, before->open);
  } else {
    // One may be there of a run that was killed before its first watermark.
    if (!resumption.first_portion_makes_files()) remove_tree(fs_, witnessed);
    if (has_witnesses) witnesses.emplace(fs_, witnessed);
    if (begins_all) read_dropped(witnesses);
  }
  const ExecutorOptions executor = plan_execution(options_.threads, plan_.transfers, budget_);
  ExecutorHooks hooks;
  hooks.on_read = [&](size_t index, int64_t begin, int64_t length, uint32_t crc) {
    crcs_->add(index, begin, length, crc);
  };
  if (plan_.converts) {
    hooks.on_slice = [&](const SliceView& slice) { write_witnesses(slice, *witnesses); };
    hooks.on_error = [&] { witnesses->abort(); };
  }
  const auto first = static_cast<size_t>(portion.first);
  const auto last = static_cast<size_t>(portion.last);
  TorchDistSink sink(
      fs_, dist_dir, plan_, first, last,
      resumption.first_portion_makes_files() ? OutputFiles::kCreate : OutputFiles::kTakeUp);
  if (before) check_written(sink, *before, dist_dir);
  const Resumption::Wait wait(resumption);
  hooks.on_watermark = [&](size_t next) {
    Watermark mark;
    mark.open = crcs_->open_parts();
    mark.checked = static_cast<int64_t>(sink.crc_from());
    mark.written_crc = sink.take_crc();
    if (!resumption.wants(next)) return;
    if (mark.open.size() > kMostOpenParts && !resumption.needs(next)) return;
    mark.next = static_cast<int64_t>(next);
    if (witnesses) mark.witnesses = witnesses->mark();
    mark.complete = crcs_->take_complete();
    resumption.record(
        std::move(mark),
        [&sink, &witnesses] {
          sink.sync();
          if (witnesses) witnesses->sync();
        },
        executor.threads > 1);
  };
  execute({plan_.transfers, reader_, sink, executor, hooks,
           [&](int32_t target) { return plan_.names[static_cast<size_t>(target)]; }, first,
           options_.watermark_bytes, last},
          progress);
  resumption.wait();
  budget_.release(executor.reserved);
  if (witnesses) {
    witness_crc_ = witnesses->finish();
    witness_bytes_ = witnesses->size();
  }
}

void TensorCopy::read_dropped(std::optional<WitnessWriter>& witnesses) {
  DroppedTensors dropped(source_, reader_, *crcs_);
  for (const DroppedSource& item : plan_.match.dropped) {
    item.equals < 0 ? dropped.keep(item.tensor, *witnesses) : dropped.compare(item);
  }
  for (const int32_t scales : plan_.match.scales) dropped.keep(scales, *witnesses);
  for (const int32_t beside : plan_.match.beside) dropped.keep(beside, *witnesses);
}

void TensorCopy::merge(const Path& sidecar_dir, Resumption& resumption) {
  crcs_.emplace(source_, plan_.match.mtp);
  std::optional<WitnessWriter> witnesses;
  for (const Journal& journal : resumption.gather()) {
    const Watermark& last = *journal.last;
    crcs_->restore(last.complete, last.open);
    if (last.witnesses.size == 0) continue;
    const Path path = witness_path(sidecar_dir, journal.header.first, resumption);
    if (journal.header.first == 0) {
      witnesses.emplace(fs_, path, last.witnesses);
    } else {
      witnesses.value().append_file(fs_, path, last.witnesses);
    }
  }
  witness_crc_.reset();
  if (!witnesses) return;
  witness_crc_ = witnesses->finish();
  witness_bytes_ = witnesses->size();
}

}  // namespace bridge
