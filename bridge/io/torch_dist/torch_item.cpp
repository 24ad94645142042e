// See torch_item.h. The pickle of a tensor, read back:
//
//   REDUCE(torch._utils._rebuild_tensor_v2, (storage, storage_offset, size, stride, requires_grad,
//                                            backward_hooks[, metadata]))
//   REDUCE(torch._utils._rebuild_tensor_v3, (..., backward_hooks, dtype[, metadata]))
//   REDUCE(torch._utils._rebuild_parameter, (tensor, requires_grad, backward_hooks))
//   storage: persistent id ('storage', class, key, location, number of elements)
//
// Offsets and strides count elements; so does the storage, except an UntypedStorage, which counts
// bytes. Truth: torch/_utils.py, torch/_tensor.py (__reduce_ex__), torch/serialization.py (2.11).
#include "bridge/io/torch_dist/torch_item.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/reservation.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

// Reads the two ends of an archive, where everything but the payload lies, at once: the parsers
// make some twenty small reads, which would be millions in a checkpoint of tens of thousands of
// items. Reads elsewhere go to the file.
class EdgeReader : public File {
 public:
  EdgeReader(const File& file, int64_t offset, int64_t length) : file_(file) {
    if (offset < 0 || length < 0 || checked_add(offset, length) > file.size()) return;
    const int64_t head = std::min(length, length <= 2 * kEdge ? 2 * kEdge : kEdge);
    head_.fill(file, offset, head);
    tail_.fill(file, offset + length - std::min(length - head, kEdge),
               std::min(length - head, kEdge));
  }

  const Path& path() const override { return file_.path(); }
  int64_t size() const override { return file_.size(); }
  void read_at(int64_t offset, std::span<std::byte> out) const override {
    if (!head_.give(offset, out) && !tail_.give(offset, out)) file_.read_at(offset, out);
  }
  void write_at(int64_t, std::span<const std::byte>) override { read_only(); }
  void allocate(int64_t) override { read_only(); }
  void sync() override { read_only(); }

 private:
  static constexpr int64_t kEdge = 2 << 10;  // torch's ends are about 1 KiB each

  struct Edge {
    int64_t begin = 0;
    int64_t size = 0;
    std::array<std::byte, 2 * kEdge> bytes;

    void fill(const File& file, int64_t offset, int64_t length) {
      file.read_at(offset, std::span(bytes).first(static_cast<size_t>(length)));
      begin = offset;
      size = length;
    }
    bool give(int64_t offset, std::span<std::byte> out) const {
      const auto length = static_cast<int64_t>(out.size());
      if (length > size || offset < begin || offset - begin > size - length) return false;
      std::memcpy(out.data(), bytes.data() + (offset - begin), out.size());
      return true;
    }
  };

  [[noreturn]] static void read_only() { internal_error("an archive's ends are for reading"); }

  const File& file_;
  Edge head_;
  Edge tail_;
};

constexpr int64_t kLargestTensorPickle = 16 << 10;  // torch writes under 300 bytes
// No pickle of that size decodes to more, because a byte makes at most one node and its items.
constexpr int64_t kTensorPickleMemory = 16 << 20;
constexpr int64_t kLargestRecord = 64;  // version and byteorder

// Checks version and byteorder, as torch does (a missing byteorder means little-endian).
void check_records(const File& file, const ZipArchive& archive) {
  const ZipEntry* version = archive.find("version");
  if (!version) bad_input("archive without a version record");
  const std::string text = read_zip_entry(file, archive, *version, kLargestRecord);
  int number = 0;
  for (const char c : text.substr(0, text.find_last_not_of('\n') + 1)) {
    number = c >= '0' && c <= '9' && number <= 10 ? number * 10 + (c - '0') : 11;
  }
  if (number < 1 || number > 10) {
    bad_input(fmt::format("archive version \"{}\", 1 to 10 are read", printable(text)));
  }
  const ZipEntry* byteorder = archive.find("byteorder");
  if (!byteorder) return;
  const std::string order = read_zip_entry(file, archive, *byteorder, kLargestRecord);
  if (order == "big") unsupported("big-endian archive");
  if (order != "little") bad_input(fmt::format("byteorder \"{}\"", printable(order)));
}

const ZipEntry& require(const ZipArchive& archive, const std::string& name) {
  const ZipEntry* entry = archive.find(name);
  if (!entry) bad_input(fmt::format("archive without a {} record", printable(name)));
  return *entry;
}

int64_t to_count(const PickleNode& node, std::string_view what) {
  if (node.kind != NodeKind::kInt || node.integer < 0) {
    bad_input(fmt::format("tensor pickle: {} is not a count", what));
  }
  return node.integer;
}

Shape to_shape(const PickleNode& node, std::string_view what) {
  if (node.kind != NodeKind::kTuple) {
    bad_input(fmt::format("tensor pickle: {} is not a tuple", what));
  }
  Shape shape;
  for (const PickleValue& item : node.items) shape.push_back(to_count(*item, what));
  return shape;
}

// "BFloat16Storage" from "torch BFloat16Storage"; empty if the class is not one of torch's.
std::string_view torch_class(const PickleNode& node) {
  constexpr std::string_view kModule = "torch ";
  const std::string_view text = node.text;
  if (node.kind != NodeKind::kClass || !text.starts_with(kModule)) return {};
  return text.substr(kModule.size());
}

// True for a dense row-major tensor; the stride of a dimension of size 1, or of an empty tensor,
// does not count.
bool is_contiguous(const Shape& shape, const Shape& strides) {
  if (element_count(shape) == 0) return true;
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) continue;
    if (strides[i] != expected) return false;
    expected *= shape[i];  // at most element_count
  }
  return true;
}

struct Storage {
  std::string key;
  int64_t count;
  Dtype dtype;  // of a typed storage
  bool untyped;
};

Storage parse_storage(const PickleNode& node) {
  if (node.kind != NodeKind::kPersistent) bad_input("tensor pickle: no storage");
  const PickleNode& id = *node.items[0];
  if (id.kind != NodeKind::kTuple || id.items.size() != 5 ||
      id.items[0]->kind != NodeKind::kString || id.items[0]->text != "storage" ||
      id.items[2]->kind != NodeKind::kString) {
    bad_input("tensor pickle: not the persistent id of a storage");
  }
  const PickleNode& type = *id.items[1];
  Storage storage{id.items[2]->text, to_count(*id.items[4], "storage size"), Dtype::kU8,
                  type.is_class("torch.storage", "UntypedStorage")};
  if (!storage.untyped) {
    const std::optional<Dtype> dtype = dtype_from_torch_storage(torch_class(type));
    if (!dtype) unsupported(fmt::format("storage of type {}", printable(type.text)));
    storage.dtype = *dtype;
  }
  return storage;
}

// Finds the callee and arguments of the rebuild call, with parameters unwrapped.
const PickleNode& find_rebuild(const PickleNode& top) {
  const PickleNode* node = &top;
  if (node->is_object_of("torch._utils", "_rebuild_parameter") && !node->items[1]->items.empty()) {
    node = node->items[1]->items[0].get();
  }
  if (node->kind != NodeKind::kObject) unsupported("the archive holds no tensor");
  return *node;
}

TensorItem parse_tensor(const PickleNode& top, const ZipArchive& archive) {
  const PickleNode& rebuild = find_rebuild(top);
  const bool is_v2 = rebuild.is_object_of("torch._utils", "_rebuild_tensor_v2");
  const bool is_v3 = rebuild.is_object_of("torch._utils", "_rebuild_tensor_v3");
  if (!is_v2 && !is_v3) {
    unsupported(
        fmt::format("the archive holds {}, not a plain tensor", printable(rebuild.items[0]->text)));
  }
  const std::vector<PickleValue>& args = rebuild.items[1]->items;
  const size_t required = is_v2 ? 6 : 7;
  if (args.size() != required && args.size() != required + 1) {
    bad_input(fmt::format("tensor pickle: {} arguments", args.size()));
  }
  const PickleNode& hooks = *args[5];
  if (hooks.kind != NodeKind::kNone && hooks.kind != NodeKind::kDict &&
      !hooks.is_object_of("collections", "OrderedDict")) {
    bad_input(fmt::format("tensor pickle: {} for backward hooks",
                          hooks.items.empty() ? "a value" : printable(hooks.items[0]->text)));
  }
  // Conjugate and negative views are refused: their bytes are not their values.
  if (args.size() > required && args.back()->kind != NodeKind::kNone &&
      !(args.back()->kind == NodeKind::kDict && args.back()->items.empty())) {
    unsupported("tensor with metadata (a conjugate or negative view)");
  }
  const Storage storage = parse_storage(*args[0]);
  TensorItem item{};
  item.dtype = storage.dtype;
  if (is_v3) {
    const std::string_view name = torch_class(*args[6]);
    const std::optional<Dtype> dtype = dtype_from_torch(name);
    if (!dtype) unsupported(fmt::format("tensor of type {}", printable(args[6]->text)));
    item.dtype = *dtype;
  } else if (storage.untyped) {
    bad_input("tensor pickle: untyped storage without a dtype");
  }
  if (is_sub_byte(item.dtype)) {
    unsupported(fmt::format("{} tensor in a torch archive", torch_name(item.dtype)));
  }
  const int64_t width = bits_of(item.dtype) / 8;
  item.shape = to_shape(*args[2], "size");
  const Shape strides = to_shape(*args[3], "stride");
  if (strides.size() != item.shape.size())
    bad_input("tensor pickle: size and stride differ in rank");

  const ZipEntry& record = require(archive, "data/" + storage.key);
  const int64_t storage_bytes =
      storage.untyped ? storage.count
                      : checked_mul(storage.count, bits_of(storage.dtype) / 8, "storage size");
  if (record.size != storage_bytes) {
    bad_input(
        fmt::format("storage record of {} bytes, the pickle says {}", record.size, storage_bytes));
  }
  const int64_t begin = checked_mul(to_count(*args[1], "storage offset"), width, "storage offset");
  const int64_t size = byte_size(item.dtype, item.shape);
  if (checked_add(begin, size, "tensor size") > storage_bytes) {
    bad_input(fmt::format("tensor of {} bytes at {} does not lie in its storage of {} bytes", size,
                          begin, storage_bytes));
  }
  if (!is_contiguous(item.shape, strides)) {
    unsupported(fmt::format("tensor with strides {} for shape {}", shape_text(strides),
                            shape_text(item.shape)),
                "save contiguous tensors (tensor.contiguous())");
  }
  item.data_offset = record.data_offset + begin;
  item.record_offset = record.data_offset;
  item.record_size = record.size;
  item.record_crc = record.crc;
  item.has_crc = !archive.crc_is_absent;
  return item;
}

void add_archive_records(ZipLayout& layout) {
  layout.add(".format_version", "1");
  layout.add(".storage_alignment", "64");
  layout.add("byteorder", "little");
}

std::string tensor_pickle(Dtype dtype, const Shape& shape) {
  const std::string_view typed = torch_storage_name(dtype);
  const bool untyped = typed.empty();
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) {
    strides[i - 1] = checked_mul(strides[i], shape[i] == 0 ? 1 : shape[i], "stride");
  }
  PickleWriter out(2);
  out.global("torch._utils", untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2").mark();
  out.mark().string("storage");
  untyped ? out.global("torch.storage", "UntypedStorage") : out.global("torch", typed);
  out.string("0").string("cpu");
  out.integer(untyped ? byte_size(dtype, shape) : element_count(shape)).tuple().persistent_id();
  out.integer(0).int_tuple(shape).int_tuple(strides).boolean(false);
  out.global("collections", "OrderedDict").empty_tuple().reduce();  // no backward hooks
  if (untyped) out.global("torch", torch_name(dtype));
  return out.tuple().reduce().finish();
}

}  // namespace

TensorItem read_tensor_item(const File& whole, int64_t offset, int64_t length) {
  const EdgeReader file(whole, offset, length);
  const ZipArchive archive = read_zip(file, offset, length);
  check_records(file, archive);
  const std::string pickle =
      read_zip_entry(file, archive, require(archive, "data.pkl"), kLargestTensorPickle);
  MemoryBudget budget(kTensorPickleMemory);
  const PickleValue top = read_pickle(pickle, {}, budget);
  return parse_tensor(*top, archive);
}

PickleValue read_object_item(const File& file, int64_t offset, int64_t length,
                             MemoryBudget& budget) {
  const ZipArchive archive = read_zip(file, offset, length);
  check_records(file, archive);
  const ZipEntry& entry = require(archive, "data.pkl");
  Reservation memory(&budget, "an object's pickle");
  memory.grow(entry.size);
  const std::string pickle = read_zip_entry(file, archive, entry, entry.size);
  return read_pickle(pickle, {}, budget);
}

ZipLayout tensor_item_layout(Dtype dtype, const Shape& shape) {
  if (is_sub_byte(dtype)) unsupported("sub-byte tensor in a torch archive");
  ZipLayout layout("archive");
  layout.add("data.pkl", tensor_pickle(dtype, shape));
  add_archive_records(layout);
  layout.add_streamed("data/0", byte_size(dtype, shape));
  layout.add("version", "3\n");
  layout.finish();
  return layout;
}

std::string object_item(std::string pickle, const std::string& prefix) {
  ZipLayout layout(prefix);
  layout.add("data.pkl", std::move(pickle));
  add_archive_records(layout);
  layout.add("version", "3\n");
  layout.finish();
  return layout.head();
}

}  // namespace bridge
