#!/usr/bin/env bash
# Makes the Python environment of the interop tests: .venv, from tests/requirements.txt, and in it a second
# megatron-core of a newer version (tests/requirements_next_core.txt), which its tests put in front of the first.
#
#   1. key = hash of the requirements and the interpreter's version
#   2. a stamp with that key is written after the packages, and the second megatron-core gets its name when it
#      is whole, so an interrupted run starts over
#   3. a warm run only compares the key (well under a second)
#
# Conversion needs no Python; this is for the tests, the benchmark's Python peer, and LibTorch (the torch
# wheel in here is the one that is linked). CAUSEWAY_VENV puts the environment elsewhere.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

requirements=tests/requirements.txt
next_core=$(sed 's/ *#.*//; /^$/d' tests/requirements_next_core.txt) # megatron-core==0.19.2
venv=${CAUSEWAY_VENV:-$ROOT/.venv}

usable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}
python=
for candidate in python3 /usr/bin/python3; do
  if usable "$candidate"; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || die "no python3 >= 3.10 with venv (run scripts/install.sh)"

key=$({ cat "$requirements" && "$python" -c 'import sys; print(sys.version)'; } | sha256sum | cut -d' ' -f1)
stamp=$venv/causeway-stamp
next_core_folder=$venv/${next_core/==/-}
has_packages() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && [ -x "$venv/bin/python" ]; }
is_ready() { has_packages && [ -d "$next_core_folder" ]; }

is_ready && exit 0
mkdir -p build/logs
exec 9>build/logs/venv.lock
flock 9
is_ready && exit 0 # another run made it meanwhile

install() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile --retries 5 "$@"
}
install_requirements() { quietly build/logs/pip.log install -r "$requirements"; }
if ! has_packages; then
  say "Python environment ($requirements; a few GB, once)"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  retry 3 install_requirements || die "pip could not install $requirements"
  printf '%s\n' "$key" >"$stamp"
fi
# Its wheels are for Python 3.12 and later, in name: nothing that the tests import needs it.
install_next_core() {
  rm -rf "$next_core_folder.part"
  quietly build/logs/pip-next-core.log install --no-deps --ignore-requires-python --only-binary :all: \
    --python-version 3.12 --platform manylinux_2_28_x86_64 --target "$next_core_folder.part" "$next_core"
}
retry 3 install_next_core || die "pip could not install $next_core"
mv "$next_core_folder.part" "$next_core_folder"
