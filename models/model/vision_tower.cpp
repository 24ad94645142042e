#include "models/model/vision_tower.h"

#include <fmt/format.h>

#include <string_view>

#include "bridge/io/base/error.h"

namespace models {
namespace {

// Far beyond any tower; products of all that make a shape's axis stay within 64 bits.
constexpr int64_t kLargestSize = 1 << 20;
constexpr int64_t kMostBlocks = 4096;

struct Field {
  std::string_view name;
  int64_t VisionTower::*size;
};

constexpr Field kFields[] = {
    {"blocks", &VisionTower::blocks},     {"width", &VisionTower::width},
    {"heads", &VisionTower::heads},       {"hidden", &VisionTower::hidden},
    {"channels", &VisionTower::channels}, {"frames", &VisionTower::frames},
    {"patch", &VisionTower::patch},       {"places", &VisionTower::places},
    {"merge", &VisionTower::merge},       {"output", &VisionTower::output},
};

}  // namespace

std::vector<std::pair<std::string, std::string>> describe(const VisionTower& tower) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const Field& field : kFields) {
    fields.emplace_back(field.name, std::to_string(tower.*field.size));
  }
  return fields;
}

void check(const VisionTower& tower) {
  for (const Field& field : kFields) {
    const int64_t size = tower.*field.size;
    const int64_t most = field.size == &VisionTower::blocks ? kMostBlocks : kLargestSize;
    if (size < 1 || size > most) {
      bridge::bad_input(
          fmt::format("the vision tower's {} is {}, not in 1 to {}", field.name, size, most));
    }
  }
  if (tower.width % tower.heads != 0) {
    bridge::bad_input(fmt::format("the vision tower's {} channels do not make {} equal heads",
                                  tower.width, tower.heads));
  }
}

}  // namespace models
