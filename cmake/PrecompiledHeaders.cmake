# Headers that most files include, parsed once for all targets of a kind: without them half of a build's time is spent
# on nlohmann, ATen and GoogleTest. No file may rely on them: the preset `plain` compiles without (scripts/test.sh --all).
#
#   target_precompile_headers(TARGET PRIVATE ${STANDARD_HEADERS} ...)   a set of its own
#   target_precompile_headers(TARGET REUSE_FROM OTHER)                  the same set
#
# A set that was compiled with other flags is not used: g++ warns (-Winvalid-pch, which is an error in a release build),
# clang++ refuses. -O1 and -O2 fit each other; -O0 fits itself alone.
option(CAUSEWAY_PCH "Precompile the headers that most files include" ON)
if(NOT CAUSEWAY_PCH)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()

# ccache hits with precompiled headers if it takes one for what it was made of (sloppiness), not for the macros and times
# around it. What g++ makes also fits other checkouts, where paths inside it are read as relative ones and the include is
# kept in the preprocessed text (-fpch-preprocess). clang++ writes absolute paths, and a time stamp unless told not to.
if(CCACHE)
  set(settings CCACHE_SLOPPINESS=pch_defines,time_macros)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND settings CCACHE_BASEDIR=${PROJECT_SOURCE_DIR})
    add_compile_options(-fpch-preprocess)
  elseif(CAUSEWAY_PCH)
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  endif()
  set(CMAKE_CXX_COMPILER_LAUNCHER env ${settings} ${CCACHE})
endif()

set(STANDARD_HEADERS
  <algorithm> <array> <cstdint> <filesystem> <functional> <map> <memory> <optional> <span> <string> <string_view>
  <unordered_map> <utility> <vector> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)

# compile_quickly(TARGET): for code that runs once a command or once a tensor, not once a byte. What -O2 adds to -O1
# costs a fifth of the time to compile and gains nothing there.
function(compile_quickly target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()
