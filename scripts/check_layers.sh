#!/usr/bin/env bash
# Holds the dependency direction: cli -> bridge/convert -> mappings -> bridge/io <- models, and the order of the rooms
# (folders) inside each of them.
#
#   1. Every include of ours is spelled from the repository root, never with "..".
#   2. A room includes itself and the rooms in its row of the table below; a room without a row is a violation.
#   3. LibTorch (torch, ATen, c10, caffe2) belongs to models/, CLI11 to cli/ and the programs in models/verify.
#
#   scripts/check_layers.sh [ROOT]     prints each violation as FILE:LINE: what; exit 1 if there is one
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

declare -A ROOMS=() THIRD_PARTIES=()
# room FOLDER "FOLDERS AND FILES IT MAY INCLUDE" ["THIRD PARTIES IT MAY INCLUDE"]
room() {
  ROOMS[$1]="$2 " # never empty: an empty row is no row
  THIRD_PARTIES[$1]=${3:-}
}
# rooms PREFIX BASE NAME...: each room may include BASE and the rooms before it.
rooms() {
  local prefix=$1 seen=$2 name
  for name in "${@:3}"; do
    room "$prefix/$name" "$seen"
    seen+=" $prefix/$name"
  done
}

room bridge/io/base ""
room bridge/io/file "bridge/io/base"
room bridge/io/launch "bridge/io/base bridge/io/file"
room bridge/io/number "bridge/io/base"
room bridge/io/hf "bridge/io/base bridge/io/file bridge/io/number"
room bridge/io/pickle "bridge/io/base bridge/io/file"
room bridge/io/torch_dist "bridge/io/base bridge/io/file bridge/io/number bridge/io/pickle"
room bridge/io/sidecar "bridge/io/base bridge/io/file bridge/io/number bridge/io/hf"

rooms mappings bridge/io op expr table binding
room mappings/megatron "bridge/io mappings/expr"

# What a user asks is data that every room of the converter may read.
rooms bridge/convert "bridge/io mappings bridge/convert/options.h" algebra match plan stream commit
room bridge/convert "bridge/io mappings bridge/convert" # the verbs, above all rooms

room cli "bridge mappings" CLI

torch="torch ATen c10 caffe2"
room models/model bridge/io/base
room models/cuda bridge/io
room models/weights "bridge/io models/model models/cuda" "$torch"
# The two views: neither sees the other.
room models/hf "bridge/io models/model models/weights" "$torch"
room models/megatron "bridge/io models/model models/weights" "$torch"
room models/forward "bridge/io models/model models/weights" "$torch"
room models/compare "bridge/io models/model models/cuda models/weights models/forward" "$torch"
room models/train "bridge/io models/model models/weights models/forward" "$torch"
room models/verify "bridge/io models" "$torch CLI"

violations=0
violation() {
  printf '%s: %s\n' "$1" "$2"
  violations=$((violations + 1))
}

# is_under PATH "FOLDERS AND FILES": a folder counts with what lies under it.
is_under() {
  local place
  for place in $2; do
    case "$1" in "$place" | "$place"/*) return 0 ;; esac
  done
  return 1
}

# may_include ROOM PATH
may_include() {
  local room=$1 path=$2
  [ "${path%/*}" != "$room" ] || return 0
  is_under "$path" "${ROOMS[$room]}"
}

check_include() {
  local file=$1 line=$2 text=$3 room=${1%/*} include party
  if [ -z "${ROOMS[$room]:-}" ]; then
    violation "$file:$line" "$room has no row in scripts/check_layers.sh"
    return
  fi
  if [[ ! $text =~ ^[[:space:]]*#[[:space:]]*include[[:space:]]*[\<\"]([^\>\"]+)[\>\"] ]]; then
    violation "$file:$line" "an include that is not a plain name"
    return
  fi
  include=${BASH_REMATCH[1]}
  case "/$include/" in
    */../*) violation "$file:$line" "\"$include\": spell it from the repository root" ;;
  esac
  for party in torch ATen c10 caffe2 CLI; do
    if is_under "$include" "$party" && ! is_under "$party" "${THIRD_PARTIES[$room]}"; then
      violation "$file:$line" "$room must not include $include"
    fi
  done
  case "$include" in
    bridge/* | mappings/* | cli/* | models/* | tests/*)
      may_include "$room" "$include" || violation "$file:$line" "$room must not include $include"
      ;;
    *)
      if [[ $text == *\"* ]]; then
        violation "$file:$line" "\"$include\": spell it from the repository root"
      fi
      ;;
  esac
}

while IFS=: read -r file line text; do
  check_include "$file" "$line" "$text"
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*(include|import)' bridge mappings cli models \
  --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' || true)

if [ "$violations" -gt 0 ]; then
  printf '%d violations of the dependency direction (docs/development.md)\n' "$violations"
  exit 1
fi
