"""verify --mode logits of the bench's checkpoints (bench.py, case logits).

1. What it compares tensor by tensor must take no more than a few times what cmp takes for the same bytes: those of both
   sides' files, each against itself through a pipe. Quantized codes are multiplied by their scales on the way.
2. All of it, the forward pass of 32 tokens included, must take no more than a few times the processor time of reading both
   sides' files with cat, by one thread. Checked of experts, of which a prompt uses some.
3. All of it, from files that are not in memory, must take no more than 1.3 times the wall time of the longer of two things that a
   verification cannot do without: cat of both sides' files, as cold, and the matrix products of one forward pass of one side
   (plain_forward.py), by as many threads. So reading, comparing and computing have to run at the same time.
4. Memory: the largest layer of both sides, what a prompt needs, and 600 MiB; for 32 tokens, and for a long prompt in two layers.
5. The forward pass is printed: how long it takes is the processor's matter.
"""

import json
import math
import os
import re
import statistics
import subprocess
import sys

import make_model
import model_shapes
from measure import MIB, bytes_in, chill, files_in, measure, remove, startup, warm

MAX_STARTUP_SECONDS = 1.0  # LibTorch's libraries
MAX_CAT_RATIO = {"moe": 4.0}  # processor time
MAX_TENSORS_RATIO = {"dense": 2.5, "moe": 4.0, "fp8": 8.0}
MAX_WALL_RATIO = 1.3
THREADS = 2
PROMPT = 32  # tokens, the default
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

    def logits(self, *options, threads=THREADS):
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

    def cat(self):
        return measure(["sh", "-c", 'cat "$@" > /dev/null', "sh", *files_in(self.source), *files_in(self.megatron)], self.log)

    def products(self, report):
        """[tokens, rows, columns, how many] of the linears that the prompt of a report runs through. The tokens of a layer spread over
        the experts that it used."""
        config = model_shapes.CONFIGS[self.name]
        chosen = config.get("num_experts_per_tok", 0)
        routed = {each["layer"]: each["routed"] for each in report["forward"]["coverage"]["experts"]}
        heads = 1 + config.get("num_nextn_predict_layers", 0)
        found = {}
        for tensor in model_shapes.tensors(config):
            if len(tensor.shape) != 2 or tensor.copy_of or tensor.dtype == "F32" or "embed_tokens" in tensor.name:
                continue
            number = re.match(r"model\.layers\.(\d+)\.(mlp\.experts\.(\d+)\.)?", tensor.name)
            tokens, count = PROMPT, 1 if number else heads
            if number and number[2]:
                layer, expert = int(number[1]), int(number[3])
                depth = layer - config["num_hidden_layers"]
                used = routed[f"layers.{layer}" if depth < 0 else f"mtp.{depth}"]
                if expert >= used:
                    continue
                tokens = -(-PROMPT * chosen // used)
            key = (tokens, *tensor.shape)
            found[key] = found.get(key, 0) + count
        return [[*key, count] for key, count in found.items()]

    def plain_forward(self, report):
        """Seconds of the products of one side. Threads sleep while they wait, as those of causeway-verify do."""
        script = os.path.join(os.path.dirname(__file__), "plain_forward.py")
        done = subprocess.run([sys.executable, script, str(THREADS)], input=json.dumps(self.products(report)), stdout=subprocess.PIPE, text=True,
                              check=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        return float(done.stdout)

    def times_the_longer(self):
        """Wall time from cold files over that of reading them or of computing, whichever is longer."""
        chill(self.source, self.megatron)
        read = self.cat()
        chill(self.source, self.megatron)
        run, report = self.logits()
        computed = self.plain_forward(report)
        print(f"cold: cat {read.wall:.2f} s, plain forward {computed:.2f} s, verify {run.wall:.2f} s", flush=True)
        return run.wall / max(read.wall, computed)

    def times_cat(self):
        """Processor time of one thread over that of reading the same files."""
        read = self.cat()
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
        ratio = statistics.median(self.times_the_longer() for _ in range(rounds))
        self.goals.check(f"{self.name}: wall {ratio:.2f} x the longer of reading and computing (at most {MAX_WALL_RATIO})", ratio <= MAX_WALL_RATIO)
        warm(self.source)
        warm(self.megatron)
        limit, ratio = MAX_TENSORS_RATIO[self.name], statistics.median(ratios)
        self.goals.check(f"{self.name}: tensors {ratio:.2f} x cmp (at most {limit})", ratio <= limit)
        self.goals.bounded(f"{self.name}, {PROMPT} tokens", max(peaks), *self.allowed_memory(PROMPT))
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
