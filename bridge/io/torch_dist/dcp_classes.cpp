#include "bridge/io/torch_dist/dcp_classes.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

using NodeKind = PickleNode::Kind;

constexpr std::string_view kMetadata = "torch.distributed.checkpoint.metadata";
constexpr std::string_view kFilesystem = "torch.distributed.checkpoint.filesystem";
// The module of TensorProperties in torch up to 2.2.
constexpr std::string_view kSharded = "torch.distributed._shard.sharded_tensor.metadata";

// Tensors with more axes are not weights; torch itself stops at 64.
constexpr size_t kMostAxes = 16;

const PickleNode& field(const PickleNode& object, std::string_view name) {
  const PickleNode* value = object.get(name);
  if (value == nullptr) bad_input(fmt::format("field '{}' is missing", name));
  return *value;
}

const std::string& string_field(const PickleNode& object, std::string_view name) {
  const PickleNode& value = field(object, name);
  if (value.kind != NodeKind::kString) bad_input(fmt::format("field '{}' is not a string", name));
  return value.text;
}

int64_t size_field(const PickleNode& object, std::string_view name) {
  const PickleNode& value = field(object, name);
  if (value.kind != NodeKind::kInt)
    bad_input(fmt::format("field '{}' is not a 64-bit integer", name));
  if (value.integer < 0) bad_input(fmt::format("field '{}' is negative ({})", name, value.integer));
  return value.integer;
}

// Reads a field of the form torch.Size((...)).
Shape shape_field(const PickleNode& object, std::string_view name) {
  const PickleNode& value = field(object, name);
  if (!value.is_object_of("torch", "Size") || value.items.at(1)->items.size() != 1 ||
      value.items[1]->items[0]->kind != NodeKind::kTuple) {
    bad_input(fmt::format("field '{}' is not a torch.Size of a tuple", name));
  }
  const std::vector<PickleValue>& dims = value.items[1]->items[0]->items;
  if (dims.size() > kMostAxes) {
    bad_input(fmt::format("field '{}' has {} axes, more than {}", name, dims.size(), kMostAxes));
  }
  Shape shape;
  shape.reserve(dims.size());
  for (const PickleValue& dim : dims) {
    if (dim->kind != NodeKind::kInt) {
      bad_input(fmt::format("field '{}' does not hold 64-bit integers", name));
    }
    if (dim->integer < 0) bad_input(fmt::format("field '{}' holds {}", name, dim->integer));
    shape.push_back(dim->integer);
  }
  return shape;
}

Dtype dtype_of(const PickleNode& properties) {
  if (!properties.is_object_of(kMetadata, "TensorProperties") &&
      !properties.is_object_of(kSharded, "TensorProperties")) {
    bad_input("field 'properties' is not a TensorProperties");
  }
  if (properties.items.size() < 3 || properties.items[2]->kind != NodeKind::kTuple ||
      properties.items[2]->items.size() < 2) {
    bad_input("TensorProperties without its tuple of state");
  }
  const PickleNode& dtype = *properties.items[2]->items[0];
  constexpr std::string_view kPrefix = "torch ";
  if (dtype.kind != NodeKind::kClass || !dtype.text.starts_with(kPrefix)) {
    bad_input("TensorProperties without a dtype");
  }
  const PickleNode& layout = *properties.items[2]->items[1];
  const bool strided = layout.is_object_of("torch.serialization", "_get_layout") &&
                       layout.items.at(1)->items.size() == 1 &&
                       layout.items[1]->items[0]->text == "torch.strided";
  if (!strided) unsupported("the layout of the tensor is not torch.strided");
  const std::string_view name = std::string_view(dtype.text).substr(kPrefix.size());
  const std::optional<Dtype> known = dtype_from_torch(name);
  // torch counts a packed pair of 4-bit values as one element, Causeway as two; no Megatron writes
  // them.
  if (!known || is_sub_byte(*known)) {
    unsupported(fmt::format("dtype torch.{} is not supported", printable(name)));
  }
  return *known;
}

// ".." or an absolute path could leave the folder; a NUL would cut the name short.
void check_relative_path(const std::string& path) {
  bool safe = path.find('\0') == std::string::npos;
  for (size_t begin = 0; safe && begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = std::string_view(path).substr(begin, end - begin);
    safe = !part.empty() && part != "." && part != "..";
    begin = end + 1;
  }
  if (!safe) bad_input(fmt::format("unsafe relative_path '{}'", printable(path)));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> dcp_classes() {
  const std::string metadata(kMetadata);
  const std::string sharded(kSharded);
  const std::string filesystem(kFilesystem);
  const std::string planner = "torch.distributed.checkpoint.planner";
  const std::string mcore = "megatron.core.dist_checkpointing.strategies.torch";
  std::vector<std::pair<std::string, std::string>> classes = {
      {metadata, "Metadata"},
      {metadata, "TensorStorageMetadata"},
      {metadata, "BytesStorageMetadata"},
      {metadata, "ChunkStorageMetadata"},
      {metadata, "TensorProperties"},
      {metadata, "_MEM_FORMAT_ENCODING"},
      {metadata, "MEM_FORMAT_ENCODING"},
      {metadata, "MetadataIndex"},
      {metadata, "StorageMeta"},
      {sharded, "TensorProperties"},
      {sharded, "MEM_FORMAT_ENCODING"},
      {sharded, "_MEM_FORMAT_ENCODING"},
      {filesystem, "_StorageInfo"},
      {filesystem, "_StoragePrefix"},
      {planner, "SavePlan"},
      {planner, "WriteItem"},
      {planner, "WriteItemType"},
      {planner, "TensorWriteData"},
      {planner, "BytesIOWriteData"},
      {mcore, "MCoreSavePlan"},
      {mcore, "MCoreMetadata"},
      {"torch", "Size"},
      {"torch", "device"},
      {"torch.serialization", "_get_layout"},
      {"pathlib", "PosixPath"},
      {"pathlib._local", "PosixPath"},
  };
  // The dtypes that Causeway lacks may occur in training state, which is dropped.
  for (const char* name : {"bool",
                           "uint8",
                           "int8",
                           "int16",
                           "uint16",
                           "int32",
                           "uint32",
                           "int64",
                           "uint64",
                           "float16",
                           "bfloat16",
                           "float32",
                           "float64",
                           "float8_e4m3fn",
                           "float8_e5m2",
                           "float8_e8m0fnu",
                           "float4_e2m1fn_x2",
                           "float8_e4m3fnuz",
                           "float8_e5m2fnuz",
                           "complex32",
                           "complex64",
                           "complex128"}) {
    classes.emplace_back("torch", name);
  }
  return classes;
}

bool is_dcp_metadata(const PickleNode& node) {
  return node.is_object_of(kMetadata, "Metadata") ||
         node.is_object_of("megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata");
}

bool is_dcp_object(const PickleNode& value) {
  return value.is_object_of(kMetadata, "BytesStorageMetadata");
}

DcpTensor dcp_tensor_of(const PickleNode& value) {
  if (!value.is_object_of(kMetadata, "TensorStorageMetadata")) {
    bad_input("neither TensorStorageMetadata nor BytesStorageMetadata");
  }
  DcpTensor tensor;
  tensor.dtype = dtype_of(field(value, "properties"));
  tensor.shape = shape_field(value, "size");
  // Throws on overflow, so that no later product overflows.
  byte_size(tensor.dtype, tensor.shape);
  const PickleNode& chunks = field(value, "chunks");
  if (chunks.kind != NodeKind::kList) bad_input("field 'chunks' is not a list");
  tensor.chunks.reserve(chunks.items.size());
  for (const PickleValue& item : chunks.items) {
    if (!item->is_object_of(kMetadata, "ChunkStorageMetadata")) {
      bad_input("field 'chunks' holds something that is not a ChunkStorageMetadata");
    }
    tensor.chunks.push_back({.offsets = shape_field(*item, "offsets"),
                             .sizes = shape_field(*item, "sizes"),
                             .file = -1,
                             .offset = 0,
                             .length = 0});
  }
  return tensor;
}

DcpIndex dcp_index_of(const PickleNode& key) {
  if (!key.is_object_of(kMetadata, "MetadataIndex")) bad_input("not a MetadataIndex");
  DcpIndex index;
  index.key = &string_field(key, "fqn");
  // torch >= 2.11 omits an offset that is None.
  const PickleNode* offset = key.get("offset");
  index.is_object = offset == nullptr || offset->kind == NodeKind::kNone;
  if (!index.is_object) index.offsets = shape_field(key, "offset");
  return index;
}

DcpLocation dcp_location_of(const PickleNode& value) {
  if (!value.is_object_of(kFilesystem, "_StorageInfo")) bad_input("not a _StorageInfo");
  const PickleNode* transforms = value.get("transform_descriptors");
  if (transforms != nullptr && transforms->kind != NodeKind::kNone && !transforms->items.empty()) {
    unsupported("the item is compressed (transform_descriptors)",
                "save the checkpoint again without extensions of torch.distributed.checkpoint");
  }
  DcpLocation location;
  location.relative_path = &string_field(value, "relative_path");
  check_relative_path(*location.relative_path);
  location.offset = size_field(value, "offset");
  location.length = size_field(value, "length");
  checked_add(location.offset, location.length, "end of the item");
  return location;
}

}  // namespace bridge
