"""verify --mode logits of the bench's checkpoints (bench.py, case logits).

1. What it compares tensor by tensor must take no more than a few times what cmp takes for the same bytes: those of both
   sides' files, each against itself through a pipe. Quantized codes are multiplied by their scales on the way.
2. All of it, the forward pass of 32 tokens included, must take no more than a few times the processor time of reading both
   sides' files with cat, by one thread. Checked of experts, of which a prompt uses some.
3. Memory: the largest layer of both sides, what a prompt needs, and 600 MiB; for 32 tokens, and for a long prompt in two layers.
4. The forward pass is printed: how long it takes is the processor's matter.
"""

import json
import math
import os
import re
import statistics

import make_model
import model_shapes
from measure import MIB, bytes_in, files_in, measure, remove, startup, warm

MAX_STARTUP_SECONDS = 1.0  # LibTorch's libraries
MAX_CAT_RATIO = {"moe": 4.0}  # processor time
MAX_TENSORS_RATIO = {"dense": 2.5, "moe": 4.0, "fp8": 8.0}
LIBTORCH_MEMORY = 600 * MIB
LONG_PROMPT = 4096


class Pair:
    """One random checkpoint and its Megatron side."""

    def __init__(self, args, name, goals):
        self.causeway, self.goals, self.name = args.causeway.resolve(), goals, name
        self.source, self.megatron = args.work / name, args.work / "megatron"
        self.log, self.report = args.work / "run.log", args.work / "report.json"
        if not self.source.exists():
            remove(args.work / "partial")
            make_model.make(args.work / "partial", name)
            (args.work / "partial").rename(self.source)
        remove(self.megatron)
        measure([self.causeway, "convert-hf", "--quiet", self.source, self.megatron], self.log)
        warm(self.source)
        warm(self.megatron)

    def logits(self, *options, threads=2):
        """(Run, the report of causeway-verify)"""
        command = [self.causeway, "verify", "--quiet", "--mode", "logits", "--device", "cpu", "--threads", str(threads),
                   "--report", self.report, *options]
        run = measure([*command, self.source, self.megatron], self.log)
        return run, json.loads(self.report.read_text())["logits"]

    def compare_bytes(self):
        """Both sides' files, each with itself through another name: what comparing as many bytes costs at least."""
        pairs = [path for path in files_in(self.source) + files_in(self.megatron) if path.stat().st_size > MIB]
        script = 'for file in "$@"; do cat "$file" | cmp - "$file" || exit 1; done'
        return measure(["sh", "-c", script, "sh", *pairs], self.log)

    def times_cat(self):
        """Processor time of one thread over that of reading the same files."""
        read = measure(["sh", "-c", 'cat "$@" > /dev/null', "sh", *files_in(self.source), *files_in(self.megatron)], self.log)
        run, _ = self.logits(threads=1)
        print(f"cat {read.cpu:.2f} s of CPU, verify --threads 1 {run.cpu:.2f} s", flush=True)
        return run.cpu / read.cpu

    def allowed_memory(self, tokens):
        """The largest layer of both sides, as stored; of each side a few states and the widest projection of the prompt in fp32;
        and LibTorch."""
        config = model_shapes.CONFIGS[self.name]
        layers = {}
        for tensor in model_shapes.tensors(config):
            number = re.match(r"model\.layers\.(\d+)\.", tensor.name)
            if number:
                layers[number[1]] = layers.get(number[1], 0) + math.prod(tensor.shape) * 2
        heads = config["num_attention_heads"] * config.get("head_dim", config.get("qk_nope_head_dim", 0) + config.get("qk_rope_head_dim", 0))
        width = 12 * config["hidden_size"] + 6 * max(config["intermediate_size"], heads)
        return 2 * max(layers.values()), 4 * tokens * width, LIBTORCH_MEMORY

    def judge(self, rounds):
        peaks, ratios = [], []
        for number in range(rounds):
            base = self.compare_bytes()
            run, report = self.logits()
            peaks.append(run.rss)
            ratios.append(report["tensors"]["seconds"] / base.wall)
            print(f"round {number + 1}: cmp {base.wall:.2f} s, tensors {report['tensors']['seconds']:.2f} s, forward"
                  f" {report['forward']['seconds']:.2f} s, all {run.wall:.2f} s ({run.cpu:.2f} s of CPU)", flush=True)
        if self.name in MAX_CAT_RATIO:
            limit, ratio = MAX_CAT_RATIO[self.name], statistics.median(self.times_cat() for _ in range(rounds))
            self.goals.check(f"{self.name}: CPU time {ratio:.2f} x cat (at most {limit})", ratio <= limit)
        limit, ratio = MAX_TENSORS_RATIO[self.name], statistics.median(ratios)
        self.goals.check(f"{self.name}: tensors {ratio:.2f} x cmp (at most {limit})", ratio <= limit)
        self.goals.bounded(f"{self.name}, 32 tokens", max(peaks), *self.allowed_memory(32))
        for compute in ("fp32", "bf16"):
            run, report = self.logits("--prompt-length", str(LONG_PROMPT), "--layers", "0:2", "--compute", compute)
            print(f"two layers, {LONG_PROMPT} tokens in {compute}: forward {report['forward']['seconds']:.2f} s", flush=True)
            self.goals.bounded(f"{self.name}, {LONG_PROMPT} tokens in {compute}", run.rss, *self.allowed_memory(LONG_PROMPT))


def race(args, goals):
    startup(args.causeway.with_name("causeway-verify"), goals, MAX_STARTUP_SECONDS, runs=5)
    for name in MAX_TENSORS_RATIO:
        try:
            pair = Pair(args, name, goals)
            print(f"\n== logits, {name}: {bytes_in(pair.source) / 1e9:.2f} GB, load {os.getloadavg()[0]:.1f}")
            pair.judge(args.rounds)
        finally:
            remove(args.work / "megatron")
            if not args.keep:
                remove(args.work / name)
