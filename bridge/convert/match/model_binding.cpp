#include "bridge/convert/match/model_binding.h"

#include "bridge/convert/match/nvfp4_check.h"
#include "bridge/io/base/json_strict.h"
#include "mappings/table/registry.h"

namespace bridge {
namespace {

constexpr int64_t kLargestConfig = 4 << 20;  // its tree takes about eight times as much

}  // namespace

std::string read_config(FileSystem& fs, const Path& folder) {
  if (!fs.stat(folder / "config.json")) {
    bad_input(printable(folder.string()) + ": config.json is missing",
              "a Hugging Face model folder has a config.json; is the download complete?");
  }
  return read_whole_file(fs, folder / "config.json", kLargestConfig);
}

BoundModel bind_model(std::string_view config_text, std::string_view config_name,
                      const TableChoice& choice, mappings::BindingOptions binding,
                      const CountMtp& count_mtp, const LacksHead& lacks_head) {
  mappings::Json config = with_context(printable(config_name), [&] {
    mappings::Json json =
        parse_json(config_text, {.max_bytes = kLargestConfig, .non_finite = true});
    if (!json.is_object()) bad_input("not a JSON object");
    refuse_nvfp4(json);
    return json;
  });
  std::unique_ptr<const mappings::Table> own;
  if (choice.own) {
    own = std::make_unique<const mappings::Table>(
        mappings::parse_table(choice.own->text, choice.own->name));
  }
  try {
    const mappings::Table& table = own ? *own : mappings::find_table(config, choice.arch);
    mappings::Binding bound(table, config, binding);
    if (bound.asks_for_mtp_depths()) {
      binding.mtp_depths = count_mtp(bound);
      bound = mappings::Binding(table, config, binding);
    }
    if (lacks_head && !bound.tied() && lacks_head(bound)) {
      binding.without_head = true;
      bound = mappings::Binding(table, std::move(config), binding);
    }
    return BoundModel{std::move(own), std::move(bound)};
  } catch (Error& error) {
    // The message about a wrong value begins with "config.json: " already.
    const bool is_named = error.message().starts_with("config.json: ");
    const Path name(config_name);
    error.add_context(printable((is_named ? name.parent_path() : name).string()));
    throw;
  }
}

}  // namespace bridge
