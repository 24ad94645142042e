#!/usr/bin/env bash
# Every bundled Hugging Face checkpoint (data/**/hf) through convert-hf, verify and export-to-hf: each file
# must come back byte for byte. Needs the release build.
#
# A checkpoint is skipped only where `causeway mappings list` has no table for its architecture; a refusal of one
# that has is a failure. Ends with "N passed, N failed, N skipped".
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

causeway=$ROOT/build/release/bin/causeway
[ -x "$causeway" ] || scripts/build.sh release causeway || exit 1
scripts/packed_data.py || die "data/packed could not be unpacked"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

supported=$("$causeway" mappings list) || die "causeway mappings list failed"
architecture_of() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1] + "/config.json"))["architectures"][0])' "$1"
}

round_trip() {
  rm -rf "$work/megatron" "$work/back"
  "$causeway" convert-hf --quiet "$1" "$work/megatron" &&
    "$causeway" verify --quiet "$1" "$work/megatron" &&
    "$causeway" export-to-hf --quiet "$work/megatron" "$work/back" &&
    compare_folders "$1" "$work/back"
}

passed=0 failed=0 skipped=0
while IFS= read -r -d '' hf; do
  if ! architecture=$(architecture_of "$hf"); then
    printf 'FAILED   %s: no architecture in config.json\n' "$hf"
    failed=$((failed + 1))
  elif ! grep -qwF -- "$architecture" <<<"$supported"; then
    printf 'skipped  %s: no mapping table for %s\n' "$hf" "$architecture"
    skipped=$((skipped + 1))
  elif round_trip "$hf" >"$work/log" 2>&1 </dev/null; then
    printf 'ok       %s: %s\n' "$hf" "$(tail -n 1 "$work/log")"
    passed=$((passed + 1))
  else
    printf 'FAILED   %s\n' "$hf"
    sed 's/^/    /' "$work/log"
    failed=$((failed + 1))
  fi
done < <(find data -type d -name hf -print0 | sort -z)

if [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
  printf 'FAILED   no bundled checkpoint went round\n'
  failed=1
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
