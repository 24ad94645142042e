"""Makes the torch_dist folders of data/megatron_written again:  python -m oracles.make_data OUT   (from tests/)"""
import os
import sys

from oracles import fixture_weights
from oracles.mapping import tp_shard
from oracles.pool import Pool

# folder: (model, tensor-parallel size, pipeline size, gate and up as keys of their own)
FOLDERS = {
    "dense": (fixture_weights.DENSE, 1, 1, False),
    "dense_tp2_resave": (fixture_weights.DENSE, 2, 1, False),
    "dense_pp3_resave": (fixture_weights.DENSE, 1, 3, False),
    "dense_singleton": (fixture_weights.DENSE, 1, 1, True),
    "dense_tied_qknorm": (fixture_weights.TIED_QKNORM, 1, 1, False),
}


def make(pool, root, name):
    arch, tp, pp, singleton = FOLDERS[name]
    full = fixture_weights.parameters(arch)
    parts = [{key: tp_shard(key, value, tp, rank, arch.vocab) for key, value in full.items()} for rank in range(tp)]
    pool.run("save", tp=tp, pp=pp, arch=arch, directory=os.path.join(root, "iter_0000000"), vocab_rows=arch.vocab, parameters=parts, iteration=0, singleton=singleton)
    with open(os.path.join(root, "latest_checkpointed_iteration.txt"), "w") as tracker:
        tracker.write("0")


if __name__ == "__main__":
    local = Pool("local")
    for folder in FOLDERS:
        make(local, os.path.join(sys.argv[1], folder), folder)
    local.close()
