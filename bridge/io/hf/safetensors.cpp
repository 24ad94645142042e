// Reads and writes safetensors headers.
//
// Reading:
//   1. Check the length N against the cap and the file before allocating anything.
//   2. Visit the text instead of holding it as a tree. Check an entry when its object closes (names
//      of keys, dtype, shape, offsets; size == dtype x shape).
//   3. Sort the entries by offset; they must tile the payload from 0 to its end.
// Memory that grows with the text is reserved from the budget before it is allocated.
//
// Truth: safetensors/src/tensor.rs (0.8): read_metadata, Metadata::validate, prepare, enum Dtype.
#include "bridge/io/hf/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <span>

#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 64;  // torch's limit
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kWhat = "safetensors headers";

int64_t kept_bytes(const SafetensorsEntry& entry) {
  return static_cast<int64_t>(sizeof(entry)) + heap_cost(entry.name.size()) +
         heap_cost(entry.shape.size() * sizeof(int64_t));
}

int64_t kept_bytes(const std::pair<std::string, std::string>& item) {
  return static_cast<int64_t>(sizeof(item)) + heap_cost(item.first.size()) +
         heap_cost(item.second.size());
}

Dtype dtype_of(std::string_view name) {
  if (const std::optional<Dtype> dtype = dtype_from_safetensors(name)) return *dtype;
  for (const std::string_view known : {"F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"}) {
    if (name == known) unsupported(fmt::format("dtype {} is not supported", name));
  }
  bad_input(fmt::format("unknown dtype \"{}\"", printable(name)));
}

class HeaderVisitor : public JsonVisitor {
 public:
  // `grown` counts what the visitor and the JSON reader allocate.
  HeaderVisitor(SafetensorsHeader& header, Reservation& grown) : header_(header), grown_(grown) {}

  void on_key(int depth, std::string_view key) override {
    // The JSON reader keeps a copy and a record of the key, both in buffers that double.
    grown_.grow(2 * heap_cost(key.size()));
    if (depth == 1) {
      if (key.size() > kLongestTensorName) {
        bad_input(fmt::format("a tensor name of {} bytes, at most {} are accepted", key.size(),
                              kLongestTensorName));
      }
      in_metadata_ = key == kMetadataKey;
      name_ = key;
    } else {
      key_ = key;
      if (!in_metadata_ && key != "dtype" && key != "shape" && key != "data_offsets") {
        fail(fmt::format("unknown key \"{}\"", printable(key)));
      }
    }
  }
  void on_string(int depth, std::string_view value) override {
    if (depth == 2 && in_metadata_) {
      grown_.grow(2 * static_cast<int64_t>(sizeof(header_.metadata[0])) + heap_cost(key_.size()) +
                  heap_cost(value.size()));
      header_.metadata.emplace_back(key_, value);
    } else if (depth == 2 && key_ == "dtype") {
      dtype_ = with_context([this] { return tensor(); }, [&] { return dtype_of(value); });
    } else {
      unexpected("a string", depth);
    }
  }
  void on_integer(int depth, int64_t value) override {
    if (depth != 3 || in_metadata_) unexpected("a number", depth);
    if (value < 0) fail(fmt::format("{} holds the negative number {}", key_, value));
    std::vector<int64_t>& numbers = key_ == "shape" ? shape_ : offsets_;
    const size_t most = key_ == "shape" ? kMaxRank : 2;
    if (numbers.size() == most) fail(fmt::format("{} has more than {} numbers", key_, most));
    numbers.push_back(value);
  }
  void on_unsigned(int depth, uint64_t value) override {
    if (depth != 3) unexpected("a number", depth);
    fail(fmt::format("{} holds {}, which is out of range", key_, value));
  }
  void on_real(int depth, double, std::string_view text) override {
    if (depth != 3) unexpected("a number", depth);
    fail(fmt::format("{} holds {}, which is not an integer in range", key_, printable(text)));
  }
  void on_null(int depth) override { unexpected("null", depth); }
  void on_bool(int depth, bool) override { unexpected("a boolean", depth); }
  void on_begin_array(int depth) override {
    if (depth != 2 || in_metadata_ || key_ == "dtype") unexpected("an array", depth);
    (key_ == "shape" ? has_shape_ : has_offsets_) = true;
  }
  void on_end_array(int) override {}
  void on_begin_object(int depth) override {
    if (depth > 1) unexpected("an object", depth);
    dtype_.reset();
    has_shape_ = has_offsets_ = false;
    shape_.clear();
    offsets_.clear();
  }
  void on_end_object(int depth) override {
    if (depth == 1 && !in_metadata_) add_entry();
  }

 private:
  void add_entry() {
    if (!dtype_) fail("no dtype");
    if (!has_shape_) fail("no shape");
    if (!has_offsets_) fail("no data_offsets");
    if (offsets_.size() != 2) fail("data_offsets is not a pair");
    SafetensorsEntry entry{name_, *dtype_, shape_, offsets_[0], offsets_[1]};
    if (entry.begin > entry.end) {
      fail(fmt::format("data_offsets [{}, {}] end before they begin", entry.begin, entry.end));
    }
    const int64_t size = with_context([this] { return tensor(); },
                                      [&] { return byte_size(entry.dtype, entry.shape); });
    if (entry.end - entry.begin != size) {
      fail(fmt::format("data_offsets [{}, {}] hold {} bytes, {} {} needs {}", entry.begin,
                       entry.end, entry.end - entry.begin, safetensors_name(entry.dtype),
                       shape_text(entry.shape), size));
    }
    grown_.grow(2 * kept_bytes(entry));
    header_.entries.push_back(std::move(entry));
  }

  std::string tensor() const { return fmt::format("tensor {}", printable(name_)); }
  [[noreturn]] void fail(std::string_view what) const {
    bad_input(fmt::format("{}: {}", tensor(), what));
  }
  [[noreturn]] void unexpected(std::string_view what, int depth) const {
    if (depth == 0) bad_input(fmt::format("the header is {}, not an object", what));
    if (in_metadata_ && depth == 1) bad_input(fmt::format("__metadata__ is {}", what));
    if (in_metadata_) {
      bad_input(fmt::format("__metadata__: {} is {}, not a string", printable(key_), what));
    }
    if (depth == 1) fail(fmt::format("{} instead of an object", what));
    fail(fmt::format("{} holds {}", key_, what));
  }

  SafetensorsHeader& header_;
  Reservation& grown_;
  bool in_metadata_ = false;
  std::string name_;  // key at depth 1
  std::string key_;   // key at depth 2
  std::optional<Dtype> dtype_;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  Shape shape_;
  std::vector<int64_t> offsets_;
};

// Sorts the entries and checks that they tile the payload. Returns the size of the payload.
int64_t check_tiling(std::vector<SafetensorsEntry>& entries) {
  const auto before = [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  };
  if (!std::is_sorted(entries.begin(), entries.end(), before)) {
    std::stable_sort(entries.begin(), entries.end(), before);
  }
  int64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != end) {
      bad_input(fmt::format("tensor {}: {} between {} and {} of the payload", printable(entry.name),
                            entry.begin > end ? "hole" : "overlap", std::min(entry.begin, end),
                            std::max(entry.begin, end)));
    }
    end = entry.end;
  }
  return end;
}

SafetensorsHeader parse(std::string_view json, int64_t payload_size, MemoryBudget* budget) {
  if (static_cast<int64_t>(json.size()) > kMaxHeaderBytes) {
    bad_input(
        fmt::format("header of {} bytes, at most {} are accepted", json.size(), kMaxHeaderBytes));
  }
  if (!json.starts_with('{')) bad_input("the header does not start with '{'");
  SafetensorsHeader header;
  header.payload_offset = kLengthBytes + static_cast<int64_t>(json.size());
  Reservation grown(budget, kWhat);
  Reservation reader(budget, kWhat);
  reader.grow(json_reader_bytes(json));
  HeaderVisitor visitor(header, grown);
  visit_json(json, visitor, {.max_bytes = kMaxHeaderBytes, .max_depth = 3});
  const int64_t end = check_tiling(header.entries);
  if (payload_size >= 0 && end != payload_size) {
    bad_input(fmt::format("the tensors end at {}, the payload has {} bytes", end, payload_size),
              payload_size < end ? "the file is cut short: fetch or copy it again" : "");
  }
  header.payload_size = end;

  header.entries.shrink_to_fit();
  header.metadata.shrink_to_fit();
  int64_t kept = 0;
  for (const SafetensorsEntry& entry : header.entries) kept += kept_bytes(entry);
  for (const auto& item : header.metadata) kept += kept_bytes(item);
  grown.shrink_to(kept);
  grown.keep();
  return header;
}

// Where git-lfs is not installed, `git clone` leaves a few lines of text in place of a large file.
void refuse_git_lfs_pointer(const File& file) {
  constexpr std::string_view kStart = "version https://git-lfs.github.com/spec/";
  std::array<char, kStart.size()> start;
  if (file.size() < static_cast<int64_t>(start.size())) return;
  file.read_at(0, std::as_writable_bytes(std::span(start)));
  if (std::string_view(start.data(), start.size()) != kStart) return;
  bad_input("a git-lfs pointer, not the file itself",
            "run `git lfs pull` in the folder, or fetch the model with `hf download`");
}

// Reads and checks the length N of the header text.
int64_t read_header_length(const File& file) {
  if (file.size() < kLengthBytes) {
    bad_input(fmt::format("{} bytes, too short for a safetensors file", file.size()));
  }
  std::array<std::byte, kLengthBytes> bytes;
  file.read_at(0, bytes);
  uint64_t length = 0;
  for (size_t i = bytes.size(); i-- > 0;)
    length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    refuse_git_lfs_pointer(file);
    bad_input(fmt::format("header of {} bytes, at most {} are accepted", length, kMaxHeaderBytes));
  }
  if (static_cast<int64_t>(length) > file.size() - kLengthBytes) {
    bad_input(fmt::format("header of {} bytes in a file of {}", length, file.size()),
              "the file is cut short, or no safetensors file");
  }
  return static_cast<int64_t>(length);
}

std::string file_name(const File& file) {
  return printable(file.path().filename().string());
}

std::string read_text(const File& file, int64_t offset, int64_t size) {
  std::string text(static_cast<size_t>(size), '\0');
  file.read_at(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

// Returns the position in the reference's enum Dtype, by which its writer sorts.
int reference_rank(Dtype dtype) {
  constexpr std::array kOrder = {
      Dtype::kBool,   Dtype::kF4E2M1, Dtype::kU8,  Dtype::kI8,  Dtype::kF8E5M2, Dtype::kF8E4M3,
      Dtype::kF8E8M0, Dtype::kI16,    Dtype::kU16, Dtype::kF16, Dtype::kBF16,   Dtype::kI32,
      Dtype::kU32,    Dtype::kF32,    Dtype::kF64, Dtype::kI64, Dtype::kU64};
  return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), dtype) - kOrder.begin());
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t payload_size) {
  return parse(json, payload_size, nullptr);
}

SafetensorsHeader read_safetensors_header(const File& file, MemoryBudget& budget) {
  return with_context([&] { return file_name(file); },
                      [&] {
                        const int64_t length = read_header_length(file);
                        Reservation text_bytes(&budget, kWhat);
                        text_bytes.grow(length);
                        const std::string raw = read_text(file, 0, kLengthBytes + length);
                        SafetensorsHeader header =
                            parse(std::string_view(raw).substr(kLengthBytes),
                                  file.size() - kLengthBytes - length, &budget);
                        header.crc = crc32(std::as_bytes(std::span(raw)));
                        return header;
                      });
}

std::string read_raw_safetensors_header(const File& file, MemoryBudget& budget) {
  return with_context([&] { return file_name(file); },
                      [&] {
                        const int64_t size = kLengthBytes + read_header_length(file);
                        Reservation text_bytes(&budget, kWhat);
                        text_bytes.grow(size);
                        return read_text(file, 0, size);
                      });
}

std::string make_safetensors_header(
    const std::vector<SafetensorsEntry>& entries,
    const std::vector<std::pair<std::string, std::string>>& metadata) {
  std::string json(kLengthBytes, '\0');
  json += '{';
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      json += fmt::format("{}:{},", json_quote(key), json_quote(value));
    }
    json.back() = '}';
    json += ',';
  }
  for (const SafetensorsEntry& entry : entries) {
    json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},",
                        json_quote(entry.name), safetensors_name(entry.dtype),
                        fmt::join(entry.shape, ","), entry.begin, entry.end);
  }
  if (json.back() == ',') json.pop_back();
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const auto length = static_cast<int64_t>(json.size()) - kLengthBytes;
  if (length > kMaxHeaderBytes) {
    unsupported(fmt::format("safetensors header of {} bytes, at most {} are allowed", length,
                            kMaxHeaderBytes),
                "use a smaller --max-shard-size");
  }
  for (size_t i = 0; i < kLengthBytes; ++i) {
    json[i] = static_cast<char>(static_cast<uint64_t>(length) >> (8 * i) & 0xff);
  }
  return json;
}

std::vector<size_t> safetensors_order(const std::vector<SafetensorsEntry>& entries) {
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int rank_a = reference_rank(entries[a].dtype);
    const int rank_b = reference_rank(entries[b].dtype);
    return rank_a != rank_b ? rank_a > rank_b : entries[a].name < entries[b].name;
  });
  return order;
}

}  // namespace bridge
