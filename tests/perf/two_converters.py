"""Races two builds of causeway on one checkpoint, by hand: convert-hf, and then export-to-hf of what the first one made.

    python tests/perf/two_converters.py BEFORE AFTER SOURCE WORK [--runs N] [--threads N]

In each round both run once, in turn which is first. The ratio of CPU time is taken within a round; the median of all is judged. Exports are of
the same bytes. WORK is a folder for the outputs, which are removed.
"""

import argparse
import filecmp
import pathlib
import sys

from measure import Goals, files_in, measure, race, remove, warm

MAX_RATIO = 1.03


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("before", "after", "source", "work"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    goals = Goals()
    log, megatron = args.work / "run.log", args.work / "megatron"
    outputs = {args.before: args.work / "before", args.after: args.work / "after"}
    args.work.mkdir(parents=True, exist_ok=True)
    warm(args.source)

    def run(command, source, binary):
        return measure([binary.resolve(), command, "--quiet", "--threads", str(args.threads), source, outputs[binary]], log).cpu

    def run_alone(command, source, binary):
        # The page cache takes memory that was used before; memory that the machine never used costs the kernel much more.
        for output in outputs.values():
            remove(output)
        return run(command, source, binary)

    def race_command(command, source):
        run_alone(command, source, args.before)
        ratios = race(args.before, args.after, args.runs, lambda binary: run_alone(command, source, binary))
        goals.no_slower(command, ratios, MAX_RATIO)

    race_command("convert-hf", args.source)
    remove(megatron)
    run_alone("convert-hf", args.source, args.after)
    outputs[args.after].rename(megatron)
    race_command("export-to-hf", megatron)
    for binary, output in outputs.items():
        remove(output)
        run("export-to-hf", megatron, binary)
    ours, theirs = outputs[args.after], outputs[args.before]
    same = [filecmp.cmp(path, theirs / path.relative_to(ours), shallow=False) for path in files_in(ours)]
    goals.check("both export the same bytes", same and all(same))
    for folder in (megatron, *outputs.values()):
        remove(folder)
    sys.exit(0 if all(goals.checks) else 1)


if __name__ == "__main__":
    main()
