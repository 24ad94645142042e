#include "bridge/io/number/dtype.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

namespace bridge {
namespace {

struct Row {
  Dtype dtype;
  std::string_view safetensors;
  std::string_view torch;
  std::string_view torch_storage;
};

constexpr std::array kRows = {
    Row{Dtype::kBool, "BOOL", "bool", "BoolStorage"},
    Row{Dtype::kU8, "U8", "uint8", "ByteStorage"},
    Row{Dtype::kI8, "I8", "int8", "CharStorage"},
    Row{Dtype::kI16, "I16", "int16", "ShortStorage"},
    Row{Dtype::kU16, "U16", "uint16", ""},
    Row{Dtype::kI32, "I32", "int32", "IntStorage"},
    Row{Dtype::kU32, "U32", "uint32", ""},
    Row{Dtype::kI64, "I64", "int64", "LongStorage"},
    Row{Dtype::kU64, "U64", "uint64", ""},
    Row{Dtype::kF16, "F16", "float16", "HalfStorage"},
    Row{Dtype::kBF16, "BF16", "bfloat16", "BFloat16Storage"},
    Row{Dtype::kF32, "F32", "float32", "FloatStorage"},
    Row{Dtype::kF64, "F64", "float64", "DoubleStorage"},
    Row{Dtype::kF8E4M3, "F8_E4M3", "float8_e4m3fn", ""},
    Row{Dtype::kF8E5M2, "F8_E5M2", "float8_e5m2", ""},
    Row{Dtype::kF8E8M0, "F8_E8M0", "float8_e8m0fnu", ""},
    Row{Dtype::kF4E2M1, "F4", "float4_e2m1fn_x2", ""},
    Row{Dtype::kI4, "I4", "", ""},
};

const Row& row_of(Dtype dtype) {
  return kRows.at(static_cast<size_t>(dtype));
}

std::optional<Dtype> find(std::string_view name, std::string_view Row::*column) {
  for (const Row& row : kRows) {
    if (!name.empty() && row.*column == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace

bool is_plain_float(Dtype dtype) {
  return dtype == Dtype::kF16 || dtype == Dtype::kBF16 || dtype == Dtype::kF32 ||
         dtype == Dtype::kF64;
}

std::string_view safetensors_name(Dtype dtype) {
  return row_of(dtype).safetensors;
}
std::string_view torch_name(Dtype dtype) {
  return row_of(dtype).torch;
}
std::string_view torch_storage_name(Dtype dtype) {
  return row_of(dtype).torch_storage;
}

std::optional<Dtype> dtype_from_safetensors(std::string_view name) {
  const std::optional<Dtype> dtype = find(name, &Row::safetensors);
  return dtype == Dtype::kI4 ? std::nullopt : dtype;
}
std::optional<Dtype> dtype_from_torch(std::string_view name) {
  return find(name, &Row::torch);
}
std::optional<Dtype> dtype_from_torch_storage(std::string_view name) {
  return find(name, &Row::torch_storage);
}

int64_t byte_size(Dtype dtype, const Shape& shape) {
  const int64_t bits = checked_mul(element_count(shape), bits_of(dtype), "tensor size");
  if (bits % 8 != 0) {
    bad_input(fmt::format("{} tensor of shape {} does not end on a byte", safetensors_name(dtype),
                          shape_text(shape)));
  }
  return bits / 8;
}

std::string shape_text(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace bridge
