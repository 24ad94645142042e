// Checks that the names and prefixes of a table can be names of tensors. Internal to mappings.
// Errors: kBadInput.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mappings/table/table.h"

namespace mappings {

constexpr size_t kLongestName = 256;

bool is_identifier(std::string_view text);
// True if the text has only characters that occur in tensor names.
bool is_name_text(std::string_view text);

// Requires that the entries of a list differ and are not empty.
void check_no_repeats(const std::vector<std::string>& names, std::string_view what);

// A name pattern of a row, drop or module. prefix is "L" or "H".
void check_name(const Table& table, const std::string& name, std::string_view prefix,
                const std::string& family, bool per_expert = false);

// A family's prefix: literal text and {l}; an HF prefix may also have dialect placeholders and
// {expressions}.
void check_prefix(const Table& table, const std::string& prefix, bool megatron);

}  // namespace mappings
