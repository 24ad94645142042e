// A self-contained page (--html): style, script and data in one file, which needs no network. The
// data are JSON, from which the page's own script makes everything that is seen. It sets texts as
// texts, never as markup, so that names from a checkpoint cannot become part of the page.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "mappings/table/embedded.h"

namespace cli {

// The files of cli/pages/, which cmake/EmbedTables.cmake compiles into the binary.
std::span<const mappings::EmbeddedText> embedded_pages();

// page: "verify" or "inspect", the name of its script in cli/pages/. title: plain text.
std::string html_page(std::string_view page, std::string_view title,
                      const nlohmann::ordered_json& data);

}  // namespace cli
