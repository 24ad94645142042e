#!/usr/bin/env bash
# Speed and memory on a random checkpoint of 3 GB, against cp and a plain Python converter; exit 1 when a promise
# is missed. The method is described in tests/perf/bench.py. Needs 10 GB of disk and a quiet machine.
#   scripts/bench.sh [--rounds N] [--kind dense|moe] [--layers N] [--no-python] [--keep]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh
scripts/venv.sh
scripts/build.sh release causeway
exec "${CAUSEWAY_VENV:-.venv}/bin/python" tests/perf/bench.py --causeway build/release/bin/causeway \
  --work build/bench "$@"
