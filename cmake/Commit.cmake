# Writes a C++ file with the commit that is built, and touches it only when that changed, so that a build without changes
# compiles nothing. Run as a script by every build: cmake -D SOURCE=... -D OUT=... -P Commit.cmake
# "unknown" where SOURCE is no checkout of its own (a release archive, also one unpacked inside another checkout).
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-toplevel
  OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
set(commit unknown)
file(REAL_PATH ${SOURCE} real)
if(status STREQUAL "0" AND top STREQUAL real)
  # --exclude: the hash, whatever tags there are.
  execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=7 --exclude=*
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(status STREQUAL "0")
    set(commit ${described})
  endif()
endif()
file(CONFIGURE OUTPUT ${OUT} @ONLY CONTENT [[
#include "cli/version.h"

namespace cli {
const char* const kCommit = "@commit@";
}
]])
