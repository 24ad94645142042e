#include "bridge/convert/commit/launch_sections.h"

#include <cstddef>
#include <string>
#include <utility>

#include "bridge/io/launch/blocks.h"

namespace bridge {
namespace {

constexpr size_t kSectionBytes = 24;

}  // namespace

void open_launch(Launch& launch, const JournalHeader& header,
                 const std::vector<std::vector<Section>>& sections) {
  std::string shares;
  for (const std::vector<Section>& share : sections) {
    append_number(shares, std::ssize(share));
    for (const Section& section : share) {
      append_number(shares, section.first);
      append_number(shares, section.last);
      append_number(shares, section.journal);
    }
  }
  launch.open(header_payload(header), shares);
}

LaunchPart join_launch(Launch& launch, const PlanFacts& facts, MemoryBudget& budget) {
  LaunchPart part;
  const auto read = [&](Payload plan, Payload shares) {
    JournalHeader header = parse_header(plan);
    for (int i = 0; i < launch.rank().count; ++i) {
      for (size_t left = shares.count(kLargestBlock, kSectionBytes); left > 0; --left) {
        Section section;
        section.first = shares.size();
        section.last = shares.size();
        section.journal = shares.size();
        if (section.journal > section.first || section.first >= section.last ||
            section.last > header.transfers) {
          Payload::contradiction();
        }
        if (i == launch.rank().index) part.sections.push_back(section);
      }
    }
    shares.finish();
    launch.expect_same(header.facts, facts);
    part.folders = std::move(header.folders);
  };
  launch.join(read, budget);
  return part;
}

}  // namespace bridge
