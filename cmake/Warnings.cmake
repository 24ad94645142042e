# The warnings, the floating-point rule and the sanitizers every target of ours is compiled with. Third parties are SYSTEM and stay quiet.
add_library(causeway_options INTERFACE)
target_compile_options(causeway_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor $<$<NOT:$<CONFIG:Debug>>:-Werror>)
# To clang, -Wconversion also means int64_t <-> size_t at every border with std; to g++ it does not.
target_compile_options(causeway_options INTERFACE $<$<CXX_COMPILER_ID:Clang>:-Wno-sign-conversion>)
# g++ 12 sees overlaps and reads past the end in std::string's operator+ where there are none (GCC bugs 105651, 105329).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(causeway_options INTERFACE -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow)
endif()
# A product and a sum that are rounded as one (g++'s default where the processor can, as on aarch64) would give other bits
# than another machine's.
target_compile_options(causeway_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
target_include_directories(causeway_options INTERFACE ${PROJECT_SOURCE_DIR})
if(CAUSEWAY_SANITIZE)
  # A finding must end the process, or a test would pass with it.
  set(sanitize -fsanitize=${CAUSEWAY_SANITIZE} -fno-sanitize-recover=all)
  target_compile_options(causeway_options INTERFACE ${sanitize} -fno-omit-frame-pointer)
  target_compile_definitions(causeway_options INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(causeway_options INTERFACE ${sanitize})
endif()
if(CAUSEWAY_FUZZ)
  target_compile_options(causeway_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
