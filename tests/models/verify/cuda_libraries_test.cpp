// Folders as pip and Debian fill them, with empty files: which libraries are found in them, and in
// which order. Names and folders are those of the wheels of torch 2.11 (CUDA 13.0) and 2.8 (12.8).
#include "models/verify/cuda_libraries.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace models {
namespace {

using bridge::put_file;
using bridge::TempDir;

using Paths = std::vector<FilePath>;

constexpr const char* kMetadata =
    "Metadata-Version: 2.4\n"
    "Name: torch\n"
    "Requires-Dist: filelock\n"
    "Requires-Dist: cuda-toolkit[cublas,cufile]==13.0.2; platform_system == \"Linux\"\n"
    "Requires-Dist: nvidia-cudnn-cu13==9.19.0.56; platform_system == \"Linux\"\n"
    "Requires-Dist: nvidia-cusparselt-cu13==0.8.0; platform_system == \"Linux\"\n";

void put_torch(const FilePath& packages, const std::string& version) {
  put_file(packages / "torch" / "version.py",
           "__all__ = ['__version__']\n__version__ = '" + version + "'\ndebug = False\n");
}

// What scripts/libtorch.sh leaves: torch without most of what it links. Returns torch/lib.
FilePath put_linked(const FilePath& packages, const std::string& version = "2.11.0+cu130") {
  put_torch(packages, version);
  put_file(packages / "torch" / "lib" / "libtorch_cuda.so", "");
  put_file(packages / "nvidia" / "cu13" / "lib" / "libcudart.so.13", "");
  return packages / "torch" / "lib";
}

void put_nvidia(const FilePath& packages, const Paths& libraries) {
  for (const FilePath& library : libraries) put_file(packages / "nvidia" / library, "");
}

std::vector<std::string> names_of(const Paths& paths) {
  std::vector<std::string> names;
  for (const FilePath& path : paths) names.push_back(path.filename().native());
  return names;
}

// libcusparse links libnvJitLink, libcublas links libcublasLt, libcusolver links both.
TEST(CudaLibraries, ComeAfterWhatTheyLink) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps");
  put_nvidia(
      work / "env",
      {"cu13/lib/libcublas.so.13", "cu13/lib/libcublasLt.so.13", "cu13/lib/libcufile.so.0",
       "cu13/lib/libcusolver.so.12", "cu13/lib/libcusparse.so.12", "cu13/lib/libnvJitLink.so.13",
       "cu13/lib/libnvrtc.so.13", "cudnn/lib/libcudnn.so.9", "cusparselt/lib/libcusparseLt.so.0",
       "nccl/lib/libnccl.so.2", "nvshmem/lib/libnvshmem_host.so.3"});
  const CudaLibraries found = find_cuda_libraries(linked, {work / "env"});
  EXPECT_EQ(found.torch_cuda, linked / "libtorch_cuda.so");
  EXPECT_EQ(found.left_out, std::vector<std::string>());
  EXPECT_EQ(names_of(found.others),
            (std::vector<std::string>{"libcudart.so.13", "libnvJitLink.so.13", "libnvrtc.so.13",
                                      "libcublasLt.so.13", "libcublas.so.13", "libcusparse.so.12",
                                      "libcusolver.so.12", "libcufile.so.0", "libcusparseLt.so.0",
                                      "libnccl.so.2", "libnvshmem_host.so.3", "libcudnn.so.9"}));
}

TEST(CudaLibraries, AreTheFirstFoldersThatHasThem) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps");
  put_nvidia(work / "first", {"cudnn/lib/libcudnn.so.9", "cu13/lib/libcudart.so.13"});
  put_nvidia(work / "second", {"cudnn/lib/libcudnn.so.9", "nccl/lib/libnccl.so.2"});
  const CudaLibraries found = find_cuda_libraries(linked, {work / "first", work / "second"});
  EXPECT_EQ(found.others, (Paths{work / "deps" / "nvidia/cu13/lib/libcudart.so.13",
                                 work / "second" / "nvidia/nccl/lib/libnccl.so.2",
                                 work / "first" / "nvidia/cudnn/lib/libcudnn.so.9"}));
}

// Beside the libraries are others whose names begin alike, and some of another CUDA.
TEST(CudaLibraries, AreNoneOfTheirNeighbours) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps");
  put_nvidia(work / "env", {"cu13/lib/libnvrtc.alt.so.13", "cu13/lib/libnvrtc-builtins.so.13.0",
                            "cu13/lib/libcufftw.so.12", "cudnn/lib/libcudnn_ops.so.9",
                            "cudnn/lib/libcudnn.so.9.txt", "cublas/lib/libcublas.so.12",
                            "cu12/lib/libcublas.so.12"});
  const CudaLibraries found = find_cuda_libraries(linked, {work / "env", work / "nowhere"});
  EXPECT_EQ(names_of(found.others), std::vector<std::string>{"libcudart.so.13"});
}

// Before CUDA 13, each package had a folder of its own.
TEST(CudaLibraries, OfCuda12LieInTheirOwnFolders) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps", "2.8.0+cu128");
  put_nvidia(work / "env", {"cublas/lib/libcublas.so.12", "cublas/lib/libcublasLt.so.12",
                            "cuda_runtime/lib/libcudart.so.12", "cu13/lib/libcublas.so.13"});
  const CudaLibraries found = find_cuda_libraries(linked, {work / "env"});
  EXPECT_EQ(names_of(found.others),
            (std::vector<std::string>{"libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"}));
}

TEST(CudaLibraries, OfAnotherTorchAreLeftOut) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps");
  put_torch(work / "old", "2.9.1+cu130");
  put_nvidia(work / "old", {"cudnn/lib/libcudnn.so.9"});
  put_torch(work / "same", "2.11.0+cu130");
  put_nvidia(work / "same", {"nccl/lib/libnccl.so.2"});
  const CudaLibraries found = find_cuda_libraries(linked, {work / "old", work / "same"});
  EXPECT_EQ(names_of(found.others), (std::vector<std::string>{"libcudart.so.13", "libnccl.so.2"}));
  EXPECT_EQ(found.left_out,
            std::vector<std::string>{(work / "old").native() +
                                     " has torch 2.9.1+cu130, and this program is linked with "
                                     "2.11.0+cu130"});
}

// One build of LibTorch has libtorch_cuda.so beside it and one has not.
TEST(CudaLibraries, TorchsOwnMayLieInAnotherFolder) {
  const TempDir work;
  put_torch(work / "deps", "2.11.0+cu130");
  const FilePath linked = work / "deps" / "torch" / "lib";
  put_torch(work / "cpu", "2.11.0+cpu");
  put_file(work / "cpu" / "torch" / "lib" / "libtorch_cuda.so", "");
  EXPECT_EQ(find_cuda_libraries(linked, {work / "cpu"}).torch_cuda, "");
  const FilePath other = put_linked(work / "env");
  EXPECT_EQ(find_cuda_libraries(linked, {work / "cpu", work / "env"}).torch_cuda,
            other / "libtorch_cuda.so");
}

TEST(CudaLibraries, ANamedFolderIsChecked) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps");
  put_torch(work / "old", "2.9.1+cu128");
  put_file(work / "file", "");
  put_file(work / "empty" / "lib" / "libcublas.so.13", "");
  put_nvidia(work / "nvidia_alone", {"cudnn/lib/libcudnn.so.9"});
  const auto message = [&](const char* place) -> std::string {
    try {
      check_named_place(linked, "--cuda-libraries", work / place);
    } catch (const bridge::Error& error) {
      EXPECT_EQ(error.code(), bridge::Code::kUsage) << place;
      return error.message();
    }
    return "";
  };
  const std::string start = "--cuda-libraries " + work.path().native();
  EXPECT_EQ(message("nowhere"), start + "/nowhere: no such folder");
  EXPECT_EQ(message("file"), start + "/file: no such folder");
  EXPECT_EQ(message("empty"), start + "/empty: neither torch nor nvidia is in there");
  EXPECT_EQ(message("old"), "--cuda-libraries: " + (work / "old").native() +
                                " has torch 2.9.1+cu128, and this program is linked with "
                                "2.11.0+cu130");
  EXPECT_EQ(message("nvidia_alone"), "");
  EXPECT_EQ(message("deps"), "");
}

TEST(TorchVersion, IsReadFromAPackageOrALibTorch) {
  const TempDir work;
  put_torch(work / "wheel", "2.11.0+cu130");
  put_file(work / "zip" / "build-version", "2.11.0+cu126\n");
  put_file(work / "odd" / "version.py", "__version__ = broken\n");
  EXPECT_EQ(torch_version(work / "wheel" / "torch"), "2.11.0+cu130");
  EXPECT_EQ(torch_version(work / "zip"), "2.11.0+cu126");
  EXPECT_EQ(torch_version(work / "odd"), "");
  EXPECT_EQ(torch_version(work / "nowhere"), "");
}

TEST(TorchVersion, NamesItsCuda) {
  EXPECT_EQ(cuda_version("2.11.0+cu130"), 13000);
  EXPECT_EQ(cuda_version("2.8.0+cu128"), 12080);
  EXPECT_EQ(cuda_version("2.11.0+cpu"), 0);
  EXPECT_EQ(cuda_version("2.11.0a0+git1234"), 0);
  EXPECT_EQ(cuda_version("2.11.0+cu"), 0);
  EXPECT_EQ(cuda_version(""), 0);
}

TEST(MissingLibrary, IsNamedByTheLoader) {
  EXPECT_EQ(
      missing_library("libcufile.so.0: cannot open shared object file: No such file or directory"),
      "libcufile.so.0");
  EXPECT_EQ(missing_library("/x/libtorch_cuda.so: undefined symbol: cudaMalloc"), "");
}

TEST(MissingLibrary, IsInstalledInTheVersionThatTorchAsksFor) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps");
  put_file(work / "deps" / "torch-2.11.0.dist-info" / "METADATA", kMetadata);
  EXPECT_EQ(install_line(linked, "libcufile.so.0"), "pip install 'cuda-toolkit[cufile]==13.0.2'");
  EXPECT_EQ(install_line(linked, "libcublasLt.so.13"),
            "pip install 'cuda-toolkit[cublas]==13.0.2'");
  EXPECT_EQ(install_line(linked, "libcudnn.so.9"), "pip install nvidia-cudnn-cu13==9.19.0.56");
  EXPECT_EQ(install_line(linked, "libcusparseLt.so.0"),
            "pip install nvidia-cusparselt-cu13==0.8.0");
  EXPECT_EQ(install_line(linked, "libnccl.so.2"), "pip install torch==2.11.0");
  EXPECT_EQ(install_line(linked, "libtorch_cuda.so"), "pip install torch==2.11.0");
}

// Before CUDA 13, torch asked for every package by itself.
TEST(MissingLibrary, OfCuda12HasAPackageOfItsOwn) {
  const TempDir work;
  const FilePath linked = put_linked(work / "deps", "2.8.0+cu128");
  put_file(work / "deps" / "torch-2.8.0.dist-info" / "METADATA",
           "Requires-Dist: nvidia-cuda-nvrtc-cu12==12.8.93; platform_system == \"Linux\"\n"
           "Requires-Dist: nvidia-cufile-cu12==1.13.1.3; platform_system == \"Linux\"\n");
  EXPECT_EQ(install_line(linked, "libcufile.so.0"), "pip install nvidia-cufile-cu12==1.13.1.3");
  EXPECT_EQ(install_line(linked, "libnvrtc.so.12"), "pip install nvidia-cuda-nvrtc-cu12==12.8.93");
}

TEST(PythonPackages, OfAVirtualEnvironment) {
  const TempDir work;
  std::filesystem::create_directories(work / "venv/lib/python3.12/site-packages");
  std::filesystem::create_directories(work / "venv/lib/other/site-packages");
  put_file(work / "usr/bin/python3", "");
  std::filesystem::create_directories(work / "usr/lib/python3/dist-packages");
  EXPECT_EQ(python_packages({work / "venv", work / "usr/bin", ""}),
            Paths{work / "venv/lib/python3.12/site-packages"});
}

TEST(PythonPackages, OfThePython3OnThePath) {
  const TempDir work;
  put_file(work / "usr/bin/python3", "");
  std::filesystem::create_directories(work / "usr/lib/python3/dist-packages");
  std::filesystem::create_directories(work / "usr/local/lib/python3.11/dist-packages");
  std::filesystem::create_directories(work / "home/.local/lib/python3.11/site-packages");
  const std::string path = (work / "none").native() + "::relative:" + (work / "usr/bin").native();
  EXPECT_EQ(python_packages({"", path, work / "home"}),
            (Paths{work / "usr/lib/python3/dist-packages",
                   work / "usr/local/lib/python3.11/dist-packages",
                   work / "home/.local/lib/python3.11/site-packages"}));
  EXPECT_EQ(python_packages({"", "", ""}), Paths());
}

// A virtual environment that is on the PATH and not activated, and a link to a program elsewhere.
TEST(PythonPackages, OfALink) {
  const TempDir work;
  put_file(work / "opt/bin/python3.12", "");
  std::filesystem::create_directories(work / "opt/lib/python3.12/site-packages");
  std::filesystem::create_directories(work / "venv/bin");
  std::filesystem::create_directories(work / "venv/lib/python3.12/site-packages");
  std::filesystem::create_directories(work / "bin");
  std::filesystem::create_symlink(work / "opt/bin/python3.12", work / "venv/bin/python3");
  std::filesystem::create_symlink(work / "opt/bin/python3.12", work / "bin/python3");
  EXPECT_EQ(python_packages({"", work / "venv/bin", ""}),
            Paths{work / "venv/lib/python3.12/site-packages"});
  EXPECT_EQ(python_packages({"", work / "bin", ""}),
            Paths{work / "opt/lib/python3.12/site-packages"});
}

}  // namespace
}  // namespace models
