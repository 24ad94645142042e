#!/usr/bin/env bash
# Runs each libFuzzer target (tests/fuzz/*_fuzz.cpp, ASan + UBSan) for SECONDS, as many at a time as there are
# cores. The corpus grows in build/fuzz/corpus; an input that breaks a target is kept in build/fuzz/findings
# and belongs, once understood, into a unit test and into tests/fuzz/regressions/TARGET/.
#   scripts/fuzz.sh SECONDS [TARGET...]                    in build/fuzz
#   scripts/fuzz.sh --preset asan SECONDS [TARGET...]      in the build of the sanitized unit tests, slower (test.sh)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export PRESET=fuzz
if [ "${1:-}" = --preset ] && [ $# -gt 1 ]; then
  PRESET=$2
  shift 2
fi
[[ ${1:-} =~ ^[0-9]+$ ]] || die "usage: scripts/fuzz.sh [--preset PRESET] SECONDS [TARGET...]"
seconds=$1
shift

scripts/install.sh
if [ $# -gt 0 ]; then
  targets=("$@")
else
  mapfile -t targets < <(cd tests/fuzz && printf '%s\n' *_fuzz.cpp | sed 's/\.cpp$//')
fi
scripts/build.sh "$PRESET" "${targets[@]}"
scripts/packed_data.py
python3 tests/fuzz/make_seeds.py build/fuzz/seeds
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 SECONDS_EACH=$seconds

run_target() {
  local target=$1 log=build/logs/$1.log
  local folders=("build/fuzz/corpus/$target")
  mkdir -p "${folders[0]}" build/fuzz/findings
  for folder in "build/fuzz/seeds/$target" "tests/fuzz/regressions/$target"; do
    [ ! -d "$folder" ] || folders+=("$folder")
  done
  if "build/$PRESET/bin/$target" -max_total_time="$SECONDS_EACH" -max_len=65536 -timeout=5 -rss_limit_mb=1024 \
    -malloc_limit_mb=512 -print_final_stats=1 -artifact_prefix="build/fuzz/findings/$target-" \
    "${folders[@]}" >"$log" 2>&1 </dev/null; then
    printf '%-22s %12s inputs, no finding\n' "$target" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  else
    printf '%-22s FINDING:\n' "$target"
    grep -vE '^#[0-9]+' "$log" | tail -n 60
    return 1
  fi
}
export -f run_target
say "fuzzing ${#targets[@]} targets, $seconds s each"
# shellcheck disable=SC2016  # expanded by the inner bash
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$JOBS" bash -c 'run_target "$1"' run_target
