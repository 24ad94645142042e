#!/usr/bin/env bash
# Shows that check_layers.sh can fail: plants one violation at a time in a copy of the sources and expects it
# to be found and named; includes that are allowed must pass.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for folder in bridge/io bridge/convert mappings cli models; do mkdir -p "$work/$folder"; done
cp -r bridge mappings cli "$work/"
[ ! -d models ] || cp -r models "$work/"

failures=0
# expect pass|fail FILE INCLUDE-LINE
expect() {
  local want=$1 file=$2 text=$3 got=pass output
  printf '%s\n' "$text" >"$work/$file"
  output=$(scripts/check_layers.sh "$work") || got=fail
  if [ "$got" != "$want" ] || { [ "$want" = fail ] && ! grep -qF "$file:1:" <<<"$output"; }; then
    printf 'check_layers.sh: expected %s for %s: %s\n%s\n' "$want" "$file" "$text" "$output"
    failures=$((failures + 1))
  fi
  rm "$work/$file"
}

expect pass bridge/io/planted.h '#include "bridge/io/error.h"'
expect pass cli/planted.cpp '#include <CLI/CLI.hpp>'
expect pass models/planted.cpp '#include <ATen/core/Tensor.h>'
expect fail bridge/io/planted.h '#include <torch/torch.h>'
expect fail bridge/convert/planted.cpp '  #  include <ATen/ATen.h>'
expect fail mappings/planted.h '#include <c10/util/BFloat16.h>'
expect fail cli/planted.cpp '#include "torch/torch.h"'
expect fail bridge/io/planted.h '#include "bridge/convert/plan.h"'
expect fail bridge/io/planted.cpp '#include "mappings/table.h"'
expect fail bridge/io/planted.cpp '#include "cli/options.h"'
expect fail bridge/io/planted.cpp '#include <CLI/CLI.hpp>'
expect fail bridge/io/planted.cpp '#include "../convert/plan.h"'
expect fail bridge/io/planted.cpp '#include "error.h"'
expect fail bridge/io/planted.cpp '#include HEADER'
expect fail mappings/planted.cpp '#include "bridge/convert/options.h"'
expect fail mappings/planted.cpp '#include <cli/options.h>'
expect fail bridge/convert/planted.cpp '#include "cli/options.h"'
expect fail bridge/convert/planted.cpp '#include "models/verify.h"'
expect fail models/planted.cpp '#include "bridge/convert/plan.h"'
expect fail models/planted.cpp '#include "mappings/table.h"'
expect fail models/hf_weights_planted.cpp '#include "models/megatron_weights.h"'
expect fail models/megatron_weights_planted.cpp '#include "models/hf_weights.h"'
[ "$failures" -eq 0 ]
