#include "bridge/convert/stream/tensor_reader.h"

#include <algorithm>

namespace bridge {

HfReader::HfReader(FileSystem& fs, const HfFolder& folder)
    : folder_(folder),
      files_(folder.shards.size(), pool_size(), FilePool::Use::kRead, [&fs, &folder](size_t index) {
        const HfShard& shard = folder.shards[index];
        auto file = fs.open_read(folder.path / shard.name);
        if (file->size() != shard.file_size) {
          bad_input(printable(shard.name) + ": the file changed while it was being read");
        }
        return file;
      }) {}

void HfReader::read(size_t index, int64_t begin, std::span<std::byte> out) {
  const HfTensor& tensor = folder_.tensors[index];
  const auto shard = static_cast<size_t>(tensor.shard);
  files_.get(shard)->read_at(folder_.shards[shard].payload_offset + tensor.begin + begin, out);
}

MegatronReader::MegatronReader(FileSystem& fs, const MegatronFolder& folder,
                               std::vector<std::vector<RawStretch>> logical)
    : reader_(fs, folder.dist_dir, folder.metadata), logical_(std::move(logical)) {}

void MegatronReader::read(size_t index, int64_t begin, std::span<std::byte> out) {
  for (const RawStretch& stretch : logical_[index]) {
    if (out.empty()) return;
    if (begin >= stretch.length) {
      begin -= stretch.length;
      continue;
    }
    const int64_t take = std::min(stretch.length - begin, static_cast<int64_t>(out.size()));
    reader_.read(static_cast<size_t>(stretch.tensor), stretch.begin + begin,
                 out.first(static_cast<size_t>(take)));
    out = out.subspan(static_cast<size_t>(take));
    begin = 0;
  }
  if (!out.empty()) internal_error("read past the end of a logical tensor");
}

}  // namespace bridge
