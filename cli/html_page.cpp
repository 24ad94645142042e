#include "cli/html_page.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace cli {
namespace {

std::string_view file(std::string_view name) {
  for (const mappings::EmbeddedText& each : embedded_pages()) {
    if (each.file == name) return each.text;
  }
  bridge::internal_error(fmt::format("the page's file {} was not compiled in", name));
}

// Text between tags.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

// JSON in which no "</script>" can end the element: "<" occurs only within strings.
std::string for_script(const nlohmann::ordered_json& data) {
  std::string out;
  const std::string text =
      data.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string html_page(std::string_view page, std::string_view title,
                      const nlohmann::ordered_json& data) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main></main>\n"
      "<script type=\"application/json\" id=\"data\">{}</script>\n"
      "<script>\n{}{}</script>\n</body>\n</html>\n",
      escaped(title), file("style.css"), for_script(data), file("parts.js"),
      file(fmt::format("{}.js", page)));
}

}  // namespace cli
