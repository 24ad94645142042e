#include "bridge/convert/commit/expected_hashes.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "bridge/io/base/interrupt.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/sha256.h"

namespace bridge {
namespace {

constexpr int64_t kLargestList = 16 << 20;
constexpr size_t kDigits = 64;

// A range of a file's bytes and the CRC that it had when it was copied.
struct Part {
  int64_t begin;
  int64_t end;
  std::optional<uint32_t> crc;
};

// Lists the parts that tile a shard: the header, then every tensor that is not empty.
class CopiedParts {
 public:
  CopiedParts(const HfFolder& source, const std::vector<std::optional<uint32_t>>& crcs)
      : source_(source), crcs_(crcs) {
    for (size_t i = 0; i < source.tensors.size(); ++i) {
      if (source.tensors[i].begin < source.tensors[i].end)
        order_.push_back(static_cast<int32_t>(i));
    }
    std::sort(order_.begin(), order_.end(), [this](int32_t a, int32_t b) {
      return std::pair(tensor(a).shard, tensor(a).begin) <
             std::pair(tensor(b).shard, tensor(b).begin);
    });
  }

  std::vector<Part> of(const std::string& name) const {
    const auto shard = std::lower_bound(
        source_.shards.begin(), source_.shards.end(), name,
        [](const HfShard& there, const std::string& wanted) { return there.name < wanted; });
    const auto number = static_cast<int32_t>(shard - source_.shards.begin());
    auto at = std::lower_bound(
        order_.begin(), order_.end(), number,
        [this](int32_t index, int32_t wanted) { return tensor(index).shard < wanted; });
    std::vector<Part> parts = {{0, shard->payload_offset, shard->header_crc}};
    for (; at != order_.end() && tensor(*at).shard == number; ++at) {
      parts.push_back({shard->payload_offset + tensor(*at).begin,
                       shard->payload_offset + tensor(*at).end, crcs_[static_cast<size_t>(*at)]});
    }
    return parts;
  }

 private:
  const HfTensor& tensor(int32_t index) const {
    return source_.tensors[static_cast<size_t>(index)];
  }

  const HfFolder& source_;
  const std::vector<std::optional<uint32_t>>& crcs_;
  std::vector<int32_t> order_;  // indices of tensors, sorted by shard and offset
};

// Returns the SHA-256 of a file. Reports a part whose CRC is not the one that it had when copied.
std::string hash_copied(const File& file, const std::string& name, const std::vector<Part>& parts,
                        std::span<std::byte> buffer) {
  Sha256 sha;
  auto part = parts.begin();
  uint32_t crc = 0;
  for (int64_t begin = 0; begin < file.size();) {
    throw_if_interrupted();
    const auto length =
        std::min(buffer.size(), static_cast<size_t>(std::min(file.size(), part->end) - begin));
    const std::span<std::byte> piece = buffer.first(length);
    file.read_at(begin, piece);
    sha.add(piece);
    crc = crc32(piece, crc);
    begin += static_cast<int64_t>(length);
    if (begin < part->end) continue;
    if (part->crc && *part->crc != crc) {
      bad_input(fmt::format("{}: bytes {} to {} were read twice and differ", name, part->begin,
                            part->end),
                "the disk, the network or the memory made an error; run again");
    }
    crc = 0;
    ++part;
  }
  return sha.hex();
}

}  // namespace

std::map<std::string, std::string> read_expected_hashes(FileSystem& fs, const Path& file,
                                                        const HfFolder& source) {
  std::map<std::string, std::string> expected;
  if (file.empty()) return expected;
  const std::string text = read_whole_file(fs, file, kLargestList);
  return with_context(printable(file.string()), [&] {
    std::string_view rest = text;
    for (int number = 1; !rest.empty(); ++number) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty()) continue;
      const auto is_hex = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      };
      if (line.size() < kDigits + 3 || line[kDigits] != ' ' ||
          (line[kDigits + 1] != ' ' && line[kDigits + 1] != '*') ||
          !std::all_of(line.begin(), line.begin() + kDigits, is_hex)) {
        bad_input(fmt::format("line {}: not of the form 'sha256  shard'", number));
      }
      std::string hash(line.substr(0, kDigits));
      for (char& c : hash) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
      const std::string name(line.substr(kDigits + 2));
      const bool known = std::any_of(source.shards.begin(), source.shards.end(),
                                     [&](const HfShard& shard) { return shard.name == name; });
      if (!known)
        bad_input(fmt::format("line {}: {} is no shard of the source", number, printable(name)));
      expected[name] = hash;
    }
    return expected;
  });
}

void check_expected_hashes(FileSystem& fs, const HfFolder& source,
                           const std::vector<std::optional<uint32_t>>& crcs,
                           const std::map<std::string, std::string>& expected) {
  if (expected.empty()) return;
  const CopiedParts copied(source, crcs);
  std::vector<std::byte> buffer(256 << 10);
  for (const auto& [name, hash] : expected) {
    const std::string computed =
        hash_copied(*fs.open_read(source.path / name), printable(name), copied.of(name), buffer);
    if (computed != hash) {
      bad_input(fmt::format("{}: SHA-256 is {}, expected {}", printable(name), computed, hash),
                "the download is damaged or of another revision: fetch the shard again");
    }
  }
}

}  // namespace bridge
