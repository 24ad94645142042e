# The warnings and sanitizers every target of ours is compiled with. Third parties are SYSTEM and stay quiet.
add_library(causeway_options INTERFACE)
target_compile_options(causeway_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor $<$<NOT:$<CONFIG:Debug>>:-Werror>)
target_include_directories(causeway_options INTERFACE ${PROJECT_SOURCE_DIR})
if(CAUSEWAY_SANITIZE)
  target_compile_options(causeway_options INTERFACE -fsanitize=${CAUSEWAY_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(causeway_options INTERFACE -fsanitize=${CAUSEWAY_SANITIZE})
endif()
