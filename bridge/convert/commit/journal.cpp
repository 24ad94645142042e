#include "bridge/convert/commit/journal.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/little_endian.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/launch/blocks.h"

namespace bridge {
namespace {

constexpr std::string_view kMagic = "CSWYJRN1";
constexpr std::string_view kHead = "HEAD";
constexpr std::string_view kMark = "MARK";
constexpr std::string_view kDone = "DONE";
constexpr uint32_t kFormat = 2;
constexpr uint64_t kMostFolders = 16;
constexpr uint64_t kMostCounts = 1024;

std::string mark_payload(const Watermark& mark) {
  std::string out;
  for (const int64_t number :
       {mark.since, mark.next, mark.bytes, mark.checked, mark.witnesses.size}) {
    append_number(out, number);
  }
  append_le(out, mark.written_crc);
  append_le(out, mark.witnesses.crc);
  append_number(out, std::ssize(mark.complete));
  for (const auto& [number, crc] : mark.complete) {
    append_number(out, number);
    append_le(out, crc);
  }
  append_number(out, std::ssize(mark.open));
  for (const auto& [number, part] : mark.open) {
    append_number(out, number);
    append_number(out, part.offset);
    append_number(out, part.length);
    append_le(out, part.crc);
  }
  append_number(out, std::ssize(mark.counts));
  for (const int64_t count : mark.counts) append_number(out, count);
  return out;
}

Watermark parse_mark(Payload payload) {
  constexpr size_t kCrcBytes = 12;
  constexpr size_t kPartBytes = 28;
  Watermark mark;
  mark.since = payload.size();
  mark.next = payload.size();
  mark.bytes = payload.size();
  mark.checked = payload.size();
  mark.witnesses.size = payload.size();
  mark.written_crc = payload.number<uint32_t>();
  mark.witnesses.crc = payload.number<uint32_t>();
  for (size_t left = payload.count(kLargestBlock, kCrcBytes); left > 0; --left) {
    const int64_t number = payload.size();
    mark.complete.push_back({number, payload.number<uint32_t>()});
  }
  for (size_t left = payload.count(kLargestBlock, kPartBytes); left > 0; --left) {
    NumberedPart open{};
    open.number = payload.size();
    open.part.offset = payload.size();
    open.part.length = payload.size();
    open.part.crc = payload.number<uint32_t>();
    mark.open.push_back(open);
  }
  for (size_t left = payload.count(kMostCounts, 8); left > 0; --left) {
    mark.counts.push_back(payload.size());
  }
  payload.finish();
  return mark;
}

void add(Journal& journal, Watermark mark) {
  const int64_t before = journal.last ? journal.last->next : journal.header.first;
  const int64_t bytes = journal.last ? journal.last->bytes : 0;
  if (mark.since != before || mark.next <= before || mark.next > journal.header.transfers ||
      mark.bytes < bytes || mark.checked < before || mark.checked > mark.next) {
    bad_input("a watermark that does not follow the one before it");
  }
  if (journal.last) {
    std::vector<NumberedCrc> all = std::move(journal.last->complete);
    all.insert(all.end(), mark.complete.begin(), mark.complete.end());
    mark.complete = std::move(all);
  }
  journal.last = std::move(mark);
}

}  // namespace

std::string header_payload(const JournalHeader& header) {
  std::string out;
  append_le(out, kFormat);
  append_number(out, std::ssize(header.folders));
  for (const uint64_t inode : header.folders) append_le(out, inode);
  append_number(out, header.transfers);
  append_number(out, header.first);
  append_facts(out, header.facts);
  return out;
}

JournalHeader parse_header(Payload payload) {
  JournalHeader header;
  const auto format = payload.number<uint32_t>();
  if (format != kFormat) bad_input(fmt::format("its format is {}, not {}", format, kFormat));
  for (size_t left = payload.count(kMostFolders, 8); left > 0; --left) {
    header.folders.push_back(payload.number<uint64_t>());
  }
  header.transfers = payload.size();
  header.first = payload.size();
  if (header.first > header.transfers) Payload::contradiction();
  header.facts = parse_facts(payload);
  payload.finish();
  return header;
}

Journal read_journal(FileSystem& fs, const Path& path, MemoryBudget& budget) {
  return with_context(printable(path.native()), [&] {
    // Opened as it will be written: never through a symlink.
    const std::unique_ptr<File> file = fs.open_write(path);
    std::string magic(kMagic.size(), '\0');
    if (file->size() < std::ssize(kMagic)) bad_input("not a journal");
    file->read_at(0, std::as_writable_bytes(std::span(magic)));
    if (magic != kMagic) bad_input("not a journal");
    Reservation memory(&budget, "the journal");
    Journal journal;
    journal.end = std::ssize(kMagic);
    while (true) {
      Reservation text(&budget, "the journal");
      const std::optional<Block> found = read_block(*file, journal.end, text);
      const bool is_first = journal.end == std::ssize(kMagic);
      if (is_first && !(found && found->kind == kHead)) bad_input("its first block is torn");
      if (!found) break;
      if (is_first) {
        journal.header = parse_header(Payload(found->payload));
      } else if (found->kind == kMark) {
        add(journal, parse_mark(Payload(found->payload)));
      } else if (found->kind != kDone) {
        bad_input("a block of another kind");
      }
      journal.is_done = found->kind == kDone;
      // The strings and vectors that it became: twice the text allows for their growth.
      memory.grow(2 * std::ssize(found->payload));
      journal.end += found->size();
    }
    journal.memory = memory.bytes();
    memory.keep();
    return journal;
  });
}

JournalWriter::JournalWriter(FileSystem& fs, const Path& path, const JournalHeader& header)
    : file_(fs.create(path)) {
  write(std::string(kMagic) + make_block(kHead, header_payload(header)));
}

JournalWriter::JournalWriter(FileSystem& fs, const Path& path, int64_t end)
    : file_(fs.open_write(path)), end_(end) {
  file_->allocate(end);
}

void JournalWriter::append(const Watermark& mark) {
  write(make_block(kMark, mark_payload(mark)));
  file_->sync();
}

void JournalWriter::append_done() {
  write(make_block(kDone, {}));
  file_->sync();
}

void JournalWriter::write(std::string_view bytes) {
  file_->write_at(end_, std::as_bytes(std::span(bytes)));
  end_ += std::ssize(bytes);
}

}  // namespace bridge
