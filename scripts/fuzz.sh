#!/usr/bin/env bash
# Runs each libFuzzer target (tests/fuzz/*_fuzz.cpp, ASan + UBSan) for SECONDS, as many at a time as there are
# cores, and prints how many inputs it had and how many in a second of the processor. An input that breaks a target is
# kept in build/fuzz/findings and belongs, once understood, into a unit test and into tests/fuzz/regressions/TARGET/.
# The corpora grow in build/fuzz/corpus. One that outgrew its share of 1 MB is minimized afterwards: of the inputs that
# together reach what all reach, the smallest stay.
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

scripts/install.sh --tests
if [ $# -gt 0 ]; then
  targets=("$@")
else
  mapfile -t targets < <(cd tests/fuzz && printf '%s\n' *_fuzz.cpp | sed 's/\.cpp$//')
fi
scripts/build.sh "$PRESET" "${targets[@]}"
scripts/packed_data.py
python3 tests/fuzz/make_seeds.py build/fuzz/seeds
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 SECONDS_EACH=$seconds TIMEFORMAT='%U %S'
# The same with few targets as with all.
export CORPUS_BYTES=$((1000000 / $(find tests/fuzz -name '*_fuzz.cpp' | wc -l)))

# limited TARGET FOLDER...: the target with the limits of every run.
limited() {
  local target=$1
  shift
  "build/$PRESET/bin/$target" -max_len=16384 -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=512 "$@"
}

# size_of FOLDER: the bytes of its files.
size_of() { find "$1" -type f -printf '%s\n' | awk '{ bytes += $1 } END { print bytes + 0 }'; }

# minimize TARGET: its corpus, to its share.
minimize() {
  local target=$1 corpus=build/fuzz/corpus/$1 merged=build/fuzz/merged/$1
  [ "$(size_of "$corpus")" -gt "$CORPUS_BYTES" ] || return 0
  rm -rf "$merged"
  mkdir -p "$merged"
  limited "$target" -merge=1 "$merged" "$corpus" >"build/logs/$target-merge.log" 2>&1 </dev/null || return 1
  find "$merged" -type f -printf '%s %p\n' | sort -n |
    awk -v most="$CORPUS_BYTES" '{ bytes += $1 } bytes > most { print $2 }' | xargs -r rm
  rm -rf "$corpus"
  mv "$merged" "$corpus"
}

run_target() {
  local target=$1 log=build/logs/$1.log units
  local folders=("build/fuzz/corpus/$target")
  mkdir -p "${folders[0]}" build/fuzz/findings
  for folder in "build/fuzz/seeds/$target" "tests/fuzz/regressions/$target"; do
    [ ! -d "$folder" ] || folders+=("$folder")
  done
  if ! { time limited "$target" -max_total_time="$SECONDS_EACH" -print_final_stats=1 \
    -artifact_prefix="build/fuzz/findings/$target-" "${folders[@]}" >"$log" 2>&1 </dev/null; } 2>"$log.time"; then
    printf '%-22s FINDING:\n' "$target"
    grep -vE '^#[0-9]+' "$log" | tail -n 60
    return 1
  fi
  if ! minimize "$target"; then
    printf '%-22s its corpus could not be minimized:\n' "$target"
    tail -n 20 "build/logs/$target-merge.log"
    return 1
  fi
  units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  # The time is that of the user and of the system.
  awk -v name="$target" -v units="$units" -v corpus="$(size_of "${folders[0]}")" '{
    printf "%-22s %11d inputs, %6d a CPU second, corpus %6d bytes, no finding\n",
      name, units, units / ($1 + $2 + 0.01), corpus }' "$log.time"
}
export -f run_target limited minimize size_of
say "fuzzing ${#targets[@]} targets, $seconds s each"
# shellcheck disable=SC2016  # expanded by the inner bash
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$JOBS" bash -c 'run_target "$1"' run_target
