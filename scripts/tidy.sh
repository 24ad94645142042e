#!/usr/bin/env bash
# clang-tidy (.clang-tidy, every finding is an error) over bridge, mappings and cli, and shellcheck over the
# scripts. Takes minutes; part of test.sh --all.
#   scripts/tidy.sh [FILE.cpp...]      only these
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh --dev
shellcheck scripts/*.sh .ci/run
cmake --preset tidy >/dev/null # writes the compile commands; nothing needs to be built
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(find bridge mappings cli -name '*.cpp' | sort)
fi
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$JOBS" clang-tidy-14 --quiet -p build/tidy 2> >(grep -v 'warnings generated' >&2)
