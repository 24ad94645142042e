// Reads the weight map as events. Shards get numbers in order of appearance; the end renumbers them
// in order of their names.
#include "bridge/io/hf/hf_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/hf/safetensors.h"

namespace bridge {
namespace {

class IndexVisitor : public JsonVisitor {
 public:
  explicit IndexVisitor(Reservation& grown) : grown_(grown) {}

  void on_key(int depth, std::string_view key) override {
    // The JSON reader keeps a copy and a record of the key, both in buffers that double.
    grown_.grow(2 * heap_cost(key.size()));
    if (depth == 1) in_map_ = key == "weight_map";
    if (depth == 2 && in_map_) {
      if (key.size() > kLongestTensorName) {
        bad_input(fmt::format("weight_map: a tensor name of {} bytes, at most {} are accepted",
                              key.size(), kLongestTensorName));
      }
      tensor_ = key;
    }
  }
  void on_string(int depth, std::string_view value) override {
    if (!in_map_ || depth != 2) return unexpected(depth);
    grown_.grow(static_cast<int64_t>(2 * sizeof(WeightMapEntry)) + heap_cost(tensor_.size()));
    map_.entries.push_back({tensor_, shard_number(value)});
  }
  void on_begin_object(int depth) override {
    if (in_map_ && depth == 1) {
      found_ = true;
    } else if (depth > 0) {
      unexpected(depth);
    }
  }
  void on_end_object(int) override {}
  void on_null(int depth) override { unexpected(depth); }
  void on_bool(int depth, bool) override { unexpected(depth); }
  void on_integer(int depth, int64_t) override { unexpected(depth); }
  void on_unsigned(int depth, uint64_t) override { unexpected(depth); }
  void on_real(int depth, double, std::string_view) override { unexpected(depth); }
  void on_begin_array(int depth) override { unexpected(depth); }
  void on_end_array(int) override {}

  WeightMap take() {
    if (!found_) bad_input("no weight_map");
    if (map_.entries.empty()) bad_input("weight_map is empty");
    // Numbers were given in order of appearance; std::map iterates in order of names.
    std::vector<int32_t> sorted(numbers_.size());
    for (const auto& [name, number] : numbers_) {
      sorted[static_cast<size_t>(number)] = static_cast<int32_t>(map_.shards.size());
      map_.shards.push_back(name);
    }
    for (WeightMapEntry& entry : map_.entries) {
      entry.shard = sorted[static_cast<size_t>(entry.shard)];
    }
    std::sort(map_.entries.begin(), map_.entries.end(),
              [](const WeightMapEntry& a, const WeightMapEntry& b) { return a.tensor < b.tensor; });
    return std::move(map_);
  }

 private:
  // Handles a value that is not a file name: an error as the document or in weight_map, allowed
  // elsewhere.
  void unexpected(int depth) const {
    if (depth == 0) bad_input("not a JSON object");
    if (!in_map_) return;
    if (depth == 1) bad_input("weight_map is not an object");
    bad_input(fmt::format("weight_map: tensor {}: not a file name", printable(tensor_)));
  }

  int32_t shard_number(std::string_view name) {
    auto found = numbers_.find(name);
    if (found == numbers_.end()) {
      if (!is_safe_file_name(name)) {
        bad_input(fmt::format("weight_map: tensor {}: \"{}\" is not a plain file name",
                              printable(tensor_), printable(name)));
      }
      // The name is kept here and in the result.
      grown_.grow(2 * (heap_cost(name.size()) + kHashEntryCost));
      found = numbers_.emplace(name, static_cast<int32_t>(numbers_.size())).first;
    }
    return found->second;
  }

  Reservation& grown_;
  WeightMap map_;
  std::map<std::string, int32_t, std::less<>> numbers_;
  std::string tensor_;
  bool in_map_ = false;
  bool found_ = false;
};

class MetadataVisitor : public JsonVisitor {
 public:
  void on_key(int depth, std::string_view key) override {
    if (depth == 1) in_metadata_ = key == "metadata";
    wanted_ = in_metadata_ && depth == 2 && key == "total_parameters";
  }
  void on_integer(int depth, int64_t value) override {
    if (wanted_ && depth == 2 && value >= 0) total_parameters = value;
  }
  void on_null(int) override {}
  void on_bool(int, bool) override {}
  void on_unsigned(int, uint64_t) override {}
  void on_real(int, double, std::string_view) override {}
  void on_string(int, std::string_view) override {}
  void on_begin_object(int) override {}
  void on_end_object(int) override {}
  void on_begin_array(int) override {}
  void on_end_array(int) override {}

  std::optional<int64_t> total_parameters;

 private:
  bool in_metadata_ = false;
  bool wanted_ = false;
};

}  // namespace

std::optional<int64_t> total_parameters_of_index(std::string_view json) {
  MetadataVisitor visitor;
  visit_json(json, visitor, {.max_bytes = static_cast<int64_t>(json.size()), .non_finite = true});
  return visitor.total_parameters;
}

WeightMap parse_weight_map(std::string_view json, Reservation& grown) {
  grown.grow(json_reader_bytes(json));
  IndexVisitor visitor(grown);
  visit_json(json, visitor, {.max_bytes = static_cast<int64_t>(json.size()), .non_finite = true});
  return visitor.take();
}

}  // namespace bridge
