#include "models/model/vision_tower.h"

#include <fmt/format.h>

#include <string_view>
#include <type_traits>

#include "bridge/io/base/error.h"
#include "models/model/config_fields.h"

namespace models {
namespace {

// Far beyond any tower; the products that make up an axis of a shape stay within 64 bits.
constexpr int64_t kLargestSize = 1 << 20;
constexpr int64_t kMostBlocks = 4096;

}  // namespace

void check(const VisionTower& tower) {
  const auto check_size = [&](std::string_view name, const int64_t& size) {
    const bool may_be_absent = &size == &tower.deepstack || (tower.gated && &size == &tower.places);
    const int64_t least = may_be_absent ? 0 : 1;
    const int64_t most = &size == &tower.blocks      ? kMostBlocks
                         : &size == &tower.deepstack ? tower.blocks
                                                     : kLargestSize;
    if (size < least || size > most) {
      bridge::bad_input(
          fmt::format("the vision tower's {} is {}, not in {} to {}", name, size, least, most));
    }
  };
  for_each_field(tower, kFields<VisionTower>, [&](std::string_view name, const auto& value) {
    if constexpr (!std::is_same_v<std::decay_t<decltype(value)>, bool>) check_size(name, value);
  });
  if (tower.width % tower.heads != 0) {
    bridge::bad_input(fmt::format("the vision tower's {} channels do not make {} equal heads",
                                  tower.width, tower.heads));
  }
}

}  // namespace models
