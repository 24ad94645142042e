#include "models/model/vision_tower.h"

#include <fmt/format.h>

#include <string_view>

#include "bridge/io/base/error.h"
#include "models/model/config_fields.h"

namespace models {
namespace {

// Far beyond any tower; products of all that make a shape's axis stay within 64 bits.
constexpr int64_t kLargestSize = 1 << 20;
constexpr int64_t kMostBlocks = 4096;

}  // namespace

void check(const VisionTower& tower) {
  for_each_field(tower, kFields<VisionTower>, [&](std::string_view name, const int64_t& size) {
    const int64_t most = &size == &tower.blocks ? kMostBlocks : kLargestSize;
    if (size < 1 || size > most) {
      bridge::bad_input(
          fmt::format("the vision tower's {} is {}, not in 1 to {}", name, size, most));
    }
  });
  if (tower.width % tower.heads != 0) {
    bridge::bad_input(fmt::format("the vision tower's {} channels do not make {} equal heads",
                                  tower.width, tower.heads));
  }
}

}  // namespace models
