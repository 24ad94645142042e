// Emission has two layers: scalars by kind (reals as Python prints them, text plain only where no
// YAML 1.1 reader could take it for something else), and containers as indented blocks.
#include "mappings/megatron/yaml_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "bridge/io/base/error.h"
#include "bridge/io/base/utf8.h"

namespace mappings {
namespace {

// Follows Python's repr(float): the shortest digits that read back to the same value, and an
// exponent below 1e-4 and from 1e16 on. YAML 1.1 also requires a point before the exponent.
std::string real_text(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
  std::array<char, 64> buffer;
  const auto format = value != 0 && (std::fabs(value) < 1e-4 || std::fabs(value) >= 1e16)
                          ? std::chars_format::scientific
                          : std::chars_format::fixed;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string text(buffer.data(), end);
  if (text.find('.') != std::string::npos) return text;
  const size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text + ".0";
  return text.insert(exponent, ".0");
}

bool is_plain_text(std::string_view text) {
  // YAML 1.1 reads these words as booleans and null, in three capitalizations.
  static constexpr std::string_view kReserved[] = {"y",   "n",    "yes",   "no",  "on",
                                                   "off", "true", "false", "null"};
  if (text.empty()) return false;
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  if (!letter(text[0])) return false;  // a number, date or indicator
  const bool plain = std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-';
  });
  if (!plain) return false;
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(std::begin(kReserved), std::end(kReserved), lower) == std::end(kReserved);
}

std::string escaped_text(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const size_t length = bridge::utf8_sequence_length(text);
    if (length == 0) bridge::bad_input("text for a YAML file is not UTF-8");
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    if (length == 1) {
      if (text[0] == '"' || text[0] == '\\') {
        out += '\\';
        out += text[0];
      } else if (byte(0) < 0x20 || byte(0) == 0x7f) {
        out += fmt::format("\\x{:02X}", byte(0));
      } else {
        out += text[0];
      }
    } else {
      uint32_t code = byte(0) & (0x7fU >> length);
      for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3fU);
      out += code > 0xffff ? fmt::format("\\U{:08X}", code) : fmt::format("\\u{:04X}", code);
    }
    text.remove_prefix(length);
  }
  return out + "\"";
}

std::string string_text(const std::string& text) {
  if (is_plain_text(text)) return text;
  const bool printable_ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!printable_ascii) return escaped_text(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

void emit(const Json& json, size_t indent, std::string& out);

// Emits what follows "key:" or "-": a scalar or empty container on the same line, anything else as
// a block.
void emit_after(const Json& json, size_t indent, std::string& out) {
  if (!json.is_structured() || json.empty()) {
    out += ' ';
    emit(json, indent, out);
    out += '\n';
  } else {
    out += '\n';
    emit(json, indent, out);
  }
}

void emit_object(const Json& json, size_t indent, std::string& out) {
  std::map<std::string, const Json*> sorted;
  for (const auto& [key, value] : json.items()) sorted.emplace(key, &value);
  for (const auto& [key, value] : sorted) {
    out.append(indent, ' ');
    out += string_text(key) + ":";
    // A list inside an object is not indented further.
    emit_after(*value, value->is_array() ? indent : indent + 2, out);
  }
}

void emit_list(const Json& json, size_t indent, std::string& out) {
  for (const Json& item : json) {
    out.append(indent, ' ');
    out += '-';
    if (item.is_structured() && !item.empty()) {
      // "- a: 1": the dash and a space replace the first indentation of the block.
      std::string block;
      emit(item, indent + 2, block);
      out += ' ';
      out.append(block, indent + 2, std::string::npos);
    } else {
      emit_after(item, indent + 2, out);
    }
  }
}

void emit(const Json& json, size_t indent, std::string& out) {
  if (json.is_structured() && json.empty()) {
    out += json.is_array() ? "[]" : "{}";
  } else if (json.is_object()) {
    emit_object(json, indent, out);
  } else if (json.is_array()) {
    emit_list(json, indent, out);
  } else {
    out += yaml_scalar(json);
  }
}

}  // namespace

std::string yaml_scalar(const Json& scalar) {
  if (scalar.is_string()) return string_text(scalar.get<std::string>());
  if (scalar.is_number_float()) return real_text(scalar.get<double>());
  return scalar.dump();
}

std::string yaml_text(const Json& top) {
  if (!top.is_object()) bridge::internal_error("a YAML document of ours is an object");
  std::string out;
  if (!top.empty()) emit_object(top, 0, out);
  return out;
}

}  // namespace mappings
