#include "mappings/table/table_head.h"

#include "bridge/io/base/json_strict.h"

namespace mappings {
namespace {

struct EndOfHead {};

class HeadReader : public bridge::JsonVisitor {
 public:
  TableHead take() { return std::move(head_); }

  void on_key(int depth, std::string_view key) override {
    if (depth == 2) member_ = key;
    if (depth != 1) return;
    if (key != "architectures" && key != "about" && key != "model_types" && key != "not_served") {
      throw EndOfHead{};
    }
    key_ = key;
  }
  void on_string(int depth, std::string_view value) override {
    if (depth == 2 && key_ == "architectures") head_.architectures.emplace_back(value);
    if (depth == 2 && key_ == "model_types") head_.model_types.emplace_back(value);
    if (depth == 3 && key_ == "not_served") other_.emplace_back(value);
    if (key_ == "about") add_to_about(value);
  }
  void on_end_array(int /*depth*/) override {
    if (other_.size() == 3) head_.not_served.push_back({other_[0], other_[1], other_[2], {}});
    other_.clear();
  }

  void on_null(int /*depth*/) override {}
  void on_bool(int /*depth*/, bool /*value*/) override {}
  void on_integer(int /*depth*/, int64_t /*value*/) override {}
  void on_unsigned(int /*depth*/, uint64_t /*value*/) override {}
  void on_real(int /*depth*/, double /*value*/, std::string_view /*text*/) override {}
  void on_begin_object(int /*depth*/) override {}
  void on_end_object(int /*depth*/) override {}
  void on_begin_array(int /*depth*/) override {}

 private:
  void add_to_about(std::string_view value) {
    if (member_ == "models") head_.about.models = value;
    if (member_ == "quantized") head_.about.quantized.emplace_back(value);
    if (member_ == "mtp") head_.about.mtp = value;
    if (member_ == "checked") head_.about.checked.emplace_back(value);
  }

  TableHead head_;
  std::string key_;
  std::string member_;              // of "about"
  std::vector<std::string> other_;  // [name, text, remedy] so far
};

}  // namespace

TableHead read_head(std::string_view text) {
  HeadReader reader;
  try {
    bridge::visit_json(text, reader, {.allow_comments = true});
  } catch (const EndOfHead&) {
    // The head is complete.
  }
  return reader.take();
}

}  // namespace mappings
