// `.metadata` and whole checkpoint folders made to order, right or wrong in one detail. Pickles are
// put together here opcode by opcode from torch's class layout, not by write_dcp_metadata, which is
// tested too.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/file/crc32.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/dcp_metadata.h"
#include "bridge/io/torch_dist/torch_item.h"
#include "tests/temp_dir.h"

namespace bridge {

struct MetadataSketch {
  struct Box {
    Shape offsets;
    Shape sizes;
  };
  struct Tensor {
    std::string key;
    std::string dtype = "float32";
    Shape shape;
    std::vector<Box> chunks;
    std::string layout = "torch.strided";
  };
  struct Entry {  // of storage_data
    std::string key;
    std::optional<Shape> offsets;
    std::string path = "__0_0.distcp";
    int64_t offset = 0;
    int64_t length = 1000;
    bool transformed = false;
  };

  std::vector<Tensor> tensors;
  std::vector<std::string> objects;
  std::vector<Entry> storage;

  // Details of the encoding.
  int protocol = 4;
  bool storage_first = false;
  std::string top_class = "Metadata";
  std::string chunk_class = "ChunkStorageMetadata";
  std::string size_class = "Size";
  bool has_state = true;
  bool has_storage = true;
  std::string tail;  // bytes after STOP

  std::string pickle() const {
    PickleWriter p(protocol);
    object(p, kMetadata, top_class).empty_dict().mark();
    if (storage_first && has_storage) put_storage(p);
    if (has_state) put_state(p);
    p.string("planner_data").none();
    if (!storage_first && has_storage) put_storage(p);
    return p.set_items().build().finish() + tail;
  }

 private:
  static constexpr const char* kMetadata = "torch.distributed.checkpoint.metadata";

  static PickleWriter& object(PickleWriter& p, const std::string& module, const std::string& name) {
    return p.global(module, name).empty_tuple().new_object();
  }

  PickleWriter& size(PickleWriter& p, const Shape& shape) const {
    return p.global("torch", size_class).mark().int_tuple(shape).tuple().reduce();
  }

  void put_state(PickleWriter& p) const {
    p.string("state_dict_metadata").empty_dict().mark();
    for (const Tensor& tensor : tensors) {
      p.string(tensor.key);
      object(p, kMetadata, "TensorStorageMetadata").empty_dict().mark().string("properties");
      object(p, kMetadata, "TensorProperties").mark().global("torch", tensor.dtype);
      p.global("torch.serialization", "_get_layout").mark().string(tensor.layout).tuple().reduce();
      p.boolean(false).global(kMetadata, "_MEM_FORMAT_ENCODING").int_tuple({0}).reduce();
      p.boolean(false).tuple().build().string("size");
      size(p, tensor.shape).string("chunks").empty_list().mark();
      for (const Box& box : tensor.chunks) {
        object(p, kMetadata, chunk_class).empty_dict().mark().string("offsets");
        size(p, box.offsets).string("sizes");
        size(p, box.sizes).set_items().build();
      }
      p.appends().set_items().build();
    }
    for (const std::string& key : objects) {
      object(p.string(key), kMetadata, "BytesStorageMetadata");
    }
    p.set_items();
  }

  void put_storage(PickleWriter& p) const {
    p.string("storage_data").empty_dict().mark();
    for (const Entry& entry : storage) {
      object(p, kMetadata, "MetadataIndex").empty_dict().mark();
      p.string("fqn").string(entry.key).string("offset");
      if (entry.offsets) {
        size(p, *entry.offsets);
      } else {
        p.none();
      }
      p.string("index").none().set_items().build();
      object(p, "torch.distributed.checkpoint.filesystem", "_StorageInfo").empty_dict().mark();
      p.string("relative_path").string(entry.path);
      p.string("offset").integer(entry.offset).string("length").integer(entry.length);
      if (entry.transformed) {
        p.string("transform_descriptors").empty_list().mark().string("stream.zstd/1").appends();
      }
      p.set_items().build();
    }
    p.set_items();
  }
};

// A right one: "w" [4, 6] in two halves along the inner axis, a scalar, and the common state.
inline MetadataSketch right_metadata() {
  MetadataSketch sketch;
  sketch.tensors = {
      {.key = "w", .shape = {4, 6}, .chunks = {{{0, 3}, {4, 3}}, {{0, 0}, {4, 3}}}},
      {.key = "s", .dtype = "bfloat16", .shape = {}, .chunks = {{{}, {}}}},
  };
  sketch.objects = {"common_state/shard_0_1", "w._extra_state/shard_0_1"};
  sketch.storage = {{.key = "w", .offsets = Shape{0, 0}, .offset = 0},
                    {.key = "w", .offsets = Shape{0, 3}, .path = "sub/b.distcp", .offset = 70},
                    {.key = "s", .offsets = Shape{}, .offset = 2000},
                    {.key = "common_state/shard_0_1", .offsets = {}, .offset = 4000},
                    {.key = "w._extra_state/shard_0_1", .offsets = {}, .offset = 4000}};
  return sketch;
}

// A checkpoint folder with one file, __0_0.distcp. Chunks are added one by one and cut out of the
// tensor's bytes by the slow and obvious way.
class FolderBuilder {
 public:
  std::vector<DcpTensor> tensors;
  std::vector<DcpObject> objects;
  std::string data;  // of __0_0.distcp

  // value holds the whole tensor, row-major.
  void add(const std::string& key, Dtype dtype, const Shape& shape,
           const std::vector<MetadataSketch::Box>& boxes, std::string_view value) {
    tensors.push_back({.key = key, .dtype = dtype, .shape = shape, .chunks = {}});
    const auto width = static_cast<size_t>(bits_of(dtype) / 8);
    for (const auto& box : boxes) {
      std::string part;
      Shape at(shape.size(), 0);
      for (int64_t n = element_count(box.sizes); n > 0; --n) {
        int64_t index = 0;
        for (size_t axis = 0; axis < shape.size(); ++axis) {
          index = index * shape[axis] + box.offsets[axis] + at[axis];
        }
        part += value.substr(static_cast<size_t>(index) * width, width);
        for (size_t axis = shape.size(); axis-- > 0 && ++at[axis] == box.sizes[axis];) at[axis] = 0;
      }
      ZipLayout layout = tensor_item_layout(dtype, box.sizes);
      const auto bytes = std::as_bytes(std::span(part));
      add_item(box.offsets, box.sizes, layout.head() + part + layout.tail(crc32(bytes)));
    }
  }

  // The next chunk of the last tensor, given as an archive.
  void add_item(const Shape& offsets, const Shape& sizes, const std::string& archive) {
    data += std::string(37, '#');  // gaps between items are legal
    tensors.back().chunks.push_back({.offsets = offsets,
                                     .sizes = sizes,
                                     .file = 0,
                                     .offset = static_cast<int64_t>(data.size()),
                                     .length = static_cast<int64_t>(archive.size())});
    data += archive;
  }

  void add_object(const std::string& key, const std::string& pickle) {
    const std::string archive = object_item(pickle, "archive");
    objects.push_back({.key = key,
                       .file = 0,
                       .offset = static_cast<int64_t>(data.size()),
                       .length = static_cast<int64_t>(archive.size())});
    data += archive;
  }

  std::string metadata() const {
    std::string bytes;
    write_dcp_metadata({"__0_0.distcp"}, tensors, objects,
                       [&](std::string_view piece) { bytes += piece; });
    return bytes;
  }

  void write(const Path& dist_dir) const {
    put_file(dist_dir / "__0_0.distcp", data);
    put_file(dist_dir / ".metadata", metadata());
    put_file(dist_dir / "metadata.json",
             R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1})");
  }
};

}  // namespace bridge
