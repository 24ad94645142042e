#include "bridge/convert/plan/configuration_files.h"

#include <fmt/format.h>

#include <limits>

#include "bridge/io/base/error.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "bridge/io/torch_dist/torch_item.h"
#include "mappings/megatron/hybrid_layout.h"
#include "mappings/megatron/megatron_args.h"
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
    case Json::value_t::number_unsigned:
      if (value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
        bad_input(fmt::format("{} is larger than an integer of 64 bits", value.dump()));
      }
      [[fallthrough]];
    case Json::value_t::number_integer:
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
      for (const auto& entry : value.items()) {
        with_context(entry.key(), [&] {
          out.string(entry.key());
          pickle_json(out, entry.value());
        });
      }
      out.set_items();
      return;
    default:
      internal_error("a JSON value that has no pickle");
  }
}

}  // namespace

std::string common_pt(const CommonState& common, std::string_view id) {
  PickleWriter out(2);
  out.empty_dict().mark();
  // Without this key Megatron-LM takes the checkpoint for version 0 and permutes QKV.
  out.string("checkpoint_version").real(3.0);
  out.string("iteration").integer(0);
  out.string("content_metadata");
  pickle_json(out, common.content_metadata);
  out.string(kConversionIdKey).string(id);
  out.string("args").global("argparse", "Namespace").empty_tuple().new_object();
  pickle_json(out, common.args);
  out.build();
  return object_item(out.set_items().finish(), "common");
}

ConfigurationFiles make_configuration_files(const mappings::Binding& binding,
                                            const ConvertOptions& options,
                                            const WrittenModel& model) {
  Json provider = binding.megatron_config(dtype_option(model.main_dtype));
  if (options.layout == Layout::kHybrid) provider = mappings::hybrid_provider(provider);
  // Nothing else in the checkpoint tells the order of these rows. The arguments take it from here.
  if (options.glu_interleave > 0) provider["moe_mlp_glu_interleave_size"] = options.glu_interleave;
  mappings::ArgsOptions args;
  args.padded_vocab_size = model.vocab_rows;
  args.local_spec = options.spec == Spec::kLocal;
  args.more = binding.table().megatron_args;
  Json content = {{"singleton_local_shards", false}, {"chained_optim_avoid_prefix", true}};
  // A loader that reads this key asks for every layer by itself.
  if (model.asks_for_each_layer) content["non_homogeneous_layers"] = true;

  const std::string where = printable(binding.table().file) + ": megatron_config";
  ConfigurationFiles files;
  with_context(where, [&] {
    files.common = {mappings::megatron_args(provider, args), std::move(content)};
    common_pt(files.common, "");  // reports what cannot be written
    files.run_config = mappings::run_config_yaml(provider, {});
  });
  for (const std::string& field : mappings::fields_lost_to_args(provider)) {
    files.warnings.push_back(fmt::format(
        "{}: {}: no argument of Megatron-LM holds it: run_config.yaml has it, common.pt "
        "has not",
        where, printable(field)));
  }
  return files;
}

}  // namespace bridge
