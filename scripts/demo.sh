#!/usr/bin/env bash
# The product in one minute (the first time, after LibTorch is there and built with), on small bundled checkpoints (DeepSeek-V3 in FP8, DeepSeek-V4 in FP8 and FP4, GLM-4.5, Qwen3.6-MoE with its vision
# tower, all with MTP):
# Hugging Face -> Megatron -> verify -> Hugging Face, and every file comes back byte for byte.
#   scripts/demo.sh [HF_DIR...]   other checkpoints (they are only read)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -gt 0 ] || set -- data/deepseek_v3_fp8/hf data/deepseek_v4_fp8fp4/hf data/glm4_moe/hf data/qwen3_6_moe/hf
for hf in "$@"; do
  [ -d "$hf" ] || die "$hf: no such folder"
done
scripts/install.sh
programs=(causeway causeway-verify)
scripts/libtorch.sh || programs=(causeway) # then verify compares bytes, and says so
scripts/build.sh release "${programs[@]}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$ROOT/build/release/bin/causeway" "$work/causeway"
PATH=$work:$PATH

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

demonstrate() {
  mkdir "$work/$2"
  ln -s "$(realpath "$1")" "$work/$2/source"
  printf '\n(source is %s)\n' "$1"
  cd "$work/$2"
  run causeway inspect source
  run causeway convert-hf source megatron
  run causeway inspect megatron
  run causeway verify source megatron
  run causeway export-to-hf megatron back
  printf '\nsha256 of every file, source and back:\n'
  compare_folders source back || die "the round trip changed the checkpoint"
  cd "$ROOT"
}

number=0
for hf in "$@"; do
  number=$((number + 1))
  demonstrate "$hf" "$number"
done
