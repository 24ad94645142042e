#include "bridge/convert/commit/journal_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "bridge/convert/commit/journal_files.h"
#include "bridge/convert/commit/plan_facts.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"

namespace bridge {
namespace {

constexpr std::string_view kJournal = "journal";
constexpr std::string_view kWitnesses = "witnesses";

int64_t memory_of(const Watermark& mark) {
  return heap_cost(mark.complete.size() * sizeof(NumberedCrc)) +
         heap_cost(mark.open.size() * sizeof(NumberedPart)) +
         heap_cost(mark.counts.size() * sizeof(int64_t));
}

}  // namespace

Path JournalSet::path(int64_t first) const {
  return numbered_beside(outputs_.front()->target(), kJournal, first);
}

Path JournalSet::witness_path(int64_t first) const {
  return numbered_beside(outputs_.front()->target(), kWitnesses, first);
}

std::vector<Path> JournalSet::paths() const {
  return all_numbered_beside(fs_, outputs_.front()->target(), kJournal);
}

// Each output is still a partial folder or, if the journal says that all was written, already in
// place.
bool JournalSet::is_of_these_folders(const Journal& journal, std::vector<bool>& renamed) const {
  if (journal.header.folders.size() != outputs_.size()) return false;
  std::vector<bool> is_renamed(outputs_.size(), false);
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const auto is_it = [&](const std::optional<Stat>& folder) {
      return folder && folder->kind == Kind::kDirectory &&
             folder->inode == journal.header.folders[i];
    };
    if (is_it(outputs_[i]->leftover())) continue;
    if (!journal.is_done || !is_it(outputs_[i]->at_target())) return false;
    is_renamed[i] = true;
  }
  if (journal.is_done) renamed = std::move(is_renamed);
  return true;
}

JournalSet::Found JournalSet::find(const JournalHeader& plan, int64_t bytes, bool resume) {
  Found found;
  for (const Path& path : paths()) {
    Journal journal;
    try {
      journal = read_journal(fs_, path, budget_);
    } catch (const Error& error) {
      if (error.code() != Code::kBadInput) throw;
      found.why_not = error.message();  // its process was killed while it began
      continue;
    }
    budget_.release(journal.memory);
    if (!is_of_these_folders(journal, found.is_renamed))
      return {{}, "the journal is of another folder"};
    const bool is_committed =
        std::find(found.is_renamed.begin(), found.is_renamed.end(), true) != found.is_renamed.end();
    if (is_committed && !journal.last) {
      journal.last.emplace();
      journal.last->next = plan.transfers;
      journal.last->bytes = bytes;
    }
    if (!journal.last) {
      found.why_not = "the journal has no watermark";
      continue;
    }
    if (auto difference = first_change(journal.header.facts, plan.facts)) {
      if (resume) {
        usage_error(fmt::format("{}: cannot be resumed: {}",
                                printable(outputs_.front()->target().native()), *difference),
                    "--restart removes what was done and starts over");
      }
      return {{}, *std::move(difference)};
    }
    if (journal.header.transfers != plan.transfers || path != this->path(journal.header.first)) {
      return {{}, "the journal is of another plan"};
    }
    journal.header.facts = {};  // each has them all
    journal.memory = memory_of(*journal.last);
    budget_.reserve(journal.memory, "the journal");
    found.journals.push_back(std::move(journal));
    if (is_committed) return found;  // the first journal, which speaks for all
  }
  std::sort(found.journals.begin(), found.journals.end(),
            [](const Journal& a, const Journal& b) { return a.header.first < b.header.first; });
  int64_t end = 0;
  for (const Journal& journal : found.journals) {
    if (journal.header.first < end) return {{}, "the journals contradict each other"};
    end = journal.last->next;
  }
  if (found.journals.empty() && found.why_not.empty()) {
    found.why_not = "what was left has no journal";
  }
  return found;
}

void JournalSet::remove() {
  const std::vector<Path> paths = this->paths();
  for (const Path& path : paths) fs_.remove_file(path);
  if (!paths.empty()) outputs_.front()->sync_parent();
  for (const Path& path : all_numbered_beside(fs_, outputs_.front()->target(), kWitnesses))
    fs_.remove_file(path);
}

}  // namespace bridge
