// Options that several commands share, declared once.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "bridge/convert/options.h"

namespace cli {

// --memory, --threads on every command.
void add_resource_options(CLI::App& app, bridge::CommonOptions& options);
// --report, --progress, --quiet, --mapping, --arch on convert, export, verify.
void add_run_options(CLI::App& app, bridge::CommonOptions& options);
// --sidecar on commands that read one.
void add_sidecar_option(CLI::App& app, bridge::CommonOptions& options);
// --iteration on commands that read a Megatron checkpoint.
void add_iteration_option(CLI::App& app, bridge::CommonOptions& options);

// "256MiB", "5GB", "1048576": decimal and binary units. CLI::ValidationError for anything else.
int64_t parse_size(const std::string& text);
void add_size_option(CLI::App& app, const std::string& name, int64_t& target,
                     const std::string& help);

// Choices Megatron makes, on convert and export.
void add_dtype_option(CLI::App& app, std::optional<bridge::Dtype>& dtype);
void add_content_options(CLI::App& app, bool& keep_mtp, bool& text_only);

}  // namespace cli
