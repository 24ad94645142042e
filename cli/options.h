// Declares, once, the options that several commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bridge/convert/options.h"

namespace cli {

constexpr int64_t kLargestNumber = 1'000'000'000;  // of rows, blocks or layers
constexpr int64_t kLongestPrompt = 1 << 20;        // tokens

// --memory, --threads of every command.
void add_resource_options(CLI::App& app, bridge::CommonOptions& options);
// --report, --progress, --quiet, --mapping, --arch, --sidecar of convert, export and verify.
void add_run_options(CLI::App& app, bridge::CommonOptions& options);
// --rank, --rank-timeout of convert, export and verify.
void add_rank_options(CLI::App& app, bridge::Rank& rank);
// --iteration of commands that read a Megatron checkpoint.
CLI::Option* add_html_option(CLI::App& app, bridge::Path& html);
void add_iteration_option(CLI::App& app, bridge::CommonOptions& options);

// --tokens, --prompt-length, --seed, --reference-logits, --run-config, --layers, --layers-input,
// --compute, --device, --device-memory, --cuda-libraries, and those of a training step: --dump,
// --context-parallel, --mhc-recompute-layers, --mtp, --recompute, --fp8, --aux-loss. given collects
// the options that were given with their values.
void add_forward_options(CLI::App& app, std::vector<std::pair<std::string, std::string>>& given);

// Parses "256MiB", "5GB" or "1048576" (decimal and binary units) into bytes. Throws
// CLI::ValidationError for anything else.
int64_t parse_size(const std::string& name, const std::string& text);
CLI::Option* add_size_option(CLI::App& app, const std::string& name, int64_t& target,
                             const std::string& help);

CLI::Option* add_mtp_option(CLI::App& app, bool& keep_mtp);

// --overwrite, --dry-run, --dtype, --mtp, --parts, --spec, --layer-keys, --name-prefix,
// --glu-interleave of convert and export.
void add_output_options(CLI::App& app, bridge::OutputOptions& options);

}  // namespace cli
