#include "models/verify/cuda_libraries.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr const char* kTorchCuda = "libtorch_cuda.so";

struct Library {
  std::string_view name;
  std::string_view
      folder;              // in nvidia/, and the package's name; since CUDA 13 of those below alone
  std::string_view extra;  // of the package cuda-toolkit; empty: the library is no part of it
};

constexpr Library kLibraries[] = {{"libcudart", "cuda_runtime", "cudart"},
                                  {"libcupti", "cuda_cupti", "cupti"},
                                  {"libnvJitLink", "nvjitlink", "nvjitlink"},
                                  {"libnvrtc", "cuda_nvrtc", "nvrtc"},
                                  {"libcublasLt", "cublas", "cublas"},
                                  {"libcublas", "cublas", "cublas"},
                                  {"libcufft", "cufft", "cufft"},
                                  {"libcurand", "curand", "curand"},
                                  {"libcusparse", "cusparse", "cusparse"},
                                  {"libcusolver", "cusolver", "cusolver"},
                                  {"libcufile", "cufile", "cufile"},
                                  {"libcusparseLt", "cusparselt", ""},
                                  {"libnccl", "nccl", ""},
                                  {"libnvshmem_host", "nvshmem", ""},
                                  {"libcudnn", "cudnn", ""}};

bool is_folder(const FilePath& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

bool is_file(const FilePath& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

// The entries of a folder by name; none if it cannot be read.
std::vector<FilePath> entries_of(const FilePath& folder) {
  std::error_code error;
  std::vector<FilePath> entries;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(entry->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::vector<std::string> lines_of(const FilePath& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The linked LibTorch lies in PACKAGES/torch/lib.
FilePath torch_of(const FilePath& linked) {
  return linked.parent_path();
}

FilePath packages_of(const FilePath& linked) {
  return torch_of(linked).parent_path();
}

// "2.11.0" of "2.11.0+cu130".
std::string without_label(const std::string& version) {
  return version.substr(0, version.find('+'));
}

// The packages of the Python installed under `prefix`; Debian calls the folder dist-packages.
void add_packages_under(const FilePath& prefix, std::vector<FilePath>& found) {
  for (const FilePath& library : {prefix / "lib", prefix / "local" / "lib"}) {
    for (const FilePath& python : entries_of(library)) {
      if (!python.filename().native().starts_with("python3")) continue;
      for (const char* name : {"site-packages", "dist-packages"}) {
        if (is_folder(python / name)) found.push_back(python / name);
      }
    }
  }
}

std::optional<FilePath> python3_on(std::string_view path) {
  while (true) {
    const size_t end = path.find(':');
    const FilePath program = FilePath(path.substr(0, end)) / "python3";
    if (program.is_absolute() && is_file(program)) return program;
    if (end == std::string_view::npos) return std::nullopt;
    path.remove_prefix(end + 1);
  }
}

// A sentence about a torch of another version in a folder of packages; empty if there is none.
std::string other_torch(const FilePath& linked, const FilePath& place) {
  const std::string there = torch_version(place / "torch");
  const std::string ours = torch_version(torch_of(linked));
  if (there.empty() || there == ours) return "";
  return fmt::format("{} has torch {}, and this program is linked with {}",
                     bridge::printable(place.native()), bridge::printable(there),
                     ours.empty() ? "one of unknown version" : bridge::printable(ours));
}

// The library in a folder of packages, under the name with its version.
std::optional<FilePath> library_in(const FilePath& place, const Library& library, int cuda) {
  const int major = cuda / 1000;
  const bool together = major >= 13 && !library.extra.empty();
  const FilePath folder =
      place / "nvidia" / (together ? fmt::format("cu{}", major) : std::string(library.folder));
  const std::string start = fmt::format("{}.so.", library.name);
  for (const FilePath& entry : entries_of(folder / "lib")) {
    const std::string name = entry.filename().native();
    if (!name.starts_with(start)) continue;
    if (name.find_first_not_of("0123456789", start.size()) == std::string::npos) return entry;
  }
  return std::nullopt;
}

// Whether Requires-Dist names the package of the library.
bool is_package_of(const Library& library, std::string_view requirement) {
  std::string name = fmt::format("nvidia-{}", library.folder);
  std::replace(name.begin(), name.end(), '_', '-');
  return requirement.starts_with(name + "-cu") || requirement.starts_with(name + "=");
}

// What pip is asked for to get the library, as the linked torch's own metadata asks for it; empty
// if that does not name it.
std::string requirement_for(const Library& library, const std::vector<std::string>& metadata) {
  constexpr std::string_view kField = "Requires-Dist: ";
  constexpr std::string_view kToolkit = "cuda-toolkit[";
  for (const std::string& line : metadata) {
    if (!line.starts_with(kField)) continue;
    const std::string requirement =
        line.substr(kField.size(), line.find(';', kField.size()) - kField.size());
    if (is_package_of(library, requirement)) return requirement;
    const size_t version = requirement.find(']');
    if (library.extra.empty() || !requirement.starts_with(kToolkit)) continue;
    if (version == std::string::npos) continue;
    return fmt::format("'{}{}]{}'", kToolkit, library.extra, requirement.substr(version + 1));
  }
  return "";
}

}  // namespace

std::vector<FilePath> python_packages(const PythonEnvironment& environment) {
  std::vector<FilePath> found;
  if (!environment.virtual_env.empty()) {
    add_packages_under(environment.virtual_env, found);
    return found;
  }
  const std::optional<FilePath> program = python3_on(environment.path);
  if (!program) return found;
  add_packages_under(program->parent_path().parent_path(), found);
  if (found.empty()) {
    std::error_code error;
    const FilePath target = std::filesystem::canonical(*program, error);
    if (!error) add_packages_under(target.parent_path().parent_path(), found);
  }
  // `pip install --user`; the folder has the same form as an installation.
  if (!environment.home.empty()) add_packages_under(FilePath(environment.home) / ".local", found);
  return found;
}

std::string torch_version(const FilePath& torch) {
  constexpr std::string_view kName = "__version__ =";
  for (const std::string& line : lines_of(torch / "version.py")) {
    if (!line.starts_with(kName)) continue;
    const size_t begin = line.find('\'') + 1;
    const size_t end = line.find('\'', begin);
    if (begin != 0 && end != std::string::npos) return line.substr(begin, end - begin);
  }
  const std::vector<std::string> lines = lines_of(torch / "build-version");
  return lines.empty() ? "" : lines.front();
}

int cuda_version(const std::string& torch_version) {
  const size_t label = torch_version.find("+cu");
  if (label == std::string::npos) return 0;
  int number = 0;  // 130: the last digit is the minor version
  const char* const end = torch_version.data() + torch_version.size();
  const auto [stop, error] = std::from_chars(torch_version.data() + label + 3, end, number);
  if (error != std::errc() || number < 10 || number > 9999) return 0;
  return number / 10 * 1000 + number % 10 * 10;
}

CudaLibraries find_cuda_libraries(const FilePath& linked, const std::vector<FilePath>& places) {
  CudaLibraries found;
  const int cuda = cuda_version(torch_version(torch_of(linked)));
  std::vector<FilePath> usable = {packages_of(linked)};
  for (const FilePath& place : places) {
    const std::string other = other_torch(linked, place);
    if (other.empty()) {
      usable.push_back(place);
    } else {
      found.left_out.push_back(other);
    }
  }
  std::vector<FilePath> folders = {linked};
  for (const FilePath& place : usable) folders.push_back(place / "torch" / "lib");
  for (const FilePath& folder : folders) {
    if (!found.torch_cuda.empty() || !is_file(folder / kTorchCuda)) continue;
    found.torch_cuda = folder / kTorchCuda;
  }
  for (const Library& library : kLibraries) {
    for (const FilePath& place : usable) {
      const std::optional<FilePath> path = library_in(place, library, cuda);
      if (!path) continue;
      found.others.push_back(*path);
      break;
    }
  }
  return found;
}

void check_named_place(const FilePath& linked, const std::string& name, const FilePath& place) {
  const std::string shown = fmt::format("{} {}", name, bridge::printable(place.native()));
  constexpr const char* kHint = "a folder as pip fills it: site-packages, or that of --target";
  if (!is_folder(place)) bridge::usage_error(fmt::format("{}: no such folder", shown), kHint);
  if (!is_folder(place / "torch") && !is_folder(place / "nvidia")) {
    bridge::usage_error(fmt::format("{}: neither torch nor nvidia is in there", shown), kHint);
  }
  const std::string other = other_torch(linked, place);
  if (other.empty()) return;
  bridge::usage_error(
      fmt::format("{}: {}", name, other),
      fmt::format("name one with torch {}", bridge::printable(torch_version(torch_of(linked)))));
}

std::string missing_library(const std::string& message) {
  const size_t colon = message.find(": cannot open shared object file");
  return colon == std::string::npos ? "" : message.substr(0, colon);
}

std::string install_line(const FilePath& linked, const std::string& library) {
  const std::string version = without_label(torch_version(torch_of(linked)));
  const FilePath metadata =
      packages_of(linked) / fmt::format("torch-{}.dist-info", version) / "METADATA";
  const std::string_view name = std::string_view(library).substr(0, library.find(".so"));
  const auto* const known = std::find_if(std::begin(kLibraries), std::end(kLibraries),
                                         [&](const Library& each) { return each.name == name; });
  std::string wanted;
  if (known != std::end(kLibraries)) wanted = requirement_for(*known, lines_of(metadata));
  // Everything that it needs comes with the whole package.
  if (wanted.empty()) wanted = version.empty() ? "torch" : "torch==" + version;
  return "pip install " + bridge::printable(wanted);
}

}  // namespace models
