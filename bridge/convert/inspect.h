// inspect describes a checkpoint of either kind from its headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct InspectOptions : CommonOptions {
  Path path;
  bool every_tensor = false;  // one line per tensor instead of one per family of layers
  bool as_json = false;       // fill Report::json with every tensor
  bool for_page = false;      // fill Report::json with families, layers and files
};

struct HuggingFaceFacts {
  std::string architecture;  // printable; empty: no config.json
  size_t shards = 0;
  bool has_index = false;
  std::vector<std::string> side_files;  // printable
  BesideModel beside;
};

struct MegatronFacts {
  std::string iteration;   // empty: the path is an iteration folder
  std::string key_prefix;  // starts every key and is left out of the tensors' names; mostly empty
  struct CommonState {
    std::string checkpoint_version;
    std::string iteration;
    bool has_args;
  };
  std::optional<CommonState> common;
  int64_t training_tensors = 0;
  int64_t objects = 0;
  size_t data_files = 0;
  bool has_run_config = false;
  bool has_sidecar = false;
};

struct InspectSummary : Report {
  struct OfDtype {
    std::string_view dtype;
    int64_t tensors;
    int64_t bytes;
  };
  struct Line {
    std::string name;  // printable; the family's name if the line stands for several tensors
    int64_t tensors;
    Dtype dtype;
    Shape shape;
    int64_t bytes;
  };
  Path path;
  std::variant<HuggingFaceFacts, MegatronFacts> facts;
  size_t tensors = 0;
  int64_t bytes = 0;
  std::vector<OfDtype> by_dtype;
  std::vector<Line> lines;  // in the order of their first tensors
};

InspectSummary inspect(FileSystem& fs, const InspectOptions& options);

}  // namespace bridge
