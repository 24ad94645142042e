#!/usr/bin/env bash
# Configures and builds one preset (CMakePresets.json) into build/PRESET; says nothing unless it fails.
#   scripts/build.sh [PRESET [TARGET...]]      release by default; all targets unless some are named
#   scripts/build.sh static                    build/static/bin/causeway alone: one file that runs on any Linux
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

preset=${1:-release}
targets=("${@:2}")
[ "$preset" != static ] || [ $# -gt 1 ] || targets=(causeway)
dir=build/$preset
# A build folder that came here with a copied or renamed checkout would make cmake refuse.
cache=$dir/CMakeCache.txt
if [ -f "$cache" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$ROOT" "$cache"; then
  rm -rf "$dir"
fi
start=$SECONDS
quietly "build/logs/configure-$preset.log" cmake --preset "$preset"
quietly "build/logs/build-$preset.log" cmake --build "$dir" -j "$JOBS" \
  ${targets[@]+--target "${targets[@]}"}
# Nothing but the kernel is left to ask for; its oldest version stands in a note of the C library's.
if [ "$preset" = static ]; then
  kernel=$(readelf -nW "$dir/bin/causeway" | sed -nE 's/.*OS: Linux, ABI: ([0-9.]+).*/\1/p')
  say "$dir/bin/causeway runs on Linux $kernel or newer"
fi
say "built $dir in $((SECONDS - start)) s"
