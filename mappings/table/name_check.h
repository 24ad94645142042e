// Whether the names and prefixes of a table are such that tensors can be called so. Internal to mappings.
// Errors: kBadInput.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mappings/table/table.h"

namespace mappings {

constexpr size_t kLongestName = 256;

bool is_identifier(std::string_view text);
bool is_name_text(std::string_view text);  // characters of tensor names only

// Entries of a list that must differ and not be empty.
void check_no_repeats(const std::vector<std::string>& names, std::string_view what);

// A name pattern of a row, drop or module. prefix is "L" or "H".
void check_name(const Table& table, const std::string& name, std::string_view prefix,
                const std::string& family, bool per_expert = false);

// A family's prefix: literal text, {l}, and for HF also dialect placeholders and {expressions}.
void check_prefix(const Table& table, const std::string& prefix, bool megatron);

}  // namespace mappings
