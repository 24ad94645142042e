#!/usr/bin/env bash
# The C++ libraries for the aarch64 build (preset aarch64): Debian's own arm64 packages, unpacked into .deps/aarch64 and
# not installed, so that this machine's packages stay as they are.
#
#   1. apt-get reads the machine's sources into folders of its own, as if this were an arm64 machine
#   2. the packages are downloaded, checked by apt, and unpacked
#   3. a stamp with their names is written last, so an interrupted run starts over
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

packages=(
  nlohmann-json3-dev libcli11-dev libfmt-dev libgtest-dev
  libfmt9 # libfmt-dev's CMake files look for it
  libdeflate-dev zlib1g-dev libssl-dev libyaml-cpp-dev libpcre2-dev
)
target=$ROOT/.deps/aarch64
stamp=$target/causeway-stamp
is_ready() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "${packages[*]}" ]; }

is_ready && exit 0
mkdir -p build/logs .deps
exec 9>build/logs/aarch64-libraries.lock
flock 9
is_ready && exit 0 # another run made it meanwhile
command -v apt-get >/dev/null || die "needs apt-get"

say "libraries for aarch64 (${packages[*]})"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/packages"
touch "$work/state/status"
apt_arm64() {
  apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root \
    -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
    -o Dir::State="$work/state" -o Dir::State::status="$work/state/status" -o Dir::Cache="$work/cache" "$@"
}
download() { cd "$work/packages" && apt_arm64 download "${packages[@]}"; }

quietly build/logs/aarch64-update.log retry 5 apt_arm64 update
(quietly "$ROOT/build/logs/aarch64-download.log" retry 3 download)
rm -rf "$target"
for package in "$work"/packages/*.deb; do
  dpkg-deb -x "$package" "$target"
done
printf '%s\n' "${packages[*]}" >"$stamp"
