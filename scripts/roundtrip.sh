#!/usr/bin/env bash
# Every bundled Hugging Face checkpoint (data/**/hf), as it is and in every other spelling that its table knows
# (tests/oracles/respell.py), through convert-hf, verify and export-to-hf: each file must come back byte for byte.
# A line each: table, dialect, tensors, bytes, what verify compared, what it is. Needs the release build and Python without
# packages; verify compares logits too where causeway-verify was built and its forward pass knows the model, and with
# transformers' own where logits.safetensors lies beside the checkpoint's folder.
#   scripts/roundtrip.sh                           the programs of build/release
#   scripts/roundtrip.sh --preset asan-verify      those of another build
#
# A checkpoint is skipped only where `causeway mappings list` has no table for its architecture, and a table only where
# no checkpoint is of it; a refusal of one that has, and a dialect that nothing is spelled in, is a failure. Ends with
# "N passed, N failed, N skipped".
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

preset=release
case "$#:${1:-}" in
  0:) ;;
  2:--preset) preset=$2 ;;
  *) die "usage: scripts/roundtrip.sh [--preset PRESET]" ;;
esac
causeway=$ROOT/build/$preset/bin/causeway
[ -x "$causeway" ] || scripts/build.sh "$preset" causeway || exit 1
scripts/packed_data.py || die "data/packed could not be unpacked"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

supported=$("$causeway" mappings list | grep '\.jsonc ') || die "causeway mappings list failed"
architecture_of() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1] + "/config.json"))["architectures"][0])' "$1"
}

# round_trip HF_DIR OPTION...: leaves $work/megatron, $work/report.json and $work/log.
round_trip() {
  local hf=$1 recorded=()
  shift
  [ ! -f "${hf%/*}/logits.safetensors" ] || recorded=(--reference-logits "${hf%/*}/logits.safetensors")
  rm -rf "$work/megatron" "$work/back" "$work/report.json" "$work/verify.json"
  "$causeway" convert-hf --quiet --report "$work/report.json" "$hf" "$work/megatron" "$@" &&
    "$causeway" verify --quiet --report "$work/verify.json" "${recorded[@]}" "$hf" "$work/megatron" &&
    "$causeway" export-to-hf --quiet "$work/megatron" "$work/back" "$@" &&
    compare_folders "$hf" "$work/back"
} >"$work/log" 2>&1 </dev/null

# The source promises MTP without having it: refused, and the message names the option.
refused_without_drop() {
  local status=0
  "$causeway" convert-hf --quiet "$1" "$work/none" >"$work/log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 3 ] && grep -q -- '--mtp drop' "$work/log"
}

passed=0 failed=0 skipped=0
declare -A dialects seen
fail() {
  printf 'FAILED   %s\n' "$1"
  sed 's/^/    /' "$work/log"
  failed=$((failed + 1))
}

# pass WHAT: counts of $work/report.json; remembers the dialect.
pass() {
  local table dialect count tensors bytes logits
  read -r table dialect count tensors bytes logits < <(python3 -c '
import json, sys
report, verified = (json.load(open(path)) for path in sys.argv[1:])
logits = verified.get("logits")
print(*(report[key] for key in ("table", "dialect", "dialects", "source_tensors", "source_bytes")),
      "bytes" if logits is None else
      "{compared} tensors equal, {}{}{}".format(
          "logits bit for bit" if logits["forward"]["identical"] else "logits equal",
          " and as recorded" if logits.get("reference") else "",
          ", {} rounded".format(len(logits["tensors"]["rounded"])) if logits["tensors"]["rounded"] else "",
          **logits["tensors"]))' "$work/report.json" "$work/verify.json")
  dialects[$table]=$count
  seen[$table/$dialect]=1
  printf 'ok       %-20s dialect %2d of %2d: %4d tensors, %9d bytes, verify: %s, %s\n' \
    "$table" "$dialect" "$count" "$tensors" "$bytes" "$logits" "$1"
  passed=$((passed + 1))
}

# try WHAT HF_DIR OPTION...
try() {
  local what=$1 hf=$2
  shift 2
  if [ "$*" = "--mtp drop" ] && ! refused_without_drop "$hf"; then
    fail "$what: not refused without $*"
  elif round_trip "$hf" "$@"; then
    pass "$what"
  else
    fail "$what"
  fi
}

respelled() {
  rm -rf "$work/plain" "$work/spellings"
  "$causeway" export-to-hf --quiet --dtype bf16 "$work/megatron" "$work/plain" &&
    python3 tests/oracles/respell.py "$1" "$work/plain" "$work/spellings" >"$work/list"
} >"$work/log" 2>&1 </dev/null

while IFS= read -r -d '' hf; do
  if ! architecture=$(architecture_of "$hf"); then
    printf 'FAILED   %s: no architecture in config.json\n' "$hf"
    failed=$((failed + 1))
    continue
  elif ! grep -qwF -- "$architecture" <<<"$supported"; then
    printf 'skipped  %s: no mapping table for %s\n' "$hf" "$architecture"
    skipped=$((skipped + 1))
    continue
  fi
  try "$hf" "$hf"
  if ! respelled "$hf"; then
    fail "$hf: cannot be spelled otherwise"
    continue
  fi
  while IFS=$'\t' read -r folder what options; do
    # shellcheck disable=SC2086  # options are words
    try "$hf: $what" "$folder" $options
    rm -rf "$folder"
  done <"$work/list"
done < <(find data -type d -name hf -print0 | sort -z)

: >"$work/log"
while read -r table _; do
  if [ -z "${dialects[$table]:-}" ]; then
    printf 'skipped  %s: no checkpoint of it\n' "$table"
    skipped=$((skipped + 1))
    continue
  fi
  for ((dialect = 1; dialect <= dialects[$table]; dialect++)); do
    [ -n "${seen[$table/$dialect]:-}" ] || fail "$table: nothing is spelled in dialect $dialect"
  done
done <<<"$supported"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
