#include "bridge/convert/commit/journal.h"

#include <fmt/format.h>

#include <limits>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/little_endian.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

constexpr std::string_view kMagic = "CSWYJRN1";
constexpr std::string_view kHead = "HEAD";
constexpr std::string_view kMark = "MARK";
constexpr int64_t kBlockHeader = 4 + 8 + 4;
constexpr int64_t kLargestBlock = 128 << 20;
constexpr uint32_t kFormat = 1;
constexpr uint64_t kMostFolders = 16;
constexpr uint64_t kMostFacts = 1'000'000;
constexpr uint64_t kLongestText = 8192;
constexpr uint64_t kMostCounts = 1024;

uint32_t crc_of(std::string_view text, uint32_t seed = 0) {
  return crc32(std::as_bytes(std::span(text)), seed);
}

void append_number(std::string& out, int64_t value) {
  append_le(out, static_cast<uint64_t>(value));
}

void append_text(std::string& out, std::string_view text) {
  append_le(out, static_cast<uint32_t>(text.size()));
  out += text;
}

std::string block(std::string_view kind, std::string_view payload) {
  std::string head(kind);
  append_le(head, static_cast<uint64_t>(payload.size()));
  append_le(head, crc_of(payload, crc_of(head)));
  return head.append(payload);
}

// The payload of a block, read in order.
class Payload {
 public:
  explicit Payload(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T number() {
    return load_le<T>(take(sizeof(T)));
  }
  int64_t size() {
    const auto value = number<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) contradiction();
    return static_cast<int64_t>(value);
  }
  std::string text() {
    const auto length = number<uint32_t>();
    if (length > kLongestText) contradiction();
    return std::string(take(length));
  }
  // A count of things of which each takes at least `least` bytes.
  size_t count(uint64_t most, size_t least) {
    const auto value = number<uint64_t>();
    if (value > most || value > bytes_.size() / least) contradiction();
    return static_cast<size_t>(value);
  }
  void finish() const {
    if (!bytes_.empty()) contradiction();
  }

  [[noreturn]] static void contradiction() { bad_input("a block that contradicts itself"); }

 private:
  std::string_view take(size_t length) {
    if (length > bytes_.size()) contradiction();
    const std::string_view taken = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return taken;
  }

  std::string_view bytes_;
};

std::string header_payload(const JournalHeader& header) {
  std::string out;
  append_le(out, kFormat);
  append_number(out, std::ssize(header.folders));
  for (const uint64_t inode : header.folders) append_le(out, inode);
  append_number(out, header.transfers);
  append_number(out, header.first);
  append_number(out, header.last);
  append_number(out, std::ssize(header.facts));
  for (const PlanFact& fact : header.facts) {
    append_text(out, fact.name);
    append_text(out, fact.value);
  }
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
  header.last = payload.size();
  if (header.first > header.last || header.last > header.transfers) Payload::contradiction();
  for (size_t left = payload.count(kMostFacts, 8); left > 0; --left) {
    std::string name = payload.text();
    header.facts.push_back({std::move(name), payload.text()});
  }
  payload.finish();
  return header;
}

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
  for (size_t left = payload.count(kMostOpenParts, kPartBytes); left > 0; --left) {
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

struct Block {
  std::string kind;
  std::string payload;
};

// The block at `offset`; nullopt where none is whole there.
std::optional<Block> read_block(const File& file, int64_t offset, Reservation& memory) {
  const int64_t left = file.size() - offset;
  if (left < kBlockHeader) return std::nullopt;
  std::string head(kBlockHeader, '\0');
  file.read_at(offset, std::as_writable_bytes(std::span(head)));
  const auto length = load_le<uint64_t>(head, 4);
  if (length > static_cast<uint64_t>(std::min(left - kBlockHeader, kLargestBlock))) {
    return std::nullopt;
  }
  memory.grow(static_cast<int64_t>(length));
  std::string payload(static_cast<size_t>(length), '\0');
  file.read_at(offset + kBlockHeader, std::as_writable_bytes(std::span(payload)));
  const std::string_view told = std::string_view(head).substr(0, kBlockHeader - 4);
  if (crc_of(payload, crc_of(told)) != load_le<uint32_t>(head, kBlockHeader - 4)) {
    return std::nullopt;
  }
  return Block{head.substr(0, 4), std::move(payload)};
}

void add(Journal& journal, Watermark mark) {
  const int64_t before = journal.last ? journal.last->next : journal.header.first;
  const int64_t bytes = journal.last ? journal.last->bytes : 0;
  if (mark.since != before || mark.next <= before || mark.next > journal.header.last ||
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

Journal read_journal(FileSystem& fs, const Path& path, MemoryBudget& budget) {
  return with_context(printable(path.native()), [&] {
    // Opened as it will be written: never through a symlink.
    const std::unique_ptr<File> file = fs.open_write(path);
    std::string magic(kMagic.size(), '\0');
    if (file->size() < std::ssize(kMagic)) bad_input("not a journal");
    file->read_at(0, std::as_writable_bytes(std::span(magic)));
    if (magic != kMagic) bad_input("not a journal");
    Journal journal;
    journal.end = std::ssize(kMagic);
    while (true) {
      Reservation text(&budget, "the journal");
      const std::optional<Block> found = read_block(*file, journal.end, text);
      const bool is_first = journal.end == std::ssize(kMagic);
      if (is_first && !(found && found->kind == kHead)) bad_input("its first block is torn");
      if (!found) return journal;
      if (is_first) {
        journal.header = parse_header(Payload(found->payload));
      } else if (found->kind == kMark) {
        add(journal, parse_mark(Payload(found->payload)));
      } else {
        bad_input("a block of another kind");
      }
      // The strings and vectors that it became: twice the text allows for their growth.
      budget.reserve(2 * std::ssize(found->payload), "the journal");
      journal.end += kBlockHeader + std::ssize(found->payload);
    }
  });
}

JournalWriter::JournalWriter(FileSystem& fs, const Path& path, const JournalHeader& header)
    : file_(fs.create(path)) {
  write(std::string(kMagic) + block(kHead, header_payload(header)));
}

JournalWriter::JournalWriter(FileSystem& fs, const Path& path, int64_t end)
    : file_(fs.open_write(path)), end_(end) {
  file_->allocate(end);
}

void JournalWriter::append(const Watermark& mark) {
  write(block(kMark, mark_payload(mark)));
  file_->sync();
}

void JournalWriter::write(std::string_view bytes) {
  file_->write_at(end_, std::as_bytes(std::span(bytes)));
  end_ += std::ssize(bytes);
}

}  // namespace bridge
