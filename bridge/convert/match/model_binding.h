// Binds a configuration to the table that serves it. Every command that maps tensors starts here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bridge/convert/match/table_choice.h"
#include "bridge/io/file/file_system.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"

namespace bridge {

struct BoundModel {
  std::unique_ptr<const mappings::Table> own_table;  // null: the table is built in
  mappings::Binding binding;
};

// Counts the MTP depths whose tensors are there, for tables that ask (mtp_found).
using CountMtp = std::function<int64_t(const mappings::Binding&)>;
// True if a model that is not tied has no output layer (output_layer.h). Empty: it has one.
using LacksHead = std::function<bool(const mappings::Binding&)>;

// config_name is for messages ("…/config.json"). Errors: kBadInput; kUnsupported, also for NVFP4
// and for FP8 with one scale per tensor.
BoundModel bind_model(std::string_view config_text, std::string_view config_name,
                      const TableChoice& choice, mappings::BindingOptions binding,
                      const CountMtp& count_mtp, const LacksHead& lacks_head = {});

// Returns the text of folder/config.json. Errors: kBadInput if it is not there.
std::string read_config(FileSystem& fs, const Path& folder);

}  // namespace bridge
