// What rank 0 writes: its sections, and the ends of journals that no process continues.
#include "bridge/convert/commit/portions.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bridge {
namespace {

// A journal of transfers [first, next), whose file ends at `end`.
Journal journal(int64_t first, int64_t next, int64_t end) {
  Journal made;
  made.header.first = first;
  made.last.emplace();
  made.last->next = next;
  made.end = end;
  return made;
}

// "first-last@journal" of each, with "+end" where it continues the journal.
std::string shown(const std::vector<Portion>& portions) {
  std::string text;
  for (const Portion& portion : portions) {
    if (!text.empty()) text += " ";
    text += std::to_string(portion.first) + "-" + std::to_string(portion.last) + "@" +
            std::to_string(portion.journal);
    if (portion.before) text += "+" + std::to_string(portion.journal_end);
  }
  return text;
}

TEST(PortionsTest, ARunThatStartsOverBeginsItsJournals) {
  EXPECT_EQ(shown(portions_of_rank_zero({{{0, 10, 0}}}, {})), "0-10@0");
  EXPECT_EQ(shown(portions_of_rank_zero({{{0, 5, 0}}, {{5, 10, 5}}}, {})), "0-5@0");
  EXPECT_EQ(shown(portions_of_rank_zero({{}, {{0, 10, 0}}}, {})), "");
}

TEST(PortionsTest, ASectionContinuesItsJournal) {
  const std::vector<Portion> portions = portions_of_rank_zero(
      {{{4, 6, 0}, {8, 10, 8}}, {{10, 12, 10}}}, {journal(0, 4, 100), journal(6, 8, 200)});
  // What journal 6 covers is written; its last part is checked in an empty portion.
  EXPECT_EQ(shown(portions), "4-6@0+100 8-10@8 8-8@6+200");
  EXPECT_EQ(portions[0].before->next, 4);
}

TEST(PortionsTest, AJournalThatAnotherRankContinuesIsLeftToIt) {
  EXPECT_EQ(shown(portions_of_rank_zero({{{4, 6, 0}}, {{8, 10, 6}}},
                                        {journal(0, 4, 100), journal(6, 8, 200)})),
            "4-6@0+100");
}

TEST(PortionsTest, EverythingWritten) {
  EXPECT_EQ(shown(portions_of_rank_zero({{}}, {journal(0, 10, 100)})), "10-10@0+100");
}

}  // namespace
}  // namespace bridge
