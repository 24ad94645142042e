#include "bridge/convert/match/origin.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/convert/match/model_binding.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/hf/tokenizer_files.h"

namespace bridge {

bool Origin::from_reference() const {
  return reference && !reference->shards.empty();
}

const HfFolder* Origin::layout() const {
  if (from_reference()) return &*reference;
  return sidecar ? &sidecar->source : nullptr;
}

std::string Origin::config_text(FileSystem& fs) const {
  return read_config(fs, reference ? reference->path : sidecar->path / "files");
}

Path Origin::index_path() const {
  return (from_reference() ? reference->path : sidecar->path / "files") / kIndexFile;
}

std::string Origin::raw_header(FileSystem& fs, size_t shard, MemoryBudget& budget) const {
  const Path path = from_reference() ? reference->path / reference->shards[shard].name
                                     : sidecar->header_path(shard);
  return read_raw_safetensors_header(*fs.open_read(path), budget);
}

int32_t Origin::sidecar_tensor(std::string_view name) const {
  const HfTensor* tensor = sidecar ? sidecar->source.find(name) : nullptr;
  return tensor == nullptr ? -1 : static_cast<int32_t>(tensor - sidecar->source.tensors.data());
}

int64_t Origin::recorded_number(std::string_view choice) const {
  if (!sidecar) return 0;
  const auto it = sidecar->choices.find(choice);
  return it != sidecar->choices.end() && it->is_number_integer() && *it >= 0 ? it->get<int64_t>()
                                                                             : 0;
}

int64_t Origin::glu_interleave() const {
  return recorded_number("glu_interleave");
}

int64_t Origin::vocab_rows() const {
  return recorded_number("vocab_rows");
}

std::string Origin::dtype() const {
  if (!sidecar) return "";
  const auto it = sidecar->choices.find("dtype");
  if (it == sidecar->choices.end() || !it->is_string()) return "";
  const auto dtype = it->get<std::string>();
  const bool known = dtype == "source" || dtype == "bf16" || dtype == "fp16" || dtype == "fp32";
  return known ? dtype : "";
}

bool Origin::mtp_was_dropped() const {
  return sidecar && sidecar->choices.value("mtp", nlohmann::ordered_json()) == "drop";
}

bool Origin::parts_were_left_out() const {
  return sidecar && sidecar->choices.value("parts", nlohmann::ordered_json()) == "text";
}

bool Origin::head_was_left_out() const {
  return sidecar && sidecar->choices.value("head", nlohmann::ordered_json()) == "none";
}

bool Origin::sidecar_keeps(std::string_view name) const {
  const int32_t index = sidecar_tensor(name);
  if (index < 0 || !witnesses) return false;
  const HfTensor& tensor = sidecar->source.tensors[static_cast<size_t>(index)];
  return witnesses->covers(index, tensor.end - tensor.begin);
}

namespace {

void check_same_conversion(const MegatronFolder& checkpoint, const Sidecar& sidecar) {
  constexpr size_t kShown = 12;
  const std::string id = checkpoint.conversion_id();
  if (id.empty() || id == sidecar.id) return;
  const auto shown = [](const std::string& text) {
    return text.empty() ? "without an id" : printable(text.substr(0, kShown));
  };
  bad_input(
      fmt::format("{}: of another conversion ({}) than {} ({})", printable(sidecar.path.string()),
                  shown(sidecar.id), printable(checkpoint.dist_dir.string()), shown(id)),
      "name its own with --sidecar; where a conversion was killed while it replaced both, convert "
      "again");
}

std::vector<std::string> find_changed_files(FileSystem& fs, const MegatronFolder& checkpoint,
                                            const Sidecar& sidecar) {
  std::vector<std::string> changed;
  if (sidecar.id.empty() || checkpoint.conversion_id() != sidecar.id) return changed;
  for (const SidecarFile& file : sidecar.checkpoint_files) {
    const Path path = checkpoint.dist_dir / file.name;
    if (fs.stat(path)) {
      const auto opened = fs.open_read(path);
      if (opened->size() == file.size && crc_of_file(*opened) == file.crc) continue;
    }
    changed.push_back(printable(path.string()) + ": changed or damaged since the conversion");
  }
  return changed;
}

void list_own_side_files(Origin& origin) {
  if (origin.is_none()) return;
  const HfFolder& folder = origin.reference ? *origin.reference : origin.sidecar->source;
  for (size_t i = 0; i < folder.side_files.size(); ++i) {
    const std::string& name = folder.side_files[i].name;
    origin.side_files.push_back(
        {name, origin.reference ? folder.path / name : origin.sidecar->file_path(i)});
  }
}

// Replaces the origin's whole tokenizer, because parts of two tokenizers make none.
void take_tokenizer(FileSystem& fs, const Path& folder, Origin& origin, MemoryBudget& budget) {
  const TokenizerFolder tokenizer = open_tokenizer(fs, folder, budget);
  const auto has = [&](const std::string& name) {
    return std::find(tokenizer.files.begin(), tokenizer.files.end(), name) != tokenizer.files.end();
  };
  std::erase_if(origin.side_files, [&](const OriginFile& file) {
    const bool replaced = has(file.name) || is_tokenizer_file(file.name);
    if (replaced) origin.replaced_tokenizer.push_back(file.name);
    return replaced;
  });
  for (const std::string& name : tokenizer.files) {
    origin.side_files.push_back({name, tokenizer.path / name});
  }
  origin.tokenizer_files = std::ssize(tokenizer.files);
}

}  // namespace

Origin find_origin(FileSystem& fs, const MegatronFolder& checkpoint, const OriginPlaces& places,
                   MemoryBudget& budget) {
  const Path& sidecar_dir = places.sidecar;
  Origin origin;
  const Path beside = checkpoint.root / kSidecarFolder;
  if (!sidecar_dir.empty()) {
    // --sidecar may also name a checkpoint root that holds a sidecar.
    const Path inside = sidecar_dir / kSidecarFolder;
    origin.sidecar = open_sidecar(fs, fs.stat(inside) ? inside : sidecar_dir, budget);
  } else if (fs.stat(beside)) {
    origin.sidecar = open_sidecar(fs, beside, budget);
  }
  if (origin.sidecar) {
    check_same_conversion(checkpoint, *origin.sidecar);
    origin.changed_files = find_changed_files(fs, checkpoint, *origin.sidecar);
  }
  if (!places.reference.empty()) {
    origin.reference = open_hf_reference(fs, places.reference, budget);
  }
  if (origin.is_none() && !places.may_be_none) {
    usage_error(
        printable(checkpoint.root.string()) +
            ": nothing says what the Hugging Face side looks like (no causeway/ folder here)",
        "give --reference HF_DIR (config.json and tokenizer of the model) or --sidecar DIR");
  }
  list_own_side_files(origin);
  if (!places.tokenizer.empty()) take_tokenizer(fs, places.tokenizer, origin, budget);
  if (origin.sidecar && origin.sidecar->has_witnesses) {
    std::vector<int64_t> sizes;
    for (const HfTensor& tensor : origin.sidecar->source.tensors) {
      sizes.push_back(tensor.end - tensor.begin);
    }
    const Path path = origin.sidecar->witness_path();
    with_context(printable(path.string()), [&] {
      origin.witnesses =
          std::make_unique<WitnessIndex>(fs, path, sizes, origin.sidecar->witness_crc, budget);
    });
  }
  return origin;
}

}  // namespace bridge
