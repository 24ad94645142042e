#include "bridge/convert/beside_model.h"

#include <fmt/format.h>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/hf/weight_files.h"

namespace bridge {

BesideModel describe_beside_model(Report& report, const HfFolder& folder) {
  using Json = nlohmann::ordered_json;
  BesideModel beside;
  Json not_converted = Json::array();
  for (const HfSideFile& file : folder.other_weights) {
    const std::string name = printable(file.name);
    not_converted.push_back({{"name", name}, {"size", file.size}});
    if (is_adapter_of_model(file.name)) {
      report.warn(fmt::format(
          "{}: an adapter that is not merged is not converted, though transformers loads it on top "
          "of the model; merge it (merge_and_unload of peft) and save the model, or remove it",
          name));
      continue;
    }
    beside.not_converted.push_back({name, "not in the weight map; neither carried nor exported"});
  }
  report.json["not_converted"] = std::move(not_converted);

  Json links_out = Json::array();
  for (const HfLink& link : folder.links_out) {
    const std::string name = printable(link.name);
    links_out.push_back({{"name", name}, {"target", printable(link.target)}});
    beside.links_out.push_back(
        {name, fmt::format("a symlink out of the folder, into {}",
                           printable(Path(link.target).parent_path().native()))});
  }
  report.json["links_out"] = std::move(links_out);
  return beside;
}

}  // namespace bridge
