#!/usr/bin/env bash
# Holds the dependency direction: cli -> bridge/convert -> mappings -> bridge/io <- models.
#
#   1. Every include of ours is spelled from the repository root, never with "..".
#   2. A folder includes only the folders in its row of the table below.
#   3. LibTorch (torch, ATen, c10, caffe2) belongs to models/, CLI11 to cli/ and the programs in models/.
#   4. models/: hf_weights and megatron_weights do not see each other; each reads its format on its own.
#
#   scripts/check_layers.sh [ROOT]     prints each violation as FILE:LINE: what; exit 1 if there is one
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

violations=0
violation() {
  printf '%s: %s\n' "$1" "$2"
  violations=$((violations + 1))
}

# check FOLDER "ALLOWED FOLDERS" "FORBIDDEN THIRD PARTIES"
check() {
  local folder=$1 allowed=$2 forbidden=$3 file line text include prefix ok
  [ -d "$folder" ] || return 0
  while IFS=: read -r file line text; do
    if [[ ! $text =~ ^[[:space:]]*#[[:space:]]*include[[:space:]]*[\<\"]([^\>\"]+)[\>\"] ]]; then
      violation "$file:$line" "an include that is not a plain name"
      continue
    fi
    include=${BASH_REMATCH[1]}
    case "/$include/" in
      */../*) violation "$file:$line" "\"$include\": spell it from the repository root" ;;
    esac
    for prefix in $forbidden; do
      case "$include" in
        "$prefix"/*) violation "$file:$line" "$folder must not include $include" ;;
      esac
    done
    case "$include" in
      bridge/* | mappings/* | cli/* | models/* | tests/*)
        ok=0
        for prefix in $allowed; do
          case "$include" in "$prefix"/*) ok=1 ;; esac
        done
        [ "$ok" -eq 1 ] || violation "$file:$line" "$folder must not include $include"
        ;;
      *)
        if [[ $text == *\"* ]]; then
          violation "$file:$line" "\"$include\": spell it from the repository root"
        fi
        ;;
    esac
    case "$folder:$file:$include" in
      models:*hf_weights*:models/*megatron_weights* | models:*megatron_weights*:models/*hf_weights*)
        violation "$file:$line" "hf_weights and megatron_weights must not include each other"
        ;;
    esac
  done < <(grep -rnE '^[[:space:]]*#[[:space:]]*(include|import)' "$folder" \
    --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' || true)
}

torch="torch ATen c10 caffe2"
check bridge/io "bridge/io" "$torch CLI"
check mappings "mappings bridge/io" "$torch CLI"
check bridge/convert "bridge/convert mappings bridge/io" "$torch CLI"
check cli "cli bridge/convert mappings bridge/io" "$torch"
check models "models bridge/io" ""

if [ "$violations" -gt 0 ]; then
  printf '%d violations of the dependency direction (docs/development.md)\n' "$violations"
  exit 1
fi
