#!/usr/bin/env bash
# LibTorch for causeway-verify, on the CPU: the torch wheel of tests/requirements.txt, without what it depends on but the two
# small CUDA libraries that libtorch_cpu.so itself asks for. A quarter of the environment that scripts/venv.sh makes, and the
# build (cmake/FindLibTorch.cmake) finds it as well.
#
#   1. nothing to do where the environment of the tests is there (.venv, CAUSEWAY_VENV)
#   2. pip unpacks the wheels into .deps/libtorch
#   3. a stamp with the versions is written last, so an interrupted run starts over
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for torch in "${CAUSEWAY_VENV:-$ROOT/.venv}"/lib/python3*/site-packages/torch/lib/libtorch_cpu.so; do
  [ ! -e "$torch" ] || exit 0
done

torch=$(sed -n 's/^torch==/torch==/p' tests/requirements.txt)
[ -n "$torch" ] || die "tests/requirements.txt pins no torch"
# As that wheel's metadata asks for them.
packages=("$torch" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
target=$ROOT/.deps/libtorch
stamp=$target/causeway-stamp
is_ready() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "${packages[*]}" ]; }

is_ready && exit 0
mkdir -p build/logs .deps
exec 9>build/logs/libtorch.lock
flock 9
is_ready && exit 0 # another run made it meanwhile

say "LibTorch ($torch; 0.6 GB to download, once)"
rm -rf "$target"
get() {
  quietly build/logs/libtorch.log python3 -m pip install --quiet --disable-pip-version-check --no-input \
    --no-compile --no-deps --retries 5 --only-binary :all: --target "$target" "${packages[@]}"
}
retry 3 get || die "pip could not get ${packages[*]}"
[ -f "$target/torch/lib/libtorch_cpu.so" ] || die "$torch has no libtorch_cpu.so"
printf '%s\n' "${packages[*]}" >"$stamp"
