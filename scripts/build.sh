#!/usr/bin/env bash
# Configures and builds one preset (CMakePresets.json) into build/PRESET; says nothing unless it fails.
#   scripts/build.sh [PRESET [TARGET...]]      release by default; all targets unless some are named
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

preset=${1:-release}
targets=("${@:2}")
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
say "built $dir in $((SECONDS - start)) s"
