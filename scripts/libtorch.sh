#!/usr/bin/env bash
# LibTorch for causeway-verify: the torch wheel of tests/requirements.txt. The build (cmake/FindLibTorch.cmake) finds it as
# well as the environment that scripts/venv.sh makes.
#   scripts/libtorch.sh          for the CPU: without what the wheel depends on but the two small CUDA libraries that
#                                libtorch_cpu.so itself asks for, a quarter of that environment
#   scripts/libtorch.sh --cuda   with all of it, for a machine whose Python has no CUDA libraries (4 GB)
#
#   1. nothing to do where the environment of the tests is there (.venv, CAUSEWAY_VENV)
#   2. pip unpacks the wheels into .deps/libtorch
#   3. a stamp with the versions is written last, so an interrupted run starts over
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cuda=
case "$*" in
  "") ;;
  --cuda) cuda=yes ;;
  *) die "usage: scripts/libtorch.sh [--cuda]" ;;
esac

for torch in "${CAUSEWAY_VENV:-$ROOT/.venv}"/lib/python3*/site-packages/torch/lib/libtorch_cpu.so; do
  [ ! -e "$torch" ] || exit 0
done

torch=$(sed -n 's/^torch==/torch==/p' tests/requirements.txt)
[ -n "$torch" ] || die "tests/requirements.txt pins no torch"
# As that wheel's metadata asks for them.
packages=("$torch" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
cuda_stamp="$torch and what it depends on"
target=$ROOT/.deps/libtorch
stamp=$target/causeway-stamp
is_ready() {
  local made
  made=$(cat "$stamp" 2>/dev/null) || return 1
  [ "$made" = "$cuda_stamp" ] || { [ -z "$cuda" ] && [ "$made" = "${packages[*]}" ]; }
}

is_ready && exit 0
mkdir -p build/logs .deps
exec 9>build/logs/libtorch.lock
flock 9
is_ready && exit 0 # another run made it meanwhile

if [ -n "$cuda" ]; then
  say "LibTorch with CUDA ($torch; 2.5 GB to download, once)"
  what=("$torch")
  made=$cuda_stamp
else
  say "LibTorch ($torch; 0.6 GB to download, once)"
  what=(--no-deps "${packages[@]}")
  made="${packages[*]}"
fi
rm -rf "$target"
get() {
  quietly build/logs/libtorch.log python3 -m pip install --quiet --disable-pip-version-check --no-input \
    --no-compile --retries 5 --only-binary :all: --target "$target" "${what[@]}"
}
retry 3 get || die "pip could not get ${what[*]}"
[ -f "$target/torch/lib/libtorch_cpu.so" ] || die "$torch has no libtorch_cpu.so"
printf '%s\n' "$made" >"$stamp"
