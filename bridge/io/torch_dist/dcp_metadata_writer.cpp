// Writing `.metadata`: the opcodes that pickle.dump would emit for torch's Metadata, but for its
// memo (only classes are memoised). Dicts and lists are filled in batches of 1000 as CPython does,
// so that a streaming reader holds one batch.
//
// Left out: storage_meta (its class is missing before torch 2.4; readers fall back to None).
#include <functional>

#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {
namespace {

constexpr std::string_view kMetadata = "torch.distributed.checkpoint.metadata";
constexpr std::string_view kFilesystem = "torch.distributed.checkpoint.filesystem";
constexpr size_t kBatch = 1000;
constexpr int kEntriesPerPiece = 256;  // about 64 KiB

class Encoder {
 public:
  Encoder(const std::vector<std::string>& files, const std::function<void(std::string_view)>& out)
      : files_(files), out_(out) {}

  void encode(const std::vector<DcpTensor>& tensors, const std::vector<DcpObject>& objects) {
    begin_object(kMetadata, "Metadata").empty_dict().mark();
    pickle_.string("state_dict_metadata").empty_dict();
    for (const DcpTensor& tensor : tensors) {
      begin_pair();
      state_of(tensor);
    }
    for (const DcpObject& object : objects) {
      begin_pair();
      pickle_.string(object.key);
      begin_object(kMetadata, "BytesStorageMetadata");
    }
    end_pairs();
    pickle_.string("planner_data").none();
    pickle_.string("storage_data").empty_dict();
    for (const DcpTensor& tensor : tensors) {
      for (const DcpChunk& chunk : tensor.chunks) {
        begin_pair();
        storage_of(tensor.key, &chunk.offsets, chunk.file, chunk.offset, chunk.length);
      }
    }
    for (const DcpObject& object : objects) {
      begin_pair();
      storage_of(object.key, nullptr, object.file, object.offset, object.length);
    }
    end_pairs();
    pickle_.string("version").string(kDcpMetadataVersion);
    pickle_.set_items().build();
    out_(pickle_.finish());
  }

 private:
  PickleWriter& begin_object(std::string_view module, std::string_view name) {
    return pickle_.global(module, name).empty_tuple().new_object();
  }

  // Between begin_pair() and the next one (or end_pairs()) key and value are pushed.
  void begin_pair() {
    if (pairs_ == kBatch) end_pairs();
    if (pairs_++ == 0) pickle_.mark();
    count_entry();
  }
  void end_pairs() {
    if (pairs_ > 0) pickle_.set_items();
    pairs_ = 0;
  }
  void count_entry() {
    if (++entries_ % kEntriesPerPiece == 0) out_(pickle_.take());
  }

  void size(const Shape& shape) {
    pickle_.global("torch", "Size").mark().int_tuple(shape).tuple().reduce();
  }

  void state_of(const DcpTensor& tensor) {
    pickle_.string(tensor.key);
    begin_object(kMetadata, "TensorStorageMetadata").empty_dict().mark();
    pickle_.string("properties");
    begin_object(kMetadata, "TensorProperties").mark();
    pickle_.global("torch", torch_name(tensor.dtype));
    pickle_.global("torch.serialization", "_get_layout").mark().string("torch.strided").tuple();
    pickle_.reduce().boolean(false);  // requires_grad
    pickle_.global(kMetadata, "_MEM_FORMAT_ENCODING").int_tuple({0}).reduce();
    pickle_.boolean(false).tuple().build();  // pin_memory
    pickle_.string("size");
    size(tensor.shape);
    pickle_.string("chunks").empty_list();
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      if (i % kBatch == 0) pickle_.mark();
      begin_object(kMetadata, "ChunkStorageMetadata").empty_dict().mark();
      pickle_.string("offsets");
      size(tensor.chunks[i].offsets);
      pickle_.string("sizes");
      size(tensor.chunks[i].sizes);
      pickle_.set_items().build();
      if (i % kBatch == kBatch - 1 || i + 1 == tensor.chunks.size()) pickle_.appends();
      count_entry();
    }
    pickle_.set_items().build();
  }

  // offsets is null for an object.
  void storage_of(const std::string& key, const Shape* offsets, int32_t file, int64_t offset,
                  int64_t length) {
    begin_object(kMetadata, "MetadataIndex").empty_dict().mark();
    pickle_.string("fqn").string(key).string("offset");
    if (offsets != nullptr) {
      size(*offsets);
    } else {
      pickle_.none();
    }
    pickle_.string("index").none().set_items().build();
    begin_object(kFilesystem, "_StorageInfo").empty_dict().mark();
    pickle_.string("relative_path").string(files_.at(static_cast<size_t>(file)));
    pickle_.string("offset").integer(offset).string("length").integer(length);
    pickle_.set_items().build();
  }

  const std::vector<std::string>& files_;
  const std::function<void(std::string_view)>& out_;
  PickleWriter pickle_{4};
  size_t pairs_ = 0;
  int64_t entries_ = 0;
};

}  // namespace

void write_dcp_metadata(const std::vector<std::string>& files,
                        const std::vector<DcpTensor>& tensors,
                        const std::vector<DcpObject>& objects,
                        const std::function<void(std::string_view)>& out) {
  Encoder(files, out).encode(tensors, objects);
}

}  // namespace bridge
