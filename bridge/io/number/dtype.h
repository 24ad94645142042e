// The element types Causeway knows, their sizes, and their names in each format. I4 is a type of
// elements only, which no format names: eight lie in an I32 (int4.h).
// Truth: safetensors' tensor.rs (header names), torch/_utils.py and torch/storage.py (storage
// classes).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/base/checked.h"

namespace bridge {

enum class Dtype : uint8_t {
  kBool,
  kU8,
  kI8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kF16,
  kBF16,
  kF32,
  kF64,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kF4E2M1,
  kI4,
};

// 4 for kF4E2M1 and kI4, else a multiple of 8. Inline, because it is called for every row of every
// block.
constexpr int bits_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF4E2M1:
    case Dtype::kI4:
      return 4;
    case Dtype::kBool:
    case Dtype::kU8:
    case Dtype::kI8:
    case Dtype::kF8E4M3:
    case Dtype::kF8E5M2:
    case Dtype::kF8E8M0:
      return 8;
    case Dtype::kI16:
    case Dtype::kU16:
    case Dtype::kF16:
    case Dtype::kBF16:
      return 16;
    case Dtype::kI32:
    case Dtype::kU32:
    case Dtype::kF32:
      return 32;
    case Dtype::kI64:
    case Dtype::kU64:
    case Dtype::kF64:
      return 64;
  }
  return 0;
}
inline bool is_sub_byte(Dtype dtype) {
  return bits_of(dtype) < 8;
}
// True for F16, BF16, F32 and F64, which --dtype may cast.
bool is_plain_float(Dtype dtype);

std::string_view safetensors_name(Dtype dtype);  // "BF16", "F8_E4M3"
std::string_view torch_name(Dtype dtype);        // "bfloat16", "float8_e4m3fn"
// The typed storage class of torch ("BFloat16Storage"); empty for types that torch stores untyped.
std::string_view torch_storage_name(Dtype dtype);

std::optional<Dtype> dtype_from_safetensors(std::string_view name);
std::optional<Dtype> dtype_from_torch(std::string_view name);
std::optional<Dtype> dtype_from_torch_storage(std::string_view name);

// Bytes of a dense tensor. Bad input on overflow, or if a sub-byte tensor does not end on a byte.
int64_t byte_size(Dtype dtype, const Shape& shape);

std::string shape_text(const Shape& shape);  // "[2, 64]"

}  // namespace bridge
