// Little-endian numbers in byte strings, as in zip headers and pickle arguments. The caller has
// checked that the bytes exist.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bridge {

template <std::unsigned_integral T>
T load_le(std::string_view bytes, size_t at = 0) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes[at + i]));
  }
  return value;
}

template <std::unsigned_integral T>
void append_le(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

}  // namespace bridge
