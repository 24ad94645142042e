#include "bridge/convert/commit/megatron_files.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "bridge/io/torch_dist/dcp_metadata.h"
#include "bridge/io/torch_dist/torch_item.h"

namespace bridge {
std::string train_state_archive() {
  struct Field {
    std::string_view name;
    Dtype dtype;
    bool set;
  };
  constexpr std::array kFields = {
      Field{"step", Dtype::kI64, false},
      Field{"consumed_train_samples", Dtype::kI64, false},
      Field{"skipped_train_samples", Dtype::kI64, false},
      Field{"consumed_valid_samples", Dtype::kI64, false},
      Field{"floating_point_operations_so_far", Dtype::kF32, false},
      Field{"do_train", Dtype::kBool, false},
      Field{"do_valid", Dtype::kBool, false},
      Field{"do_test", Dtype::kBool, false},
  };
  PickleWriter out(2);
  out.empty_dict().mark();
  for (size_t i = 0; i < kFields.size(); ++i) {
    out.string(kFields[i].name);
    out.global("torch._utils", "_rebuild_tensor_v2").mark();
    out.mark().string("storage").global("torch", torch_storage_name(kFields[i].dtype));
    out.string(std::to_string(i)).string("cpu").integer(1).tuple().persistent_id();
    out.integer(0).empty_tuple().empty_tuple().boolean(false);
    out.global("collections", "OrderedDict").empty_tuple().reduce();
    out.tuple().reduce();
  }
  ZipLayout archive("latest_train_state");
  archive.add("data.pkl", out.set_items().finish());
  archive.add(".format_version", "1");
  archive.add(".storage_alignment", "64");
  archive.add("byteorder", "little");
  for (size_t i = 0; i < kFields.size(); ++i) {
    const auto size = static_cast<size_t>(bits_of(kFields[i].dtype) / 8);
    archive.add(fmt::format("data/{}", i), std::string(size, '\0'));
  }
  archive.add("version", "3\n");
  archive.finish();
  return archive.head();
}

void write_metadata_files(FileSystem& fs, const Path& dist_dir, const ConvertPlan& plan) {
  {
    const auto file = fs.create(dist_dir / ".metadata");
    int64_t size = 0;
    write_dcp_metadata(plan.files, plan.tensors, plan.objects, [&](std::string_view piece) {
      file->write_at(size, std::as_bytes(std::span(piece)));
      size += std::ssize(piece);
    });
    file->sync();
  }
  write_whole_file(fs, dist_dir / "common.pt", plan.configuration.common_pt);
  write_whole_file(fs, dist_dir / "run_config.yaml", plan.configuration.run_config);
  const nlohmann::ordered_json format = {{"sharded_backend", "torch_dist"},
                                         {"sharded_backend_version", 1},
                                         {"common_backend", "torch"},
                                         {"common_backend_version", 1}};
  write_whole_file(fs, dist_dir / "metadata.json", format.dump());
}

void write_root_files(FileSystem& fs, const Path& root) {
  const bool linked = fs.symlink(std::string(kIterationFolder), root / "release");
  write_whole_file(fs, root / "latest_train_state.pt", train_state_archive());
  write_whole_file(fs, root / "latest_checkpointed_iteration.txt", linked ? "release" : "0");
}

}  // namespace bridge
