# LibTorch for models/, out of a torch wheel: target LibTorch::LibTorch (torch_cpu and c10), LibTorch_FOUND, LibTorch_VERSION.
#
#   1. The folder of the torch package: -DLibTorch_ROOT, else the one in the Python environment of the tests
#      (CAUSEWAY_VENV, .venv), else that of scripts/libtorch.sh (.deps), else the one found last time, else the one of python3 on the PATH. Nothing of Python runs
#      when building or at run time.
#   2. Only ATen, c10, caffe2 and torch are put on the include path, through links: beside them the wheel has headers
#      of other libraries (fmt, google, pybind11), which would shadow the system's.
#   3. Only torch_cpu and c10 are linked. The package's own find_package(Torch) asks for nvcc and links every CUDA
#      library; those are loaded at run time when a GPU is wanted.
set(LibTorch_FOUND FALSE)
set(candidates "")
if(DEFINED LibTorch_ROOT)
  set(candidates ${LibTorch_ROOT})
else()
  set(venv ${PROJECT_SOURCE_DIR}/.venv)
  if(DEFINED ENV{CAUSEWAY_VENV})
    set(venv $ENV{CAUSEWAY_VENV})
  endif()
  file(GLOB candidates ${venv}/lib/python3*/site-packages/torch ${PROJECT_SOURCE_DIR}/.deps/libtorch/torch)
  if(NOT candidates AND LibTorch_FOUND_ROOT)
    set(candidates ${LibTorch_FOUND_ROOT}) # a build that configures itself again does not know CAUSEWAY_VENV
  elseif(NOT candidates)
    execute_process(
      COMMAND python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE candidates OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()

set(reason "no torch package (scripts/libtorch.sh gets one; or -DLibTorch_ROOT=.../site-packages/torch)")
foreach(root ${candidates})
  if(NOT EXISTS ${root}/lib/libtorch_cpu.so OR NOT EXISTS ${root}/include/ATen/ATen.h)
    set(reason "${root} has no lib/libtorch_cpu.so or no headers")
    continue()
  endif()
  file(STRINGS ${root}/version.py version REGEX "^__version__ *= *'[0-9.]+")
  string(REGEX REPLACE "^[^']*'([0-9.]+).*" "\\1" LibTorch_VERSION "${version}")
  if(LibTorch_VERSION VERSION_LESS 2.8) # the first with every type of a quantized checkpoint
    set(reason "${root} is torch ${LibTorch_VERSION}, 2.8 or newer is needed")
    continue()
  endif()
  set(include ${PROJECT_BINARY_DIR}/torch-include)
  file(MAKE_DIRECTORY ${include})
  foreach(folder ATen c10 caffe2 torch)
    file(CREATE_LINK ${root}/include/${folder} ${include}/${folder} SYMBOLIC)
  endforeach()
  if(NOT TARGET LibTorch::LibTorch)
    add_library(LibTorch::c10 SHARED IMPORTED)
    set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${root}/lib/libc10.so)
    add_library(LibTorch::LibTorch SHARED IMPORTED)
    set_target_properties(LibTorch::LibTorch PROPERTIES
      IMPORTED_LOCATION ${root}/lib/libtorch_cpu.so
      INTERFACE_INCLUDE_DIRECTORIES ${include}
      INTERFACE_COMPILE_DEFINITIONS AT_PER_OPERATOR_HEADERS # ATen's own headers then include no operator but theirs
      INTERFACE_LINK_LIBRARIES LibTorch::c10)
  endif()
  set(LibTorch_FOUND TRUE)
  set(LibTorch_FOUND_ROOT ${root} CACHE INTERNAL "The torch package that LibTorch was found in")
  break()
endforeach()

if(LibTorch_FOUND)
  message(STATUS "LibTorch: ${LibTorch_VERSION}")
elseif(DEFINED LibTorch_ROOT OR LibTorch_FIND_REQUIRED)
  message(FATAL_ERROR "LibTorch: ${reason}")
else()
  message(STATUS "LibTorch: ${reason}")
endif()
