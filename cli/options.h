// Options that several commands share, declared once.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "bridge/convert/options.h"

namespace cli {

// --memory, --threads on every command.
void add_resource_options(CLI::App& app, bridge::CommonOptions& options);
// --report, --progress, --quiet, --mapping, --arch, --sidecar on convert, export, verify.
void add_run_options(CLI::App& app, bridge::CommonOptions& options);
// --iteration on commands that read a Megatron checkpoint.
void add_iteration_option(CLI::App& app, bridge::CommonOptions& options);

// "256MiB", "5GB", "1048576": decimal and binary units. CLI::ValidationError for anything else.
int64_t parse_size(const std::string& text);
void add_size_option(CLI::App& app, const std::string& name, int64_t& target,
                     const std::string& help);

// Choices the Megatron side makes, on convert and export. Export finds them out from the checkpoint; there they are
// for a checkpoint that holds two spellings.
struct KeyOptions {
  bridge::Spec& spec;
  bridge::LayerKeys& layer_keys;
  std::optional<std::string>& name_prefix;
  int64_t& glu_interleave;
};
void add_key_options(CLI::App& app, KeyOptions options);

template <typename Options>
void add_key_options(CLI::App& app, Options& options) {
  add_key_options(app, KeyOptions{options.spec, options.layer_keys, options.name_prefix,
                                  options.glu_interleave});
}

void add_dtype_option(CLI::App& app, std::optional<bridge::Dtype>& dtype);
void add_content_options(CLI::App& app, bool& keep_mtp, bool& text_only);

}  // namespace cli
