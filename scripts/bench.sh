#!/usr/bin/env bash
# Speed and memory on random checkpoints of 2 to 3 GB and on 92,000 tensors, against cp and plain Python; exit 1 when
# a promise is missed. The method is described in tests/perf/bench.py. Needs 12 GB of disk; a quiet machine is better.
#   scripts/bench.sh [--case dense|moe|transpose|fp8|fp4|many|plan|logits]... [--rounds N] [--no-python] [--keep]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh --tests
scripts/venv.sh
scripts/build.sh release causeway causeway-verify
exec "${CAUSEWAY_VENV:-.venv}/bin/python" tests/perf/bench.py --causeway build/release/bin/causeway \
  --work build/bench "$@"
