// Journals that are whole, torn, damaged or made up. Reading any bytes returns watermarks that were
// written, or refuses them.
#include "bridge/convert/commit/journal.h"

#include <gtest/gtest.h>

#include "bridge/io/base/little_endian.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

const JournalHeader kHeader = {
    .folders = {77, 88},
    .transfers = 9,
    .first = 0,
    .facts = {{"version", "1"}, {"model.safetensors", "12 bytes of 5 ns, inode 6"}}};

Watermark mark(int64_t since, int64_t next) {
  Watermark made;
  made.since = since;
  made.next = next;
  made.bytes = next * 100;
  made.checked = since;
  made.written_crc = static_cast<uint32_t>(next + 1);
  made.witnesses = {.size = next * 10, .crc = 5};
  for (int64_t tensor = since; tensor < next; ++tensor) made.complete.push_back({tensor, 3});
  made.open = {{.number = next, .part = {.offset = 4, .length = 8, .crc = 2}}};
  made.counts = {next, 0};
  return made;
}

class JournalTest : public testing::Test {
 protected:
  // Three watermarks; their ends in the file.
  std::vector<int64_t> write_three() {
    std::vector<int64_t> ends;
    JournalWriter writer(fs_, path_, kHeader);
    ends.push_back(size());
    for (const auto& [since, next] : {std::pair(0, 2), {2, 3}, {3, 9}}) {
      writer.append(mark(since, next));
      ends.push_back(size());
    }
    return ends;
  }
  int64_t size() const { return static_cast<int64_t>(std::filesystem::file_size(path_)); }
  Journal read() {
    MemoryBudget budget(1 << 20);
    return read_journal(fs_, path_, budget);
  }

  // A file of blocks with right CRCs and any content.
  void put_blocks(const std::vector<std::pair<std::string, std::string>>& blocks) {
    std::string text = "CSWYJRN1";
    for (const auto& [kind, payload] : blocks) {
      std::string head = kind;
      append_le(head, static_cast<uint64_t>(payload.size()));
      const std::string told = head + payload;
      append_le(head, crc32(std::as_bytes(std::span(told))));
      text += head + payload;
    }
    put_file(path_, text);
  }

  TempDir dir_;
  FileSystem& fs_ = real_file_system();
  Path path_ = dir_ / "journal";
};

// The payloads as docs/formats.md has them, written out once more.
std::string numbers(const std::vector<uint64_t>& values) {
  std::string text;
  for (const uint64_t value : values) append_le(text, value);
  return text;
}
std::string crc(uint32_t value) {
  std::string text;
  append_le(text, value);
  return text;
}
std::string head_payload(uint32_t format = 2,
                         const std::vector<uint64_t>& rest = {1, 77, 9, 0, 0}) {
  return crc(format) + numbers(rest);
}
std::string mark_payload(uint64_t since, uint64_t next, uint64_t bytes = 100) {
  return numbers({since, next, bytes, since, 0}) + crc(0) + crc(0) + numbers({0, 0, 0});
}

TEST_F(JournalTest, HoldsWhatWasWritten) {
  const std::vector<int64_t> ends = write_three();
  const Journal journal = read();
  EXPECT_EQ(journal.end, ends.back());
  EXPECT_EQ(journal.header.folders, kHeader.folders);
  EXPECT_EQ(journal.header.transfers, 9);
  EXPECT_EQ(journal.header.first, 0);
  EXPECT_EQ(journal.header.facts, kHeader.facts);
  ASSERT_TRUE(journal.last);
  EXPECT_EQ(journal.last->since, 3);
  EXPECT_EQ(journal.last->next, 9);
  EXPECT_EQ(journal.last->bytes, 900);
  EXPECT_EQ(journal.last->checked, 3);
  EXPECT_EQ(journal.last->written_crc, 10U);
  EXPECT_EQ(journal.last->witnesses.size, 90);
  EXPECT_EQ(journal.last->witnesses.crc, 5U);
  EXPECT_EQ(journal.last->counts, (std::vector<int64_t>{9, 0}));
  ASSERT_EQ(journal.last->complete.size(), 9U) << "those of all watermarks";
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(journal.last->complete[i].number, static_cast<int64_t>(i));
    EXPECT_EQ(journal.last->complete[i].crc, 3U);
  }
  ASSERT_EQ(journal.last->open.size(), 1U) << "those of the last alone";
  EXPECT_EQ(journal.last->open[0].number, 9);
  EXPECT_EQ(journal.last->open[0].part.offset, 4);
  EXPECT_EQ(journal.last->open[0].part.length, 8);
  EXPECT_EQ(journal.last->open[0].part.crc, 2U);
}

// How many watermarks the first `length` bytes hold; -1: not even the header.
int64_t watermarks(const std::vector<int64_t>& ends, int64_t length) {
  return std::count_if(ends.begin(), ends.end(), [&](int64_t end) { return end <= length; }) - 1;
}

TEST_F(JournalTest, TornAnywhereTheWholeBlocksCount) {
  const std::vector<int64_t> ends = write_three();
  const std::string whole = file_content(path_);
  for (int64_t length = 0; length < std::ssize(whole); ++length) {
    put_file(path_, whole.substr(0, static_cast<size_t>(length)));
    const int64_t left = watermarks(ends, length);
    if (left < 0) {
      expect_error(Code::kBadInput, "journal", [&] { read(); });
      continue;
    }
    const Journal journal = read();
    EXPECT_EQ(journal.end, ends[static_cast<size_t>(left)]);
    const std::vector<int64_t> next = {0, 2, 3, 9};
    EXPECT_EQ(journal.last ? journal.last->next : 0, next[static_cast<size_t>(left)]);
  }
}

TEST_F(JournalTest, AnyFlippedBitEndsIt) {
  const std::vector<int64_t> ends = write_three();
  const std::string whole = file_content(path_);
  for (size_t at = 0; at < whole.size() * 8; ++at) {
    std::string text = whole;
    text[at / 8] = static_cast<char>(text[at / 8] ^ (1 << at % 8));
    put_file(path_, text);
    const int64_t left = watermarks(ends, static_cast<int64_t>(at / 8));
    if (left < 0) {
      expect_error(Code::kBadInput, "", [&] { read(); });
    } else {
      EXPECT_EQ(read().end, ends[static_cast<size_t>(left)]) << "bit " << at;
    }
  }
}

TEST_F(JournalTest, GoesOnBehindTheLastWholeBlock) {
  const std::vector<int64_t> ends = write_three();
  std::filesystem::resize_file(path_, static_cast<uintmax_t>(ends[3] - 1));
  const Journal torn = read();
  JournalWriter writer(fs_, path_, torn.end);
  writer.append(mark(3, 4));
  const Journal journal = read();
  ASSERT_TRUE(journal.last);
  EXPECT_EQ(journal.last->next, 4);
  EXPECT_EQ(journal.last->complete.size(), 4U);
  EXPECT_EQ(journal.end, size());
}

struct Made {
  std::string name;
  std::vector<std::pair<std::string, std::string>> blocks;
  std::string why;
};

constexpr uint64_t kHuge = uint64_t{1} << 62;

const std::vector<Made> kMade = {
    {"NoHeader", {{"MARK", mark_payload(0, 1)}}, "its first block is torn"},
    {"OtherFormat", {{"HEAD", head_payload(3)}}, "its format is 3, not 2"},
    {"UnknownBlock", {{"HEAD", head_payload()}, {"WHAT", ""}}, "a block of another kind"},
    {"TwoHeaders", {{"HEAD", head_payload()}, {"HEAD", head_payload()}}, "of another kind"},
    {"EmptyHeader", {{"HEAD", ""}}, "contradicts itself"},
    {"ManyFolders", {{"HEAD", head_payload(2, {kHuge, 77})}}, "contradicts itself"},
    {"ManyFacts", {{"HEAD", head_payload(2, {0, 9, 0, kHuge})}}, "contradicts itself"},
    {"LongFact",
     {{"HEAD", head_payload(2, {0, 9, 0, 1}) + crc(100'000) + std::string(100'000, 'x')}},
     "contradicts itself"},
    {"FactBeyondTheEnd",
     {{"HEAD", head_payload(2, {0, 9, 0, 1}) + crc(8000) + "abcd"}},
     "contradicts itself"},
    {"BeginsBeyondThePlan", {{"HEAD", head_payload(2, {0, 9, 10, 0})}}, "contradicts itself"},
    {"NegativeNumber", {{"HEAD", head_payload(2, {0, ~uint64_t{0}, 0, 0})}}, "contradicts itself"},
    {"MoreThanItSays", {{"HEAD", head_payload() + "x"}}, "contradicts itself"},
    {"MarkBeyondThePlan",
     {{"HEAD", head_payload()}, {"MARK", mark_payload(0, 10)}},
     "does not follow"},
    {"MarkOfNothing", {{"HEAD", head_payload()}, {"MARK", mark_payload(0, 0)}}, "does not follow"},
    {"MarkWithAGap", {{"HEAD", head_payload()}, {"MARK", mark_payload(1, 2)}}, "does not follow"},
    {"MarksThatOverlap",
     {{"HEAD", head_payload()}, {"MARK", mark_payload(0, 3)}, {"MARK", mark_payload(2, 4)}},
     "does not follow"},
    {"FewerBytesThanBefore",
     {{"HEAD", head_payload()}, {"MARK", mark_payload(0, 3)}, {"MARK", mark_payload(3, 4, 99)}},
     "does not follow"},
    {"ChecksWhatIsNotWritten",
     {{"HEAD", head_payload()},
      {"MARK", numbers({0, 1, 1, 2, 0}) + crc(0) + crc(0) + numbers({0, 0, 0})}},
     "does not follow"},
    {"ManyCrcs",
     {{"HEAD", head_payload()},
      {"MARK", numbers({0, 1, 1, 0, 0}) + crc(0) + crc(0) + numbers({kHuge, 0, 0})}},
     "contradicts itself"},
    {"ManyParts",
     {{"HEAD", head_payload()},
      {"MARK", numbers({0, 1, 1, 0, 0}) + crc(0) + crc(0) + numbers({0, kHuge, 0})}},
     "contradicts itself"},
    {"ManyCounts",
     {{"HEAD", head_payload()},
      {"MARK", numbers({0, 1, 1, 0, 0}) + crc(0) + crc(0) + numbers({0, 0, 2000}) +
                   std::string(16'000, '\0')}},
     "contradicts itself"},
};

class MadeJournalTest : public JournalTest, public testing::WithParamInterface<Made> {};

TEST_P(MadeJournalTest, IsRefused) {
  put_blocks(GetParam().blocks);
  expect_error(Code::kBadInput, GetParam().why, [&] { read(); });
}

INSTANTIATE_TEST_SUITE_P(Journals, MadeJournalTest, testing::ValuesIn(kMade),
                         [](const auto& test) { return test.param.name; });

// The end of a process's part must be recorded, however many parts are open.
TEST_F(JournalTest, HoldsMoreOpenPartsThanAWatermarkInBetweenMay) {
  const size_t count = kMostOpenParts + 1;
  put_blocks({{"HEAD", head_payload()},
              {"MARK", numbers({0, 1, 1, 0, 0}) + crc(0) + crc(0) + numbers({0, count}) +
                           std::string(28 * count, '\0') + numbers({0})}});
  EXPECT_EQ(read().last.value().open.size(), count);
}

TEST_F(JournalTest, SaysThatAllIsWrittenUntilMoreIs) {
  JournalWriter writer(fs_, path_, kHeader);
  writer.append(mark(0, 4));
  writer.append_done();
  const Journal journal = read();
  EXPECT_TRUE(journal.is_done);
  EXPECT_EQ(journal.last.value().next, 4);
  EXPECT_EQ(journal.end, size());
  writer.append(mark(4, 9));
  EXPECT_FALSE(read().is_done);
  EXPECT_EQ(read().last.value().next, 9);
}

TEST_F(JournalTest, TellsWhatTheBudgetIsChargedForIt) {
  write_three();
  MemoryBudget budget(1 << 20);
  const Journal journal = read_journal(fs_, path_, budget);
  EXPECT_GT(journal.memory, 0);
  EXPECT_EQ(budget.used(), journal.memory);
}

// One process among several begins with another transfer than the first.
TEST_F(JournalTest, MayBeginAnywhere) {
  JournalHeader header = kHeader;
  header.first = 4;
  JournalWriter writer(fs_, path_, header);
  writer.append(mark(4, 6));
  EXPECT_EQ(read().header.first, 4);
  EXPECT_EQ(read().last.value().next, 6);
}

TEST_F(JournalTest, TheFormatIsAsDocumented) {
  put_blocks({{"HEAD", head_payload()}, {"MARK", mark_payload(0, 3)}});
  const Journal journal = read();
  ASSERT_TRUE(journal.last);
  EXPECT_EQ(journal.last->next, 3);
}

TEST_F(JournalTest, OtherFilesAndSymlinksAreRefused) {
  put_file(path_, "");
  expect_error(Code::kBadInput, "not a journal", [&] { read(); });
  put_file(path_, "CSWYWIT1 and more than that");
  expect_error(Code::kBadInput, "not a journal", [&] { read(); });
  std::filesystem::remove(path_);
  JournalWriter(fs_, dir_ / "elsewhere", kHeader).append(mark(0, 1));
  std::filesystem::create_symlink(dir_ / "elsewhere", path_);
  expect_error(Code::kBadInput, "symbolic link", [&] { read(); });
}

// A block that says it is as long as the file takes no more memory than --memory allows.
TEST_F(JournalTest, LargeBlocksAreChargedBeforeTheyAreRead) {
  std::string text = "CSWYJRN1HEAD";
  append_le(text, uint64_t{100 << 20});
  put_file(path_, text + std::string(4, '\0'));
  std::filesystem::resize_file(path_, (100 << 20) + 100);
  MemoryBudget budget(1 << 20);
  expect_error(Code::kUsage, "--memory", [&] { read_journal(fs_, path_, budget); });
  EXPECT_EQ(budget.used(), 0);
}

// --- facts ---------------------------------------------------------------------------------------

TEST(PlanFactsTest, TheFirstDifferenceIsNamed) {
  const PlanFacts before = {{"a", "1"}, {"b", "2"}};
  EXPECT_EQ(first_change(before, before), std::nullopt);
  EXPECT_EQ(first_change(before, {{"a", "1"}, {"b", "3"}}), "b: was 2, is 3");
  EXPECT_EQ(first_change(before, {{"a", "1"}}), "b: is not used any more");
  EXPECT_EQ(first_change(before, {{"b", "2"}}), "a: is not used any more");
  EXPECT_EQ(first_change(before, {{"a", "1"}, {"aa", "9"}, {"b", "2"}}), "aa: was not used before");
  EXPECT_EQ(first_change({{"\x1b[2J", "\n"}}, {{"\x1b[2J", "\t"}}),
            "\\x1b[2J: was \\x0a, is \\x09");
}

TEST(PlanFactsTest, RootsMayBeSpelledInAnotherWay) {
  const Stat one{Kind::kRegular, 5, 1, 2, 3};
  const Stat two{Kind::kRegular, 6, 1, 3, 3};
  PlanFacts absolute;
  add_inputs(absolute, {{"/a/hf/x", one}, {"/b/ref/y", two}}, {{"", "/a/hf"}, {"r ", "/b/ref"}});
  PlanFacts relative;
  add_inputs(relative, {{"../ref/y", two}, {"hf/./x", one}}, {{"", "hf"}, {"r ", "../ref"}});
  EXPECT_EQ(absolute, relative);
  EXPECT_EQ(absolute[0].name, "r y");
  EXPECT_EQ(absolute[1].value, "5 bytes of 3 ns, inode 2");
}

TEST(PlanFactsTest, AnotherDeviceNumberIsNoDifference) {
  PlanFacts before;
  add_inputs(before, {{"hf/x", {Kind::kRegular, 5, 1, 2, 3}}}, {{"", "hf"}});
  PlanFacts now;
  add_inputs(now, {{"hf/x", {Kind::kRegular, 5, 9, 2, 3}}}, {{"", "hf"}});
  EXPECT_EQ(before, now);
}

}  // namespace
}  // namespace bridge
