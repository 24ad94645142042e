# Toolchain: Debian's cross compiler, and the libraries that scripts/aarch64_libraries.sh unpacks. What is built is linked
# statically (preset aarch64), so that qemu-user runs it without a foreign system around it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)

get_filename_component(libraries ${CMAKE_CURRENT_LIST_DIR}/../.deps/aarch64 ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH ${libraries})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# The compiler brings its C library's headers itself; these are third parties' alone.
set(CMAKE_CXX_FLAGS_INIT
  "-isystem ${libraries}/usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -isystem ${libraries}/usr/include")
