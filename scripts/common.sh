# shellcheck shell=bash disable=SC2034  # variables used by the sourcing script
# Sourced by every script here: the repository root, quiet steps, and the counts of a run.
#
# A run is a list of suites. Each adds one row (name, passed, failed, skipped, seconds); finish_suites prints
# the table, then the closing line "N passed, N failed, N skipped", and returns 1 unless all is well.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit 1
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1
JOBS=${CAUSEWAY_JOBS:-$(nproc)}
# Threads of LibTorch that wait sleep: tests run beside each other, and one that spins takes the core of another.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

say() { printf '== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: the output goes to LOG and is shown only when the command fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    printf '%s: failed: %s\n' "${0##*/}" "$*" >&2
    tail -n 200 "$log" >&2
    return 1
  fi
}

# retry N COMMAND...: for what depends on a network.
retry() {
  local left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 3
  done
}

# compare_folders A B: one line per file; false unless both hold the same files with the same bytes.
compare_folders() {
  local a b name status=0 count=0
  a=$(cd "$1/" && find -L . -type f -printf '%P\n' | sort)
  b=$(cd "$2/" && find -L . -type f -printf '%P\n' | sort)
  while IFS= read -r name; do
    [ -n "$name" ] || continue
    count=$((count + 1))
    if [ ! -f "$1/$name" ] || [ ! -f "$2/$name" ]; then
      printf '  %-44s only in %s\n' "$name" "$([ -f "$1/$name" ] && echo "$1" || echo "$2")"
      status=1
    elif cmp -s "$1/$name" "$2/$name"; then
      printf '  %-44s %.16s... equal\n' "$name" "$(sha256sum <"$1/$name")"
    else
      printf '  %-44s %.16s... / %.16s... DIFFERENT\n' "$name" "$(sha256sum <"$1/$name")" \
        "$(sha256sum <"$2/$name")"
      status=1
    fi
  done < <(printf '%s\n%s\n' "$a" "$b" | sort -u)
  if [ "$count" -eq 0 ]; then
    printf '  no files\n'
    status=1
  fi
  [ "$status" -ne 0 ] || printf 'every file is byte-identical (%d files)\n' "$count"
  return "$status"
}

SUITE_ROWS=()
TOTAL_PASSED=0 TOTAL_FAILED=0 TOTAL_SKIPPED=0
ALL_WELL=1

# add_suite NAME PASSED FAILED SKIPPED SECONDS
add_suite() {
  SUITE_ROWS+=("$(printf '%-28s %7d %7d %7d %8d s' "$1" "$2" "$3" "$4" "$5")")
  TOTAL_PASSED=$((TOTAL_PASSED + $2))
  TOTAL_FAILED=$((TOTAL_FAILED + $3))
  TOTAL_SKIPPED=$((TOTAL_SKIPPED + $4))
  [ "$3" -eq 0 ] || ALL_WELL=0
}

# check_suite NAME COMMAND...: one check, passed or failed by its exit status.
check_suite() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  if "$@" </dev/null; then
    add_suite "$name" 1 0 0 $((SECONDS - start))
  else
    printf 'FAILED: %s\n' "$name"
    add_suite "$name" 0 1 0 $((SECONDS - start))
  fi
}

# counts_suite NAME COMMAND...: a command that ends with a closing line of its own. Its exit status must
# agree with that line; without the line the suite counts as one failure.
counts_suite() {
  local name=$1 start=$SECONDS status=0 log counts
  shift
  log=$(mktemp)
  "$@" </dev/null 2>&1 | tee "$log" || status=1
  counts=$(tail -n 1 "$log" |
    sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p')
  rm -f "$log"
  local passed failed skipped
  read -r passed failed skipped <<<"${counts:-0 1 0}"
  add_suite "$name" "$passed" "$failed" "$skipped" $((SECONDS - start))
  [ "$status" -eq 0 ] || ALL_WELL=0
}

# junit_suite NAME FILE COMMAND...: a test runner that writes JUnit XML to FILE. The counts and the slowest tests are
# those of the file; a runner that fails without a failed case in it, or writes no file, counts as one failure.
junit_suite() {
  local name=$1 file=$2 start=$SECONDS status=0 counts
  shift 2
  say "$name"
  mkdir -p "$(dirname "$file")"
  rm -f "$file"
  "$@" </dev/null || status=$?
  printf 'the slowest tests:\n'
  python3 "$ROOT/scripts/junit_slowest.py" "$file"
  local passed=0 failed=0 skipped=0
  if counts=$(python3 "$ROOT/scripts/junit_counts.py" "$file"); then
    read -r passed failed skipped <<<"$counts"
  else
    failed=1
  fi
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    printf 'FAILED: %s: the runner ended with status %d\n' "$name" "$status"
    failed=1
  fi
  add_suite "$name" "$passed" "$failed" "$skipped" $((SECONDS - start))
  LAST_SKIPPED=$skipped
}

finish_suites() {
  printf '\n%-28s %7s %7s %7s %10s\n' suite passed failed skipped time
  printf '%s\n' "${SUITE_ROWS[@]}"
  printf '%-28s %7s %7s %7s %8d s\n\n' total "$TOTAL_PASSED" "$TOTAL_FAILED" "$TOTAL_SKIPPED" "$SECONDS"
  printf '%d passed, %d failed, %d skipped\n' "$TOTAL_PASSED" "$TOTAL_FAILED" "$TOTAL_SKIPPED"
  [ "$ALL_WELL" -eq 1 ]
}
