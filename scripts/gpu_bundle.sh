#!/usr/bin/env bash
# What scripts/gpu_check.sh needs on a machine with a GPU and without network, apt or pip, as one tar of at most 40 MB.
#
#   usr/     headers, static libraries and CMake files of the C++ libraries, as Debian's packages installed them here
#   cases/   small checkpoints of every architecture with the logits that transformers computes (tests/gpu/record_cases.py)
#
# The compiler, cmake, python3, torch and nvcc are that machine's own. Its processor must be of this one's kind, and its C
# library no older.
#   scripts/gpu_bundle.sh OUT.tar
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 1 ] || die "usage: scripts/gpu_bundle.sh OUT.tar"
packages=(
  nlohmann-json3-dev libcli11-dev libfmt-dev libdeflate-dev zlib1g-dev libssl-dev libyaml-cpp-dev
  libpcre2-dev
  libfmt9 # libfmt-dev has no archive
)
largest=40000000

scripts/install.sh
command -v dpkg >/dev/null || die "needs dpkg"
scripts/venv.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without links to shared libraries, but for fmt's, the archives beside them are found.
files=()
while IFS= read -r file; do
  if [ -f "$file" ] && { [ ! -L "$file" ] || [[ $file == */libfmt.so* ]]; }; then
    files+=("${file#/}")
  fi
done < <(dpkg -L "${packages[@]}" | grep -E '^/usr/(include|lib|share/cmake)/' | sort -u)
tar -C / -cf - "${files[@]}" | tar -C "$work" -xf -

say "recording logits (a few minutes)"
quietly build/logs/gpu-cases.log "${CAUSEWAY_VENV:-.venv}/bin/python" tests/gpu/record_cases.py "$work/cases"
tar -C "$work" -cf "$work/bundle.tar" usr cases
size=$(stat -c %s "$work/bundle.tar")
[ "$size" -le "$largest" ] || die "the bundle has $size bytes, $largest are allowed"
mv "$work/bundle.tar" "$1"
say "$1: $size bytes"
