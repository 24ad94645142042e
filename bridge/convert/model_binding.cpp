#include "bridge/convert/model_binding.h"

#include "bridge/io/json_strict.h"

namespace bridge {
namespace {

constexpr int64_t kLargestConfig = 4 << 20;  // its tree takes some eight times as much
constexpr int64_t kLargestTable = 1 << 20;

}  // namespace

std::string read_config(FileSystem& fs, const Path& folder) {
  if (!fs.stat(folder / "config.json")) {
    bad_input(printable(folder.string()) + ": config.json is missing",
              "a Hugging Face model folder has a config.json; is the download complete?");
  }
  return read_whole_file(fs, folder / "config.json", kLargestConfig);
}

BoundModel bind_model(FileSystem& fs, std::string_view config_text, std::string_view config_name,
                      const CommonOptions& options) {
  return with_context(printable(config_name), [&] {
    mappings::Json config = parse_json(config_text, {.max_bytes = kLargestConfig});
    if (!config.is_object()) bad_input("not a JSON object");
    if (options.mapping.empty()) {
      const mappings::Table& table = mappings::find_table(config, options.arch);
      return BoundModel{nullptr, mappings::Binding(table, std::move(config))};
    }
    auto table = std::make_unique<const mappings::Table>(mappings::parse_table(
        read_whole_file(fs, options.mapping, kLargestTable), options.mapping.filename().string()));
    mappings::Binding binding(*table, std::move(config));
    return BoundModel{std::move(table), std::move(binding)};
  });
}

}  // namespace bridge
