"""What verify costs on this machine's GPU, on the bench's random checkpoints (tests/perf/make_model.py).

    python3 tests/gpu/figures.py BIN WORK OUT.json

Needs numpy and 7 GB of disk. OUT.json: `device`, `driver`, and `runs`: model, compute, bytes of both sides' files, seconds of the process, of
the comparison of tensors and of the forward passes, bytes a second, peaks of device and host memory, what was
reckoned for the device. Files are read once before, so
that they are warm.
"""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "perf"))

import make_model  # noqa: E402  (needs the path above)
from measure import bytes_in, remove, warm  # noqa: E402

MODELS = ["dense", "moe", "fp8"]
TIMEOUT = 120


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout


def verified(binaries, sides, compute, report):
    start = time.perf_counter()
    run(binaries / "causeway-verify", *sides, "--device", "cuda", "--compute", compute, "--report", report)
    return time.perf_counter() - start, json.loads(report.read_text())


def main(binaries, work, out):
    found = {"device": "", "driver": run("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0], "runs": []}
    for model in MODELS:
        sides = work / model, work / "megatron"
        make_model.make(sides[0], model)
        run(binaries / "causeway", "convert-hf", "--quiet", *sides)
        size = sum(map(bytes_in, sides))
        for side in sides:
            warm(side)
        for compute in ("fp32", "bf16"):
            seconds, report = verified(binaries, sides, compute, work / "report.json")
            found["device"] = report["device_what"]
            figures = {"model": model, "compute": compute, "bytes": size, "seconds": round(seconds, 3),
                       "tensors_seconds": round(report["tensors"]["seconds"], 3), "forward_seconds": round(report["forward"]["seconds"], 3),
                       "bytes_per_second": round(size / seconds), "peak_device_bytes": report["peak_device_bytes"],
                       "device_bytes_needed": report["device_bytes_needed"],
                       "peak_rss_bytes": report["peak_rss_bytes"]}
            found["runs"].append(figures)
            print(json.dumps(figures), flush=True)
            out.write_text(json.dumps(found, indent=1) + "\n")  # what there is, if time runs out
        for side in sides:
            remove(side)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:4]))
