# Headers that most files include, parsed once for all targets of a kind: without them half of a build's time is spent
# on nlohmann, ATen and GoogleTest. No file may rely on them: -DCAUSEWAY_PCH=OFF builds without (scripts/test.sh --all).
#
#   precompile_headers(TARGET HEADER...)     a set of its own
#   target_precompile_headers(TARGET REUSE_FROM OTHER)   the same set, where flags are equal
#
# ccache needs to be told that a precompiled header is as good as its text (pch_defines, time_macros), and g++ to keep
# the include in the preprocessed text (-fpch-preprocess).
option(CAUSEWAY_PCH "Precompile the headers that most files include" ON)
if(NOT CAUSEWAY_PCH)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
elseif(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)
  endif()
endif()

set(STANDARD_HEADERS
  <algorithm> <array> <cstdint> <filesystem> <functional> <map> <memory> <optional> <span> <string> <string_view>
  <unordered_map> <utility> <vector> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)
