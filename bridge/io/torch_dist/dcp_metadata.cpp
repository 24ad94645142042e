// Reads `.metadata`.
//
//   1. Decode the pickle with two watched dicts, state_dict_metadata (dtypes, shapes, chunk boxes)
//      and storage_data (where each chunk lies). Each pair becomes a compact record and is dropped;
//      training state leaves nothing behind. The dicts may come in either order.
//   2. Join: sort the storage entries by (key, offsets); every tensor takes its own. Whatever is
//      left over on either side is an error.
//   3. The chunks of every tensor must tile it exactly (dcp_geometry.h).
#include "bridge/io/torch_dist/dcp_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <tuple>
#include <unordered_map>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/dcp_classes.h"
#include "bridge/io/torch_dist/dcp_geometry.h"

namespace bridge {
namespace {

constexpr std::string_view kWhat = "the tensors and chunks of .metadata";

// Bytes that the tiling check, and later DcpReader, need for each chunk.
constexpr int64_t kWorkPerChunk = 64;
// Bytes that a chunk of a weight needs in all: its storage entry, its key, and a plan made from it.
constexpr int64_t kExpectedPerChunk = 600;

constexpr size_t kLongestKey = 4096;

bool is_common_state(std::string_view key) {
  return key.starts_with("common_state/");
}

bool is_empty(const DcpChunk& chunk) {
  return std::find(chunk.sizes.begin(), chunk.sizes.end(), 0) != chunk.sizes.end();
}

class Decoder {
 public:
  explicit Decoder(MemoryBudget& budget) : budget_(budget) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { budget_.release(temporary_); }

  DcpMetadata decode(const File& file);

 private:
  struct Entry {  // of storage_data
    int32_t key;
    bool is_object;
    Shape offsets;
    int32_t file;
    int64_t offset;
    int64_t length;
  };
  // A deque grows without holding its content twice.
  using Entries = std::deque<Entry>;

  void on_state(const PickleNode& key, const PickleNode& value);
  void on_storage(const PickleNode& key, const PickleNode& value);
  void add_tensor(const std::string& key, DcpTensor tensor);
  int32_t number_of_key(const std::string& key);
  int32_t number_of_file(const std::string& path);

  void join();
  std::pair<Entries::const_iterator, Entries::const_iterator> entries_of(const std::string& key,
                                                                         bool is_object) const;
  void check_no_strangers() const;
  void place_chunks(DcpTensor& tensor) const;
  void place_object(DcpObject& object) const;

  void reserve(int64_t bytes) { budget_.reserve(bytes, kWhat); }
  void reserve_temporary(int64_t bytes) {
    temporary_ += bytes;  // first, because reserve() counts the bytes even when it throws
    budget_.reserve(bytes, kWhat);
  }

  MemoryBudget& budget_;
  int64_t temporary_ = 0;
  // True once storage_data has begun and the budget has been told how much will follow.
  bool expects_ = false;
  DcpMetadata result_;
  std::unordered_map<std::string, int32_t> keys_;
  struct Owner {
    bool tensor = false;
    bool object = false;
  };
  std::vector<Owner> owners_;  // by key number: what state_dict_metadata says about the key
  std::unordered_map<std::string, int32_t> files_;
  Entries entries_;
};

int32_t Decoder::number_of_key(const std::string& key) {
  const auto found = keys_.find(key);
  if (found != keys_.end()) return found->second;
  if (key.size() > kLongestKey) {
    bad_input(fmt::format("a key of {} bytes, at most {} are accepted", key.size(), kLongestKey));
  }
  reserve_temporary(heap_cost(key.size()) + kHashEntryCost);
  const auto number = checked_cast<int32_t>(keys_.size(), "number of keys");
  keys_.emplace(key, number);
  owners_.emplace_back();
  return number;
}

int32_t Decoder::number_of_file(const std::string& path) {
  const auto found = files_.find(path);
  if (found != files_.end()) return found->second;
  reserve(2 * heap_cost(path.size()) + 2 * kHashEntryCost);
  const auto number = checked_cast<int32_t>(files_.size(), "number of files");
  files_.emplace(path, number);
  result_.files.push_back(path);
  return number;
}

void Decoder::on_state(const PickleNode& key, const PickleNode& value) {
  if (key.kind != PickleNode::Kind::kString) bad_input("a key that is not a string");
  const bool training = is_training_state(key.text);
  if (is_dcp_object(value)) {
    if (training || !is_common_state(key.text)) {
      ++result_.dropped_objects;
      return;
    }
    Owner& owner = owners_[static_cast<size_t>(number_of_key(key.text))];
    if (owner.tensor || owner.object) bad_input(printable(key.text) + ": the key occurs twice");
    owner.object = true;
    reserve(heap_cost(key.text.size()) + static_cast<int64_t>(sizeof(DcpObject)));
    result_.objects.push_back({.key = key.text, .file = -1, .offset = 0, .length = 0});
  } else if (training) {
    ++result_.dropped_tensors;
  } else {
    with_context([&] { return printable(key.text); },
                 [&] { add_tensor(key.text, dcp_tensor_of(value)); });
  }
}

void Decoder::add_tensor(const std::string& key, DcpTensor tensor) {
  Owner& owner = owners_[static_cast<size_t>(number_of_key(key))];
  if (owner.tensor || owner.object) bad_input("the key occurs twice");
  owner.tensor = true;
  const int64_t shape = heap_cost(tensor.shape.size() * sizeof(int64_t));
  const int64_t chunk = static_cast<int64_t>(sizeof(DcpChunk)) + 2 * shape + kWorkPerChunk;
  reserve(static_cast<int64_t>(sizeof(DcpTensor)) + heap_cost(key.size()) + shape);
  reserve(checked_mul(static_cast<int64_t>(tensor.chunks.size()), chunk));
  tensor.key = key;
  result_.tensors.push_back(std::move(tensor));
}

void Decoder::on_storage(const PickleNode& key, const PickleNode& value) {
  if (!expects_) {
    // Nothing of the training state stays in memory, so the size of the file would overestimate the
    // need.
    int64_t chunks = 0;
    for (const DcpTensor& tensor : result_.tensors) chunks += std::ssize(tensor.chunks);
    budget_.expect(kExpectedPerChunk * chunks);
    expects_ = true;
  }
  DcpIndex index = dcp_index_of(key);
  if (is_training_state(*index.key)) return;
  if (index.is_object && !is_common_state(*index.key)) return;
  with_context([&] { return printable(*index.key); },
               [&] {
                 const DcpLocation location = dcp_location_of(value);
                 reserve_temporary(static_cast<int64_t>(sizeof(Entry)) +
                                   heap_cost(index.offsets.size() * sizeof(int64_t)));
                 entries_.push_back({.key = number_of_key(*index.key),
                                     .is_object = index.is_object,
                                     .offsets = std::move(index.offsets),
                                     .file = number_of_file(*location.relative_path),
                                     .offset = location.offset,
                                     .length = location.length});
               });
}

DcpMetadata Decoder::decode(const File& file) {
  PickleOptions options;
  options.allowed_classes = dcp_classes();
  options.watched_dicts.emplace_back("state_dict_metadata",
                                     [&](const PickleValue& key, const PickleValue& value) {
                                       on_state(*key, *value);
                                       return true;
                                     });
  options.watched_dicts.emplace_back("storage_data",
                                     [&](const PickleValue& key, const PickleValue& value) {
                                       on_storage(*key, *value);
                                       return true;
                                     });
  // Plain torch DCP keeps the path of every key here.
  options.watched_dicts.emplace_back("planner_data",
                                     [](const PickleValue&, const PickleValue&) { return true; });
  const PickleValue top = read_pickle(file, 0, file.size(), options, budget_);
  if (!is_dcp_metadata(*top))
    bad_input("the pickle is not a torch.distributed.checkpoint Metadata");
  for (const std::string_view name : {"state_dict_metadata", "storage_data"}) {
    const PickleNode* dict = top->get(name);
    if (dict == nullptr || dict->kind != PickleNode::Kind::kDict) {
      bad_input(fmt::format("Metadata without the dict '{}'", name));
    }
  }
  join();
  return std::move(result_);
}

void Decoder::join() {
  const auto order = [](const Entry& a, const Entry& b) {
    return std::tie(a.key, a.is_object, a.offsets) < std::tie(b.key, b.is_object, b.offsets);
  };
  std::sort(entries_.begin(), entries_.end(), order);
  check_no_strangers();
  for (DcpTensor& tensor : result_.tensors) {
    with_context([&] { return printable(tensor.key); }, [&] { place_chunks(tensor); });
  }
  for (DcpObject& object : result_.objects) {
    with_context([&] { return printable(object.key); }, [&] { place_object(object); });
  }
  const auto by_key = [](const auto& a, const auto& b) { return a.key < b.key; };
  std::sort(result_.tensors.begin(), result_.tensors.end(), by_key);
  std::sort(result_.objects.begin(), result_.objects.end(), by_key);
}

// Refuses entries whose keys are missing in state_dict_metadata or of the other kind there, and
// duplicate entries.
void Decoder::check_no_strangers() const {
  const auto name_of = [&](const Entry& entry) {
    const auto found = std::find_if(keys_.begin(), keys_.end(),
                                    [&](const auto& pair) { return pair.second == entry.key; });
    return printable(found->first);
  };
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const Owner owner = owners_[static_cast<size_t>(entry->key)];
    if (!(entry->is_object ? owner.object : owner.tensor)) {
      bad_input(fmt::format("{}: storage_data has {} that state_dict_metadata lacks",
                            name_of(*entry), entry->is_object ? "an object" : "a chunk"));
    }
    const auto next = std::next(entry);
    if (next != entries_.end() && std::tie(entry->key, entry->is_object, entry->offsets) ==
                                      std::tie(next->key, next->is_object, next->offsets)) {
      bad_input(fmt::format("{}: storage_data has two entries for {}", name_of(*entry),
                            shape_text(entry->offsets)));
    }
  }
}

std::pair<Decoder::Entries::const_iterator, Decoder::Entries::const_iterator> Decoder::entries_of(
    const std::string& key, bool is_object) const {
  const auto wanted = std::make_tuple(keys_.at(key), is_object);
  const auto of = [](const Entry& entry) { return std::make_tuple(entry.key, entry.is_object); };
  const auto begin = std::partition_point(entries_.begin(), entries_.end(),
                                          [&](const Entry& entry) { return of(entry) < wanted; });
  const auto end = std::partition_point(begin, entries_.end(),
                                        [&](const Entry& entry) { return of(entry) == wanted; });
  return {begin, end};
}

void Decoder::place_chunks(DcpTensor& tensor) const {
  // Chunks without elements hold nothing, with or without a storage entry. Such a chunk may share
  // its offsets, and so its entry, with a chunk that holds elements.
  std::vector<Shape> empty;
  std::erase_if(tensor.chunks, [&](const DcpChunk& chunk) {
    if (!is_empty(chunk)) return false;
    empty.push_back(chunk.offsets);
    return true;
  });
  std::sort(empty.begin(), empty.end());
  std::sort(tensor.chunks.begin(), tensor.chunks.end(),
            [](const DcpChunk& a, const DcpChunk& b) { return a.offsets < b.offsets; });
  check_tiling(tensor.shape, tensor.chunks);

  const auto range = entries_of(tensor.key, false);
  auto entry = range.first;
  const auto end = range.second;
  const auto skip_empty_until = [&](const Shape* offsets) {
    for (; entry != end && (offsets == nullptr || entry->offsets < *offsets); ++entry) {
      if (!std::binary_search(empty.begin(), empty.end(), entry->offsets)) {
        bad_input(fmt::format("storage_data has a chunk at {} that state_dict_metadata lacks",
                              shape_text(entry->offsets)));
      }
    }
  };
  for (DcpChunk& chunk : tensor.chunks) {
    skip_empty_until(&chunk.offsets);
    if (entry == end || entry->offsets != chunk.offsets) {
      bad_input(
          fmt::format("the chunk at {} has no entry in storage_data", shape_text(chunk.offsets)));
    }
    const int64_t bytes = byte_size(tensor.dtype, chunk.sizes);
    if (entry->length < bytes) {
      bad_input(fmt::format("the item of the chunk at {} has {} bytes, its elements need {}",
                            shape_text(chunk.offsets), entry->length, bytes));
    }
    chunk.file = entry->file;
    chunk.offset = entry->offset;
    chunk.length = entry->length;
    ++entry;
  }
  skip_empty_until(nullptr);
}

void Decoder::place_object(DcpObject& object) const {
  const auto [begin, end] = entries_of(object.key, true);
  if (begin == end) bad_input("the object has no entry in storage_data");
  object.file = begin->file;
  object.offset = begin->offset;
  object.length = begin->length;
}

}  // namespace

bool is_training_state(std::string_view key) {
  if (key.starts_with("chained_")) {  // chained_0.optimizer. ...
    key.remove_prefix(std::string_view("chained_").size());
    const size_t digits = std::min(key.find_first_not_of("0123456789"), key.size());
    return digits > 0 && digits < key.size() && key[digits] == '.';
  }
  constexpr std::string_view kPrefixes[] = {
      "optimizer.",          "optimizer/",       "optimizer_",  "opt_param_scheduler", "rng_state",
      "rerun_state_machine", "dataloader_state", "train_state", "grad_scaler",
  };
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](std::string_view prefix) { return key.starts_with(prefix); });
}

DcpMetadata read_dcp_metadata(const File& file, MemoryBudget& budget) {
  return Decoder(budget).decode(file);
}

}  // namespace bridge
