// A lexer that follows just enough of JSON with comments to know depth, keys and lines:
//   1. strings and comments are skipped as a whole, newlines are counted everywhere
//   2. at depth 1 a string followed by ':' is the current key
//   3. at depth 2 the first token after '[', '{' or ',' starts an element
#include "mappings/table/table_lines.h"

namespace mappings {
namespace {

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::map<std::string, std::vector<int>> run() {
    while (at_ < text_.size()) step();
    return std::move(lines_);
  }

 private:
  void step() {
    const char c = text_[at_];
    if (c == '\n') ++line_;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      ++at_;
    } else if (c == '/') {
      skip_comment();
    } else if (c == ',') {
      starts_ = depth_ == 2;
      ++at_;
    } else if (c == ']' || c == '}') {
      --depth_;
      starts_ = false;
      ++at_;
    } else {
      if (depth_ == 2 && starts_) lines_[key_].push_back(line_);
      starts_ = false;
      if (c == '"') {
        skip_string();
      } else {
        if (c == '[' || c == '{') starts_ = ++depth_ == 2;
        ++at_;
      }
    }
  }

  void skip_comment() {
    const bool block = text_.substr(at_, 2) == "/*";
    const size_t end = text_.find(block ? "*/" : "\n", at_ + 1);
    const size_t stop = end == std::string_view::npos ? text_.size() : end + (block ? 2 : 0);
    for (; at_ < stop; ++at_) {
      if (text_[at_] == '\n') ++line_;
    }
  }

  void skip_string() {
    const size_t begin = ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    const size_t end = at_ < text_.size() ? at_ : text_.size();
    ++at_;
    // At depth 1 every string before ':' is a key; values at depth 1 are overwritten by the next
    // key.
    if (depth_ == 1) key_ = std::string(text_.substr(begin, end - begin));
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  int depth_ = 0;
  bool starts_ = false;
  std::string key_;
  std::map<std::string, std::vector<int>> lines_;
};

}  // namespace

std::map<std::string, std::vector<int>> element_lines(std::string_view text) {
  return Lexer(text).run();
}

}  // namespace mappings
