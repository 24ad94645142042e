#!/usr/bin/env bash
# The product in one minute, on a small bundled checkpoint: Hugging Face -> Megatron -> verify -> Hugging Face,
# and every file comes back byte for byte.
#   scripts/demo.sh [HF_DIR]      another checkpoint (it is only read)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

hf=${1:-data/deepseek_v3_fp8/hf}
[ -d "$hf" ] || die "$hf: no such folder"
scripts/install.sh
scripts/build.sh release causeway

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$ROOT/build/release/bin/causeway" "$work/causeway"
ln -s "$(realpath "$hf")" "$work/source"
PATH=$work:$PATH
cd "$work"

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}
printf '\n(source is %s)\n' "$hf"
run causeway inspect source
run causeway convert-hf source megatron
run causeway inspect megatron
run causeway verify source megatron
run causeway export-to-hf megatron back

printf '\nsha256 of every file, source and back:\n'
compare_folders source back || die "the round trip changed the checkpoint"
