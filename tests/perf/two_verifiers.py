"""Races two builds of causeway-verify on one pair of checkpoints, by hand.

    python tests/perf/two_verifiers.py BEFORE AFTER SOURCE CONVERTED [--runs N]

In each round both run once, in turn which is first. The ratio of CPU time is taken within a round; the median of all is
judged. What they print must be the same, but for times and memory.
"""

import argparse
import pathlib
import re
import sys
import tempfile

from measure import Goals, measure, race, warm

MAX_RATIO = 1.03
OPTIONS = ("--quiet", "--device", "cpu", "--threads", "1")


def verdicts(log):
    """What was printed without the numbers of the run: seconds, bytes and percentages."""
    return re.sub(r"[0-9.]+ ?(s|ms|min|B|[KMGT]i?B)\b|[0-9.]+%", "", log.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("before", "after", "source", "converted"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    goals = Goals()
    warm(args.source)
    warm(args.converted)
    printed = {}
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "run.log"

        def cpu_of(binary):
            seconds = measure([binary.resolve(), *OPTIONS, args.source, args.converted], log).cpu
            printed[binary] = verdicts(log)
            return seconds

        goals.no_slower("verify", race(args.before, args.after, args.runs, cpu_of), MAX_RATIO)
    goals.check("both print the same", printed[args.before] == printed[args.after])
    sys.exit(0 if all(goals.checks) else 1)


if __name__ == "__main__":
    main()
