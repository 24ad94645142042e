// Finds the CUDA half of LibTorch and the libraries that it links, in folders as pip fills them
// (torch/ and nvidia/ side by side).
//
//   1. A folder whose torch is of another version than the LibTorch this program is linked with is
//      left out, as its libraries were chosen for that version.
//   2. libtorch_cuda.so is the one beside the linked LibTorch, else that of the first folder.
//   3. Each other library is the first folder's that has it. Their order is that of what they link,
//      so that loading one never makes the loader look for another.
// Nothing is loaded here and no Python runs; only files and folders are looked at.
// Truth: torch/__init__.py (_preload_cuda_deps, _get_cuda_dep_paths), torch/version.py; the dynamic
// sections of the wheels of torch 2.11; Core metadata specifications (Requires-Dist).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace models {

using FilePath = std::filesystem::path;

// What the environment says of where Python's packages lie.
struct PythonEnvironment {
  std::string virtual_env;  // VIRTUAL_ENV
  std::string path;         // PATH
  std::string home;         // HOME
};

// The folders of packages of that environment: of the virtual one, else of the python3 that PATH
// finds first. A link counts as the environment that it lies in, and if that has no packages, as
// the one of the program it leads to.
std::vector<FilePath> python_packages(const PythonEnvironment& environment);

// For example "2.11.0+cu130": what version.py says in a torch package, or build-version in a
// LibTorch without Python. Empty if neither is there.
std::string torch_version(const FilePath& torch);

// The CUDA version in a torch version, as drivers count: 13000 for "2.11.0+cu130"; 0 if there is
// none.
int cuda_version(const std::string& torch_version);

struct CudaLibraries {
  FilePath torch_cuda;                // libtorch_cuda.so; empty if there is none
  std::vector<FilePath> others;       // in the order in which they are loaded before it
  std::vector<std::string> left_out;  // a sentence for each folder with another torch
};

// linked: the folder of the libtorch_cpu.so that this program runs with. The folder of packages
// that it lies in comes before `places`.
CudaLibraries find_cuda_libraries(const FilePath& linked, const std::vector<FilePath>& places);

// Checks the folder that a user names. name: the option or variable. Error: kUsage if it is no
// folder, has neither torch nor nvidia, or has another torch than the linked one.
void check_named_place(const FilePath& linked, const std::string& name, const FilePath& place);

// The library that a message of the dynamic loader says is not there; empty for other messages.
std::string missing_library(const std::string& message);

// The pip command that installs a library ("libcufile.so.0") in the version that the linked torch
// asks for.
std::string install_line(const FilePath& linked, const std::string& library);

}  // namespace models
