#include "bridge/convert/commit/megatron_files.h"

#include <nlohmann/json.hpp>

#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

void write_metadata_files(FileSystem& fs, const Path& dist_dir, const ConvertPlan& plan,
                          std::string_view id) {
  {
    const auto file = fs.create(dist_dir / ".metadata");
    int64_t size = 0;
    write_dcp_metadata(plan.files, plan.tensors, plan.objects, [&](std::string_view piece) {
      file->write_at(size, std::as_bytes(std::span(piece)));
      size += std::ssize(piece);
    });
    file->sync();
  }
  write_whole_file(fs, dist_dir / "common.pt", common_pt(plan.configuration.common, id));
  write_whole_file(fs, dist_dir / "run_config.yaml", plan.configuration.run_config);
  const nlohmann::ordered_json format = {{"sharded_backend", "torch_dist"},
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
