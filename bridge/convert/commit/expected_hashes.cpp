#include "bridge/convert/commit/expected_hashes.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "bridge/io/base/interrupt.h"
#include "bridge/io/file/sha256.h"

namespace bridge {
namespace {

constexpr int64_t kLargestList = 16 << 20;
constexpr size_t kDigits = 64;

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
                           const std::map<std::string, std::string>& expected) {
  std::vector<std::byte> buffer(expected.empty() ? 0 : 256 << 10);
  for (const auto& [name, hash] : expected) {
    const auto file = fs.open_read(source.path / name);
    Sha256 sha;
    for (int64_t offset = 0; offset < file->size();) {
      throw_if_interrupted();
      const auto length = std::min(buffer.size(), static_cast<size_t>(file->size() - offset));
      const std::span<std::byte> piece(buffer.data(), length);
      file->read_at(offset, piece);
      sha.add(piece);
      offset += static_cast<int64_t>(length);
    }
    const std::string computed = sha.hex();
    if (computed != hash) {
      bad_input(fmt::format("{}: SHA-256 is {}, expected {}", printable(name), computed, hash),
                "the download is damaged or of another revision: fetch the shard again");
    }
  }
}

}  // namespace bridge
