// A lexer that follows just enough of JSON with comments to know containers and lines:
//   1. strings and comments are skipped as a whole, newlines are counted everywhere
//   2. the first token after '[', '{' or ',' starts a child of the container that is open
//   3. a bracket opens the child that was started last: an element, or the value of a member
#include "mappings/table/table_lines.h"

namespace mappings {
namespace {

constexpr size_t kDeepest = 5;  // containers: table, section, group, its rows, a row

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  LineTree run() {
    // The top value is the only child of a container of our own.
    LineTree document;
    open_.push_back(&document);
    while (at_ < text_.size()) step();
    return document.children.empty() ? LineTree{} : std::move(document.children[0]);
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
      starts_ = true;
      ++at_;
    } else if (c == ']' || c == '}') {
      open_.pop_back();
      starts_ = false;
      ++at_;
    } else {
      start_child();
      if (c == '"') {
        skip_string();
      } else {
        if (c == '[' || c == '{') open_child();
        ++at_;
      }
    }
  }

  void start_child() {
    if (starts_ && open_.size() <= kDeepest) open_.back()->children.push_back({line_, {}});
    starts_ = false;
  }

  // A child grows after its container has stopped growing, so pointers stay valid.
  void open_child() {
    open_.push_back(open_.size() <= kDeepest ? &open_.back()->children.back() : nullptr);
    starts_ = true;
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
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    ++at_;
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool starts_ = true;
  std::vector<LineTree*> open_;
};

}  // namespace

LineTree line_tree(std::string_view text) {
  return Lexer(text).run();
}

}  // namespace mappings
