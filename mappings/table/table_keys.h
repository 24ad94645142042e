// The keys of a table in the order that reads best: what the table serves, then names, then the
// sections that use the names. Internal to mappings.
#pragma once

#include <string_view>

namespace mappings {

inline constexpr std::string_view kTableKeys[] = {"architectures",
                                                  "about",
                                                  "model_types",
                                                  "not_served",
                                                  "use",
                                                  "config_root",
                                                  "defaults",
                                                  "values",
                                                  "dims",
                                                  "dialects",
                                                  "families",
                                                  "mtp",
                                                  "mtp_uncounted",
                                                  "mtp_found",
                                                  "tied",
                                                  "per_layer_keys",
                                                  "one_spec",
                                                  "name_prefix",
                                                  "text_form",
                                                  "quantization",
                                                  "quantization_groups",
                                                  "rows",
                                                  "drop",
                                                  "extra_state",
                                                  "refuse",
                                                  "warn",
                                                  "megatron_config",
                                                  "megatron_config_when",
                                                  "megatron_args",
                                                  "hf_config"};

}  // namespace mappings
