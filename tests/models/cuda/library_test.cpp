// What is said where the library of kernels cannot be used.
#include "models/cuda/library.h"

#include <gtest/gtest.h>

namespace models::cuda {
namespace {

TEST(KernelLibrary, AFileThatIsNotThere) {
  std::string reason;
  EXPECT_FALSE(KernelLibrary::load("/no/such/libcauseway_cuda.so", reason));
  EXPECT_EQ(reason,
            "/no/such/libcauseway_cuda.so: cannot open shared object file: No such file or "
            "directory");
}

TEST(KernelLibrary, ALibraryWithoutTheInterface) {
  std::string reason;
  EXPECT_FALSE(KernelLibrary::load("libc.so.6", reason));
  EXPECT_EQ(reason, "libc.so.6 is of another build");
}

TEST(KernelLibrary, LiesBesideTheProgram) {
  const std::filesystem::path found = KernelLibrary::beside_program();
  EXPECT_TRUE(found.is_absolute());
  EXPECT_EQ(found.filename(), "libcauseway_cuda.so");
}

}  // namespace
}  // namespace models::cuda
