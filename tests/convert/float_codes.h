// The values of element formats, by their definitions: e2m1 and e8m0 of OCP Microscaling Formats
// 1.0, e4m3 of OCP OFP8 (without infinities), and BF16.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

namespace bridge {

inline float e2m1(int code) {
  constexpr std::array<float, 8> kValues = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  const float magnitude = kValues[static_cast<size_t>(code & 7)];
  return code & 8 ? -magnitude : magnitude;
}

inline float e8m0(char byte) {
  const auto exponent = static_cast<uint8_t>(byte);
  return exponent == 255 ? std::nanf("") : std::ldexp(1.0F, exponent - 127);
}

inline float e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  const float sign = code & 0x80 ? -1.0F : 1.0F;
  if (exponent == 15 && mantissa == 7) return std::nanf("");
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                               : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10));
}

// The element of this number among little-endian BF16 or F32 values, which take `size` bytes each.
inline float float_at(const std::string& bytes, size_t number, size_t size = 2) {
  uint32_t bits = 0;
  std::memcpy(reinterpret_cast<char*>(&bits) + 4 - size, &bytes[number * size], size);
  float value = 0;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace bridge
