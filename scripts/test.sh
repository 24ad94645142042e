#!/usr/bin/env bash
# Everything that must hold, from a bare checkout: packages, build, format, layers, unit tests (those of parsers also
# under ASan + UBSan), ten seconds of fuzzing per target, the command line, crashes at every file
# operation, our readers against Python's, and interoperability with the real Python software.
#   scripts/test.sh         every change
#   scripts/test.sh --all   also the unit tests of conversion and the command line under ASan + UBSan, TSan, a build
#                           without precompiled headers, the static binary, the unit tests on aarch64 (emulated),
#                           the whole of DeepSeek-V4-Flash, fifteen minutes of fuzzing per target, clang-tidy
# Ends with "N passed, N failed, N skipped"; exit 1 if anything failed or an interop test could not run
# (those of a GPU are skipped without one).
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

all=0
case "$*" in
  "") ;;
  --all) all=1 ;;
  *) die "usage: scripts/test.sh [--all]" ;;
esac

# addr2line comes with g++; llvm-symbolizer would be another package.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:allow_addr2line=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:allow_addr2line=1
export TSAN_OPTIONS=halt_on_error=1

# Without these nothing below could run; they still end in the closing line.
prepare() {
  check_suite "$@"
  if [ "$ALL_WELL" -eq 0 ]; then
    finish_suites
    exit 1
  fi
}

format_check() {
  local clang_format=clang-format-14
  command -v "$clang_format" >/dev/null || clang_format=clang-format
  git ls-files -z '*.h' '*.cpp' '*.cu' | xargs -0 -r "$clang_format" --dry-run -Werror
}

# unit_suite NAME PRESET [BINARY...]
unit_suite() {
  local results=$ROOT/build/results/${1//[^a-z0-9]/-}.xml
  junit_suite "$1" "$results" scripts/unit_tests.py "build/$2" "$results" "$JOBS" "${@:3}"
}

# python_suite NAME FOLDER PRESET [PYTEST_OPTION...]
python_suite() {
  local results=$ROOT/build/results/${1//[^a-z0-9]/-}-$3.xml
  CAUSEWAY=$ROOT/build/$3/bin/causeway junit_suite "$1" "$results" "${CAUSEWAY_VENV:-.venv}/bin/python" \
    -m pytest -q -rfEs -p no:cacheprovider --junitxml="$results" "$2" "${@:4}"
}

packages=--tests
[ "$all" -eq 0 ] || packages=--dev
prepare "packages" scripts/install.sh "$packages"
prepare "Python environment" scripts/venv.sh # before the build: LibTorch is in there
prepare "release build" scripts/build.sh release

check_suite "format" format_check
check_suite "layers" scripts/check_layers.sh
check_suite "layers: self-test" scripts/check_layers_test.sh
unit_suite "unit tests" release

# A worker of the interop tests keeps models in memory, 1 GB or more: no more than four.
workers=(-n "$((JOBS < 4 ? JOBS : 4))" --dist worksteal)
python_suite "command line" tests/cli release "${workers[@]}"

[ "$all" -eq 0 ] || export CAUSEWAY_CRASH=whole CAUSEWAY_DIFFERENTIAL=whole CAUSEWAY_FULL_SIZE=whole
python_suite "crash matrix" tests/crash release "${workers[@]}"
python_suite "readers against Python's" tests/differential release
python_suite "full size" tests/full_size release

python_suite "interoperability" tests/interop release -m "not gpu" "${workers[@]}"
if [ "$LAST_SKIPPED" -gt 0 ]; then
  printf 'FAILED: %d interop tests could not run\n' "$LAST_SKIPPED"
  ALL_WELL=0
fi
python_suite "interoperability, GPU" tests/interop release -m gpu # skips without a device

# Hostile bytes are read by parsers, and all of them are in here. What bridge/convert adds (plans of trusted shapes,
# slices) runs on what they let through: with --all.
parsers=(io_tests mappings_tests models_config_tests)
mapfile -t fuzz_targets < <(cd tests/fuzz && printf '%s\n' *_fuzz.cpp | sed 's/\.cpp$//')
check_suite "ASan + UBSan build" scripts/build.sh asan "${parsers[@]}" "${fuzz_targets[@]}"
unit_suite "unit tests, ASan + UBSan" asan "${parsers[@]}"
check_suite "fuzz, 10 s per target" scripts/fuzz.sh --preset asan 10

if [ "$all" -eq 1 ]; then
  check_suite "ASan + UBSan build, the rest" scripts/build.sh asan
  unit_suite "conversion, ASan + UBSan" asan convert_tests
  python_suite "command line, ASan + UBSan" tests/cli asan "${workers[@]}"
  python_suite "readers against Python's, ASan + UBSan" tests/differential asan
  check_suite "ASan + UBSan build of causeway-verify" scripts/build.sh asan-verify causeway causeway-verify
  counts_suite "round trips, ASan + UBSan" scripts/roundtrip.sh --preset asan-verify
  check_suite "static build" scripts/build.sh static
  python_suite "static binary" tests/portability static
  check_suite "no precompiled headers" scripts/build.sh plain
  check_suite "TSan build" scripts/build.sh tsan
  unit_suite "unit tests, TSan" tsan
  check_suite "aarch64: libraries" scripts/aarch64_libraries.sh
  check_suite "aarch64 build" scripts/build.sh aarch64
  CAUSEWAY_EMULATOR=qemu-aarch64-static unit_suite "unit tests, aarch64" aarch64
  check_suite "fuzz, 900 s per target" scripts/fuzz.sh 900
  check_suite "clang-tidy and shellcheck" scripts/tidy.sh
fi
finish_suites
