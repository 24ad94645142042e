#include "bridge/convert/match/derived_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>
#include <utility>

#include "bridge/convert/match/checkpoint_match.h"
#include "bridge/convert/match/key_naming.h"
#include "bridge/convert/match/stated_sizes.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/json_non_finite.h"
#include "mappings/binding/hf_config_values.h"
#include "mappings/table/registry.h"

namespace bridge {
namespace {

using mappings::Json;

constexpr const char* kHint = "give --reference HF_DIR with the config.json of this model";
constexpr std::string_view kMtpDepths = "mtp_num_layers";

// Counts the depths mtp.layers.0, mtp.layers.1, ... that have tensors.
int64_t mtp_depths_of(const MegatronFolder& checkpoint, const std::string& prefix) {
  const std::string layers = prefix + "mtp.layers.";
  int64_t depths = 0;
  for (const DcpTensor& tensor : checkpoint.metadata.tensors) {
    while (tensor.key.starts_with(fmt::format("{}{}.", layers, depths))) ++depths;
  }
  return depths;
}

// Returns the dtype that config.json names until the exporter knows what it writes.
std::string_view dtype_of(const MegatronFolder& checkpoint, const std::string& prefix) {
  const DcpTensor* const embedding = checkpoint.find(prefix + "embedding.word_embeddings.weight");
  return torch_name(embedding != nullptr && is_plain_float(embedding->dtype) ? embedding->dtype
                                                                             : Dtype::kBF16);
}

DerivedConfig derive(const Statement& statement, const MegatronFolder& checkpoint,
                     const mappings::Table& table, TableChoice choice) {
  if (!mappings::derives_config(table)) {
    usage_error(fmt::format("{}: hf_config has no model_type, so that no config.json can be made",
                            printable(table.file)),
                kHint);
  }
  const std::string prefix = detect_prefix(checkpoint);
  DerivedConfig derived;
  Json fields = statement.fields;
  const Json sizes = sizes_of_tensors(checkpoint, table, fields);
  for (const auto& [field, size] : sizes.items()) {
    fields[field] = size;
    derived.from_tensors.push_back(fmt::format("{} {}", field, size.get<int64_t>()));
  }
  if (!fields.contains(kMtpDepths)) {
    fields[std::string(kMtpDepths)] = mtp_depths_of(checkpoint, prefix);
  }
  Json config = with_context("no config.json can be made of the checkpoint",
                             [&] { return mappings::derived_config(table, fields); });
  config["torch_dtype"] = dtype_of(checkpoint, prefix);
  const Json& names = config["architectures"];
  if (names.is_array() && !names.empty() && names[0].is_string()) {
    derived.architecture = names[0].get<std::string>();
  }
  derived.text = dump_with_non_finite(config) + "\n";
  derived.table = std::move(choice);
  return derived;
}

// Returns nullopt if the checkpoint is another model than the table's.
std::optional<DerivedConfig> try_table(const Statement& statement, const MegatronFolder& checkpoint,
                                       const mappings::Table& table, const CheckDerived& check) {
  try {
    const std::string stem = table.file.substr(0, table.file.find('.'));
    DerivedConfig derived = derive(statement, checkpoint, table, {std::nullopt, stem});
    check(derived);
    return derived;
  } catch (const Error& error) {
    if (error.code() == Code::kIo || error.code() == Code::kInternal) throw;
    return std::nullopt;
  }
}

DerivedConfig find_fitting(const Statement& statement, const MegatronFolder& checkpoint,
                           const CheckDerived& check) {
  std::vector<DerivedConfig> fitting;
  for (const mappings::Table* table : mappings::builtin_tables()) {
    if (auto derived = try_table(statement, checkpoint, *table, check)) {
      fitting.push_back(*std::move(derived));
    }
  }
  if (fitting.size() == 1) return std::move(fitting.front());
  if (fitting.empty()) {
    usage_error(fmt::format("no architecture fits what the checkpoint says of itself ({}) and its "
                            "tensors",
                            statement.of),
                "--arch NAME says why that one does not; or give --reference HF_DIR");
  }
  std::vector<std::string> names;
  for (const DerivedConfig& each : fitting) names.push_back(each.architecture);
  usage_error(fmt::format("several architectures fit what the checkpoint says of itself: {}",
                          fmt::join(names, ", ")),
              "choose one with --arch, or give --reference HF_DIR");
}

}  // namespace

DerivedConfig derive_config(const Statement& statement, const MegatronFolder& checkpoint,
                            const TableChoice& asked, const CheckDerived& check) {
  refuse_other_hyper_connections(checkpoint);
  return with_context([&] { return printable(checkpoint.dist_dir.string()); },
                      [&] {
                        if (asked.by_config()) return find_fitting(statement, checkpoint, check);
                        std::unique_ptr<const mappings::Table> own;
                        if (asked.own) {
                          own = std::make_unique<const mappings::Table>(
                              mappings::parse_table(asked.own->text, asked.own->name));
                        }
                        const mappings::Table& table =
                            own ? *own : mappings::find_table(Json::object(), asked.arch);
                        try {
                          return derive(statement, checkpoint, table, asked);
                        } catch (const Error& error) {
                          throw Error(error.code(), error.message(),
                                      error.hint().empty() ? kHint : error.hint());
                        }
                      });
}

bool can_derive_config(const Statement& statement) {
  return statement.integer("num_attention_heads").has_value();
}

size_t derived_dialect(const mappings::Binding& binding) {
  return binding.table().text_form ? binding.text_dialect(0) : 0;
}

}  // namespace bridge
