#!/usr/bin/env bash
# Everything that needs a GPU, in one command and at most 8 minutes, on a machine that has python3 with torch, g++, cmake,
# ninja and, for our own kernels, nvcc. It needs no network, apt or pip.
#   scripts/gpu_check.sh [BUNDLE.tar]     the other libraries and the recorded logits, from scripts/gpu_bundle.sh
#
#   1. a build of its own in build/gpu, against that torch
#   2. every architecture, both views, on the GPU and on the CPU against recorded logits (tests/gpu/check_cases.py)
#   3. the tests marked `gpu` in tests/interop, where what they import is there
#   4. compute-sanitizer on a quantized checkpoint, where it works
#   5. figures on checkpoints of 2 to 3 GB, into build/results/gpu.json (tests/gpu/figures.py)
#
# What cannot run is skipped with a line that says why. On a machine without a GPU everything is skipped and the
# exit status is 0; a GPU that is there but cannot be used is a failure. Ends with "N passed, N failed, N skipped".
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -le 1 ] || die "usage: scripts/gpu_check.sh [BUNDLE.tar]"
limit=480
build=$ROOT/build/gpu
results=$ROOT/build/results
figures=$results/gpu.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
  printf 'skipped: %s: %s\n' "$1" "$2"
  add_suite "$1" 0 0 1 0
}

# limited SECONDS COMMAND...: no longer than that, nor than all of this may take.
limited() {
  local seconds=$1 left=$((limit - SECONDS))
  shift
  timeout --kill-after=5 "$((seconds < left ? seconds : left > 1 ? left : 1))" "$@"
}

has_gpu() {
  python3 -c '
import ctypes, sys
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
sys.exit(driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1)' 2>/dev/null
}

imports() { "$1" -c "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) is None for n in sys.argv[1:]))" "${@:2}"; }

# The bundle's libraries come before the system's. Warnings are for the compiler of scripts/test.sh; lld may not be here.
configure() {
  local deps=$work/bundle/usr flags=-w options=()
  if [ -d "$deps" ]; then
    flags+=" -isystem $deps/include/$(uname -m)-linux-gnu -isystem $deps/include"
    options=(-DCMAKE_PREFIX_PATH="$deps" -DOPENSSL_USE_STATIC_LIBS=ON)
  fi
  limited 60 cmake --preset release -B "$build" -DCAUSEWAY_TESTS=OFF -DCMAKE_EXE_LINKER_FLAGS= -DCMAKE_CXX_FLAGS="$flags" \
    "${options[@]}"
}

compile() {
  local targets=(causeway causeway-verify)
  if cmake --build "$build" --target help | grep -q '^causeway_cuda:'; then
    targets+=(causeway_cuda) # our kernels, where nvcc is
  fi
  limited 300 cmake --build "$build" -j "$JOBS" --target "${targets[@]}"
}

build_all() {
  rm -rf "$build" # the bundle may lie elsewhere than last time
  quietly build/logs/gpu-configure.log configure && quietly build/logs/gpu-build.log compile
}

# Fails where there is a GPU that cannot be used: libraries or the driver are then the matter.
uses_gpu() {
  local hf=data/glm4_moe/hf
  limited 60 "$build/bin/causeway-verify" "$hf" "$hf" --device cuda | grep '^prompt '
}

sanitize() {
  local log=$work/sanitizer.log hf=data/deepseek_v4_fp8fp4/hf status=0 start=$SECONDS
  if ! command -v compute-sanitizer >/dev/null; then
    skip "compute-sanitizer" "it is not installed"
    return
  fi
  say "compute-sanitizer"
  limited 120 compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 99 \
    "$build/bin/causeway-verify" "$hf" "$hf" --device cuda --threads 1 --prompt-length 8 >"$log" 2>&1 || status=$?
  if grep -qiE 'device not supported|error: unable to|not compatible' "$log"; then
    skip "compute-sanitizer" "it does not work on this machine: $(grep -iE -m 1 'not supported|unable to|not compatible' "$log")"
  elif [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    skip "compute-sanitizer" "it took more than its 120 seconds"
  elif [ "$status" -eq 0 ] && grep -q 'ERROR SUMMARY: 0 errors' "$log"; then
    add_suite "compute-sanitizer" 1 0 0 $((SECONDS - start))
  else
    tail -n 40 "$log"
    add_suite "compute-sanitizer" 0 1 0 $((SECONDS - start))
  fi
}

if ! has_gpu; then
  skip "all of the GPU" "no CUDA device"
  finish_suites
  exit 0
fi
mkdir -p "$results" "$work/bundle"
if [ $# -eq 1 ]; then
  tar -C "$work/bundle" -xf "$1" || die "$1: no bundle of scripts/gpu_bundle.sh"
fi

check_suite "build for the GPU" build_all
[ "$ALL_WELL" -eq 0 ] || check_suite "the GPU can be used" uses_gpu
if [ "$ALL_WELL" -eq 0 ]; then # nothing below could run
  finish_suites
  exit 1
fi

python=${CAUSEWAY_VENV:-.venv}/bin/python
[ -x "$python" ] || python=python3
interop=(pytest torch transformers safetensors megatron yaml)

cases=$work/bundle/cases
if [ ! -d "$cases" ] && imports "$python" "${interop[@]}"; then
  quietly build/logs/gpu-cases.log "$python" tests/gpu/record_cases.py "$cases" || rm -rf "$cases"
fi
if [ -d "$cases" ]; then
  junit_suite "families on the GPU" "$results/gpu-families.xml" \
    limited 180 python3 tests/gpu/check_cases.py "$build/bin" "$cases" "$work/families" "$results/gpu-families.xml"
else
  skip "families on the GPU" "no recorded logits: give a bundle of scripts/gpu_bundle.sh"
fi

if imports "$python" "${interop[@]}"; then
  CAUSEWAY=$build/bin/causeway junit_suite "interoperability, GPU" "$results/gpu-interop.xml" \
    limited 150 "$python" -m pytest -q -rfEs --junitxml="$results/gpu-interop.xml" tests/interop -m gpu
else
  skip "interoperability, GPU" "$python lacks one of: ${interop[*]}"
fi

sanitize

if imports python3 numpy; then
  check_suite "figures" limited 180 python3 tests/gpu/figures.py "$build/bin" "$work" "$figures"
  [ ! -f "$figures" ] || say "figures: ${figures#"$ROOT/"}"
else
  skip "figures" "python3 has no numpy"
fi
finish_suites
