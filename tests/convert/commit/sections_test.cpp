// How transfers are shared out among processes.
#include "bridge/convert/commit/sections.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bridge {
namespace {

// "first-last" of each section, with "@journal" where it continues one; ";" between processes.
std::string shown(const std::vector<std::vector<Section>>& shares) {
  std::string text;
  for (const std::vector<Section>& share : shares) {
    if (&share != &shares.front()) text += "; ";
    for (const Section& section : share) {
      if (&section != &share.front()) text += " ";
      text += std::to_string(section.first) + "-" + std::to_string(section.last);
      if (section.journal != section.first) text += "@" + std::to_string(section.journal);
    }
  }
  return text;
}

// Every transfer writes ten bytes.
std::string shared(int64_t transfers, const std::vector<TransferRange>& done,
                   const std::vector<int64_t>& cuts, int processes) {
  return shown(share_out(transfers, done, cuts, processes, [](const TransferRange& range) {
    return 10 * (range.last - range.first);
  }));
}

std::vector<int64_t> cuts(const std::vector<std::vector<size_t>>& files_of, size_t files) {
  return cuts_at_files(files_of.size(), files, [&](size_t transfer, std::vector<size_t>& into) {
    into.insert(into.end(), files_of[transfer].begin(), files_of[transfer].end());
  });
}

TEST(SectionsTest, CutsLieBetweenFiles) {
  EXPECT_EQ(cuts({{0}, {0}, {1}, {2}, {2}}, 3), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(cuts({{0}, {0}}, 1), std::vector<int64_t>{});
  EXPECT_EQ(cuts({}, 0), std::vector<int64_t>{});
}

// An FP8 tensor whose scales lie in another shard ties the two together.
TEST(SectionsTest, NoFileIsWrittenOnBothSidesOfACut) {
  EXPECT_EQ(cuts({{0}, {0, 1}, {1}, {2}}, 3), std::vector<int64_t>{3});
  EXPECT_EQ(cuts({{0, 2}, {1}, {2}, {3}}, 4), std::vector<int64_t>{3});
}

TEST(SectionsTest, OneProcessHasOneSection) {
  EXPECT_EQ(shared(10, {}, {3, 6}, 1), "0-10");
  EXPECT_EQ(shared(10, {}, {}, 1), "0-10");
}

TEST(SectionsTest, ProcessesGetWholeFilesOfAboutTheSameBytes) {
  EXPECT_EQ(shared(10, {}, {2, 4, 6, 8}, 2), "0-4; 4-10");
  EXPECT_EQ(shared(9, {}, {3, 6}, 3), "0-3; 3-6; 6-9");
  EXPECT_EQ(shared(12, {}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 4), "0-3; 3-6; 6-9; 9-12");
}

TEST(SectionsTest, MoreProcessesThanFiles) {
  EXPECT_EQ(shared(4, {}, {2}, 5), "; 0-2; ; 2-4; ");
  EXPECT_EQ(shared(4, {}, {}, 3), "; 0-4; ");
}

TEST(SectionsTest, OneProcessGoesOnWithWhatThreeLeft) {
  EXPECT_EQ(shared(9, {{0, 1}, {3, 6}, {6, 8}}, {3, 6}, 1), "1-3@0 8-9@6");
}

TEST(SectionsTest, ThreeProcessesGoOnWithWhatOneLeft) {
  EXPECT_EQ(shared(10, {{0, 1}}, {4, 7}, 3), "1-4@0; 4-7; 7-10");
}

TEST(SectionsTest, AGapAtTheBeginningBeginsAJournal) {
  EXPECT_EQ(shared(6, {{3, 5}}, {3}, 2), "0-3; 5-6@3");
}

TEST(SectionsTest, NothingIsLeft) {
  EXPECT_EQ(shared(6, {{0, 3}, {3, 6}}, {3}, 2), "; ");
}

// Whatever was done, the sections and it are all transfers, once each.
TEST(SectionsTest, TheSectionsFillTheGaps) {
  const std::vector<int64_t> at = {4, 5, 11, 17};
  const std::vector<std::vector<TransferRange>> states = {
      {}, {{0, 20}}, {{0, 2}, {4, 5}}, {{0, 7}, {7, 9}, {11, 12}}, {{11, 20}}};
  for (const auto& done : states) {
    for (int processes = 1; processes < 9; ++processes) {
      std::vector<int> written(20, 0);
      const auto mark = [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) ++written[static_cast<size_t>(i)];
      };
      for (const TransferRange& range : done) mark(range.first, range.last);
      for (const auto& share : share_out(20, done, at, processes, [](const TransferRange& range) {
             return range.last - range.first;
           })) {
        for (const Section& section : share) mark(section.first, section.last);
      }
      EXPECT_EQ(written, std::vector<int>(20, 1)) << processes;
    }
  }
}

}  // namespace
}  // namespace bridge
