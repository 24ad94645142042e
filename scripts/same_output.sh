#!/usr/bin/env bash
# Whether two builds give the same bytes: every bundled checkpoint is converted, verified, exported and inspected with
# both, and every output file, report and exit status is compared. For changes that must not change any output.
#   scripts/same_output.sh OLD_BIN_FOLDER [NEW_BIN_FOLDER]     each holds causeway and causeway-verify
# A line for each checkpoint; differences of reports and texts are printed. Times and memory in reports are left out.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 1 ] || die "usage: scripts/same_output.sh OLD_BIN_FOLDER [NEW_BIN_FOLDER]"
old=$(realpath "$1")
new=$(realpath "${2:-build/release/bin}")
scripts/packed_data.py || die "data/packed could not be unpacked"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# log NAME COMMAND...: its output and exit status into logs/NAME.
log() {
  local name=$1 status=0
  shift
  "$@" >"logs/$name" 2>&1 </dev/null || status=$?
  printf 'exit status %d\n' "$status" >>"logs/$name"
}

# run BIN SOURCE KIND: all commands in the current folder, so that messages name the same paths.
run() {
  local causeway=$1/causeway
  mkdir logs reports
  ln -s "$(realpath "$2")" source
  if [ "$3" = hf ]; then
    log convert "$causeway" convert-hf --progress never --report reports/convert.json source megatron
    log verify "$causeway" verify --progress never --report reports/verify.json source megatron
    log export "$causeway" export-to-hf --progress never --report reports/export.json megatron back
    log drop "$causeway" convert-hf --progress never --mtp drop --spec local --layer-keys per-layer source dropped
    log cast "$causeway" convert-hf --progress never --dtype fp32 --vocab-rows 1024 source wide
    log inspect "$causeway" inspect megatron --all
  else
    log export "$causeway" export-to-hf --progress never --reference "$REFERENCE" source back
    log verify "$causeway" verify --progress never "$REFERENCE" source
    log inspect "$causeway" inspect source --all
  fi
  rm source
}

strip_times() {
  find "$1" -name '*.json' -path '*/reports/*' -exec \
    sed -i -E 's/"(seconds|peak_rss_bytes|peak_device_bytes)": *[0-9.e+-]+/"\1": 0/' {} +
  find "$1" -path '*/logs/*' -type f -exec sed -i -E '/^(done|time) /d; s/[0-9.]+ s\b/T s/g; s/peak [0-9.]+[KMG]iB/peak M/g' {} +
}

failed=0 passed=0
# compare NAME SOURCE KIND
compare() {
  rm -rf "$work/old" "$work/new"
  mkdir "$work/old" "$work/new"
  (cd "$work/old" && run "$old" "$2" "$3")
  (cd "$work/new" && run "$new" "$2" "$3")
  strip_times "$work/old"
  strip_times "$work/new"
  if diff -r "$work/old" "$work/new" >"$work/diff"; then
    printf 'same       %s\n' "$1"
    passed=$((passed + 1))
  else
    printf 'DIFFERENT  %s\n' "$1"
    sed 's/^/    /' "$work/diff" | head -n 60
    failed=$((failed + 1))
  fi
}

while IFS= read -r hf; do
  compare "$hf" "$ROOT/$hf" hf
done < <(find data -type d -name hf | sort)
while IFS= read -r megatron; do
  REFERENCE=$ROOT/${megatron%/megatron}/hf
  [ -d "$REFERENCE" ] || continue
  compare "$megatron" "$ROOT/$megatron" megatron
done < <(find data -type d -name megatron | sort)
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
