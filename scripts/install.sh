#!/usr/bin/env bash
# Installs the Debian packages that the build and the tests need and that are not there yet.
#   scripts/install.sh           what the build needs
#   scripts/install.sh --tests   also what scripts/test.sh needs
#   scripts/install.sh --dev     also what test.sh --all needs: clang-tidy, shellcheck, the aarch64 compiler, qemu-user
# Does nothing, and needs no root, when everything is installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

packages=(
  g++ cmake ninja-build ccache lld git ca-certificates                     # the build
  nlohmann-json3-dev libcli11-dev libfmt-dev libgtest-dev                  # C++ libraries
  libdeflate-dev zlib1g-dev libssl-dev libyaml-cpp-dev libpcre2-dev
  python3 python3-venv python3-pip                                         # LibTorch is a wheel
)
tests=(
  clang-format-14 time
  clang-14 libclang-rt-14-dev # sanitizers and libFuzzer
  openmpi-bin                 # ranks by a real launcher
  chromium                    # pages in a real browser
)
case "${1:-}" in
  "") ;;
  --tests) packages+=("${tests[@]}") ;;
  --dev) packages+=("${tests[@]}" clang-tidy-14 shellcheck g++-aarch64-linux-gnu qemu-user-static) ;;
  *) die "usage: scripts/install.sh [--tests|--dev]" ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "not a Debian system: install the equivalents of: ${packages[*]}"
  exit 0
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
  sed -n 's/ installed$//p' || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=(env)
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "run as root, or install: ${missing[*]}"
  as_root=(sudo env)
fi
apt() {
  "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
    -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@"
}
say "installing ${missing[*]}"
quietly build/logs/apt-update.log retry 5 apt update
quietly build/logs/apt-install.log retry 3 apt install -y --no-install-recommends "${missing[@]}"
