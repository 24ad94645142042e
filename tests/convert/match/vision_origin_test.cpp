// Tests where an export finds the vision tower of a checkpoint that was made without it, and where
// it must not look.
#include "tests/convert/vision_model.h"

namespace bridge {
namespace {

class VisionOriginTest : public VisionTest {
 protected:
  VisionOriginTest() { convert("megatron", true); }

  void refused(const std::string& part, const Path& reference = {}) {
    const Error error = expect_error(
        Code::kBadInput, part, [&] { export_again("megatron", "hf", 1, 64 << 20, reference); });
    EXPECT_FALSE(fs_.stat(dir_ / "hf"));
    hint_ = error.hint();
  }

  std::string hint_;
};

TEST_F(VisionOriginTest, TheReferenceWhereThereIsNoSidecar) {
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  const Report report = export_again("megatron", "hf", 1, 64 << 20, dir_ / "source");
  EXPECT_EQ(hf_tensors(dir_ / "hf").size() + 2, hf_tensors(dir_ / "source").size());
  for (const auto& [name, tensor] : hf_tensors(dir_ / "hf")) {
    EXPECT_EQ(tensor, hf_tensors(dir_ / "source").at(name)) << name;
  }
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("9 tensors are put back from the reference"),
            std::string::npos);
  EXPECT_EQ(report.json["put_back_tensors"], kVisionTensors);
  // Only the sidecar keeps tables that no row reads.
  EXPECT_EQ(report.json["left_out"].size(), 2U);
}

TEST_F(VisionOriginTest, TheSidecarBeforeTheReference) {
  write(all_tensors(99), "other");
  const Report report = export_again("megatron", "hf", 1, 64 << 20, dir_ / "other");
  EXPECT_NE(report.warnings.at(0).find("from the sidecar"), std::string::npos);
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(VisionOriginTest, NeitherOfThem) {
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  put_file(dir_ / "config_only/config.json", file_content(dir_ / "source/config.json"));
  ExportOptions options = export_options("megatron", "hf");
  options.reference = dir_ / "config_only";
  options.dtype = Dtype::kBF16;
  const Error error = expect_error(Code::kBadInput, "vision: the checkpoint lacks all 9 tensors",
                                   [&] { export_to_hf(fs_, options); });
  EXPECT_NE(error.hint().find("--parts text"), std::string::npos);
  EXPECT_NE(error.hint().find("--reference"), std::string::npos);
  EXPECT_FALSE(fs_.stat(dir_ / "hf"));
}

TEST_F(VisionOriginTest, AReferenceThatIsAnotherModel) {
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  const std::vector<NamedTensor> vision = vision_tensors(6);
  const auto with = [&](const std::function<void(std::vector<NamedTensor>&)>& change) {
    std::vector<NamedTensor> changed = vision;
    change(changed);
    std::vector<NamedTensor> all = text_tensors();
    all.insert(all.end(), changed.begin(), changed.end());
    write(all, "other");
  };
  with([](auto& tensors) { tensors[8].shape = {2, 8}; });
  refused("model.visual.patch.weight: shape [2, 8]", dir_ / "other");
  with([](auto& tensors) { tensors.erase(tensors.begin() + 2); });
  refused("1 missing (model.visual.blocks.0.v.weight)", dir_ / "other");
  with([](auto& tensors) { tensors[8].dtype = Dtype::kI16; });
  refused("model.visual.patch.weight: dtype I16", dir_ / "other");
  with([](auto& tensors) {
    for (NamedTensor& tensor : tensors) tensor.name = "model.vision" + tensor.name.substr(12);
  });
  refused("lacks all 9 tensors", dir_ / "other");
  with([](auto& tensors) {
    tensors.push_back({"model.visual.more", Dtype::kF32, {1}, std::string(4, 'x')});
  });
  refused("1 unknown (model.visual.more)", dir_ / "other");
}

TEST_F(VisionOriginTest, AVisionTowerThatWasConvertedAndLostIsNotFilled) {
  convert("all");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  std::filesystem::copy(dir_ / "all/causeway", dir_ / "megatron/causeway",
                        std::filesystem::copy_options::recursive);
  refused("of another conversion");
  // Megatron keeps no id of a conversion: what it saves is of any.
  std::filesystem::remove(dir_ / "megatron/iter_0000000/common.pt");
  refused("though its conversion wrote 9");
  refused("though its conversion wrote 9", dir_ / "source");
  EXPECT_NE(hint_.find("--parts text"), std::string::npos);
}

TEST_F(VisionOriginTest, APartOfAPartIsMissing) {
  convert("all");
  rename_key("all", "vision_model.patch.weight", "vision_model.patsh.weight");
  for (const Path& reference : {Path(), dir_ / "source"}) {
    expect_error(Code::kBadInput, "1 missing (vision_model.patch.weight)",
                 [&] { export_again("all", "hf", 1, 64 << 20, reference); });
  }
}

TEST_F(VisionOriginTest, ADamagedSidecar) {
  const Path witnesses = dir_ / "megatron/causeway/witnesses.bin";
  const std::string good = file_content(witnesses);
  std::string bytes = good;
  bytes[bytes.size() - 1] ^= 1;
  put_file(witnesses, bytes);
  refused("witnesses.bin");
  put_file(witnesses, good.substr(0, good.size() / 2));
  refused("witnesses.bin");
  std::filesystem::remove(witnesses);
  expect_error(Code::kIo, "witnesses.bin", [&] { export_again("megatron", "hf"); });
}

TEST_F(VisionOriginTest, ASidecarWithoutTheVisionTower) {
  // A whole sidecar says that the text model was converted, as if the bytes had never been kept.
  std::filesystem::remove_all(dir_ / "megatron");
  write(text_tensors());
  convert("megatron", true);
  refused("the sidecar keeps 0 of them");
  // The original still has the bytes.
  write(all_tensors(), "original");
  export_again("megatron", "hf", 1, 64 << 20, dir_ / "original");
  EXPECT_EQ(hf_tensors(dir_ / "hf").at("model.visual.patch.weight"),
            hf_tensors(dir_ / "original").at("model.visual.patch.weight"));
}

TEST_F(VisionOriginTest, KeysWithAndWithoutAPrefix) {
  convert("all");
  // Some key belongs to a second text model.
  rename_key("all", "language_model.decoder.layers.1.norm.weight",
             "decoder.layers.1.norm.weight.of.another.one");
  expect_error(Code::kBadInput, "keys with and without language_model.",
               [&] { export_again("all", "hf"); });
}

}  // namespace
}  // namespace bridge
