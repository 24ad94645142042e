#!/usr/bin/env bash
# Shows that check_layers.sh can fail: plants violations in a copy of the sources and expects each to be found and
# named; includes that are allowed must pass.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bridge"
cp -r bridge/io bridge/convert "$work/bridge"
cp -r mappings cli models "$work"

# expect pass|fail ROOM/planted.h|cpp INCLUDE-LINE: plants the line in a file of its own.
planted=0
violations=()
expect() {
  local file=${2%.*}_$((++planted)).${2##*.}
  printf '%s\n' "$3" >"$work/$file"
  [ "$1" = pass ] || violations+=("$file:1")
}

expect pass bridge/io/file/planted.h '#include "bridge/io/base/error.h"'
expect pass bridge/io/torch_dist/planted.h '#include "bridge/io/pickle/pickle.h"'
expect pass bridge/convert/plan/planted.h '#include "bridge/convert/options.h"'
expect pass bridge/convert/stream/planted.h '#include "bridge/convert/plan/convert_plan.h"'
expect pass bridge/convert/planted.cpp '#include "bridge/convert/commit/output_dir.h"'
expect pass cli/planted.cpp '#include <CLI/CLI.hpp>'
expect pass models/forward/planted.cpp '#include <ATen/core/Tensor.h>'
expect pass models/verify/planted.cpp '#include "models/hf/view.h"'

# Third parties.
expect fail bridge/io/base/planted.h '#include <torch/torch.h>'
expect fail bridge/convert/planted.cpp '  #  include <ATen/ATen.h>'
expect fail mappings/table/planted.h '#include <c10/util/BFloat16.h>'
expect fail cli/planted.cpp '#include "torch/torch.h"'
expect fail bridge/io/base/planted.cpp '#include <CLI/CLI.hpp>'
expect fail models/model/planted.h '#include <ATen/core/Tensor.h>'
expect fail models/cuda/planted.h '#include <ATen/core/Tensor.h>'
expect fail models/forward/planted.cpp '#include <CLI/CLI.hpp>'

# Spelling, and rooms that nobody described.
expect fail bridge/io/base/planted.cpp '#include "../convert/plan.h"'
expect fail bridge/io/base/planted.cpp '#include "error.h"'
expect fail bridge/io/base/planted.cpp '#include HEADER'
expect fail bridge/io/planted.cpp '#include <vector>'
expect fail models/planted.cpp '#include <vector>'

# Between the layers.
expect fail bridge/io/base/planted.h '#include "bridge/convert/plan/convert_plan.h"'
expect fail bridge/io/hf/planted.cpp '#include "mappings/table/table.h"'
expect fail bridge/io/base/planted.cpp '#include "cli/options.h"'
expect fail mappings/table/planted.cpp '#include "bridge/convert/options.h"'
expect fail mappings/table/planted.cpp '#include <cli/options.h>'
expect fail bridge/convert/stream/planted.cpp '#include "cli/options.h"'
expect fail bridge/convert/planted.cpp '#include "models/verify/verification.h"'
expect fail models/verify/planted.cpp '#include "bridge/convert/plan/convert_plan.h"'
expect fail models/hf/planted.cpp '#include "mappings/table/table.h"'

# Between the rooms of a layer.
expect fail bridge/io/base/planted.cpp '#include "bridge/io/file/json_file.h"'
expect fail bridge/io/hf/planted.cpp '#include "bridge/io/torch_dist/torch_dist.h"'
expect fail mappings/expr/planted.cpp '#include "mappings/table/table.h"'
expect fail mappings/op/planted.cpp '#include "mappings/table/table.h"'
expect fail mappings/table/planted.cpp '#include "mappings/binding/binding.h"'
expect fail mappings/megatron/planted.cpp '#include "mappings/table/table.h"'
expect fail bridge/convert/algebra/planted.cpp '#include "bridge/convert/match/accounting.h"'
expect fail bridge/convert/match/planted.cpp '#include "bridge/convert/plan/convert_plan.h"'
expect fail bridge/convert/plan/planted.cpp '#include "bridge/convert/stream/executor.h"'
expect fail bridge/convert/stream/planted.cpp '#include "bridge/convert/commit/output_dir.h"'
expect fail bridge/convert/commit/planted.cpp '#include "bridge/convert/convert.h"'
expect fail models/hf/planted.cpp '#include "models/megatron/view.h"'
expect fail models/megatron/planted.cpp '#include "models/hf/view.h"'
expect fail models/forward/planted.cpp '#include "models/compare/rounding.h"'
expect fail models/weights/planted.cpp '#include "models/hf/view.h"'

# All at once: what is found must be what was planted as a violation, no more and no less.
if output=$(scripts/check_layers.sh "$work"); then
  printf 'check_layers.sh found nothing wrong\n'
  exit 1
fi
diff <(printf '%s\n' "${violations[@]}" | sort -u) <(sed -nE 's/^([^ ]+:1): .*/\1/p' <<<"$output" | sort -u)
