"""The matrix products of one forward pass in plain PyTorch: the time of a model's computing, without reading and comparing.

    python3 plain_forward.py THREADS < products.json          prints seconds

products: [[tokens, rows, columns, how many], ...], of weights [rows, columns]. All are fp32 and in memory. Weights of one shape take turns in
at most 256 MB of it, so that large ones come from memory as those of a real pass do.
"""

import json
import sys
import time

import torch

MOST_BYTES = 256 << 20


def seconds(products):
    """Of all products, each done as often as it says; one of each shape is done before, as a library prepares its first call."""
    total = 0.0
    for tokens, rows, columns, count in products:
        distinct = max(1, min(count, MOST_BYTES // (4 * rows * columns)))
        weights = [torch.randn(rows, columns) for _ in range(distinct)]
        x = torch.randn(tokens, columns)
        x @ weights[0].t()
        start = time.perf_counter()
        for number in range(count):
            x @ weights[number % distinct].t()
        total += time.perf_counter() - start
    return total


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    with torch.inference_mode():
        print(seconds(json.load(sys.stdin)))
