#include "bridge/convert/commit/megatron_files.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "bridge/io/torch_dist/dcp_metadata.h"
#include "bridge/io/torch_dist/torch_item.h"
#include "mappings/megatron/run_config.h"

namespace bridge {
namespace {

using mappings::Json;

void pickle_json(PickleWriter& out, const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      out.none();
      return;
    case Json::value_t::boolean:
      out.boolean(value.get<bool>());
      return;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      out.integer(value.get<int64_t>());
      return;
    case Json::value_t::number_float:
      out.real(value.get<double>());
      return;
    case Json::value_t::string:
      out.string(value.get_ref<const std::string&>());
      return;
    case Json::value_t::array:
      out.empty_list().mark();
      for (const Json& item : value) pickle_json(out, item);
      out.appends();
      return;
    case Json::value_t::object:
      out.empty_dict().mark();
      for (const auto& [key, item] : value.items()) {
        out.string(key);
        pickle_json(out, item);
      }
      out.set_items();
      return;
    default:
      internal_error("a JSON value that has no pickle");
  }
}

}  // namespace

std::string common_state_pickle(const Json& args, const Json& content_metadata) {
  PickleWriter out(2);
  out.empty_dict().mark();
  // Without it Megatron-LM takes the checkpoint for version 0 and permutes QKV.
  out.string("checkpoint_version").real(3.0);
  out.string("iteration").integer(0);
  out.string("content_metadata");
  pickle_json(out, content_metadata);
  out.string("args").global("argparse", "Namespace").empty_tuple().new_object();
  pickle_json(out, args);
  out.build();
  return out.set_items().finish();
}

void write_metadata_files(FileSystem& fs, const Path& dist_dir, const ConvertPlan& plan,
                          const Json& provider, const Json& args) {
  {
    const auto file = fs.create(dist_dir / ".metadata");
    int64_t size = 0;
    write_dcp_metadata(plan.files, plan.tensors, plan.objects, [&](std::string_view piece) {
      file->write_at(size, std::as_bytes(std::span(piece)));
      size += std::ssize(piece);
    });
    file->sync();
  }
  Json content = {{"singleton_local_shards", false}, {"chained_optim_avoid_prefix", true}};
  // A loader that reads it asks for layers one by one everywhere.
  if (plan.style.per_layer && !plan.stacks) content["non_homogeneous_layers"] = true;
  write_whole_file(fs, dist_dir / "common.pt",
                   object_item(common_state_pickle(args, content), "common"));
  write_whole_file(fs, dist_dir / "run_config.yaml", mappings::run_config_yaml(provider, {}));
  const Json format = {{"sharded_backend", "torch_dist"},
                       {"sharded_backend_version", 1},
                       {"common_backend", "torch"},
                       {"common_backend_version", 1}};
  write_whole_file(fs, dist_dir / "metadata.json", format.dump());
}

void write_root_files(FileSystem& fs, const Path& root) {
  const bool linked = fs.symlink(std::string(kIterationFolder), root / "release");
  write_whole_file(fs, root / "latest_checkpointed_iteration.txt", linked ? "release" : "0");
}

}  // namespace bridge
