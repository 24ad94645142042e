#!/usr/bin/env bash
# Installs the Debian packages that the build and the tests need and that are not there yet.
#   scripts/install.sh         what scripts/test.sh needs
#   scripts/install.sh --dev   also what test.sh --all needs: clang-tidy, shellcheck, the aarch64 compiler, qemu-user
# Does nothing, and needs no root, when everything is installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

packages=(
  g++ cmake ninja-build ccache lld git ca-certificates                     # the build
  nlohmann-json3-dev libcli11-dev libfmt-dev libgtest-dev                  # C++ libraries
  libdeflate-dev zlib1g-dev libssl-dev libyaml-cpp-dev
  clang-format-14 python3 python3-venv python3-pip time                    # the tests
  clang-14 libclang-rt-14-dev                                              # sanitizers and libFuzzer
  openmpi-bin                                                              # ranks by a real launcher
)
if [ "${1:-}" = --dev ]; then
  packages+=(clang-tidy-14 shellcheck g++-aarch64-linux-gnu qemu-user-static)
elif [ $# -gt 0 ]; then
  die "usage: scripts/install.sh [--dev]"
fi

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
