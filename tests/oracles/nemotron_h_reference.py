"""Reference logits of Nemotron-H, those of multi-token prediction included, which transformers does not compute: by real megatron-core 0.19.2
(oracles.fake_mamba below its MambaMixer), from weights that were moved by oracles.nemotron_h_mapping and not by Causeway.

    python -m oracles.nemotron_h_reference OUT [FORM...]                 (from tests/; every form of oracles.nemotron_h.FORMS by default)

OUT/FORM/hf                      the folder, BF16
OUT/FORM/reference.safetensors   input_ids, logits and mtp_logits.K in fp32, as `causeway verify --reference-logits` reads them

Rows past the end of the prompt see token 0, as Megatron's do. interop/test_nemotron_h_next_core.py compares the same logits with transformers'
model and with transformers' blocks in a frame by hand.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

from oracles import nemotron_h, nemotron_h_mapping
from oracles.pool import NEXT_CORE, Pool

SEED = 70


def shape(name):
    """The Hybrid of a form."""
    pattern, latent, mtp_pattern, mtp, _ = nemotron_h.FORMS[name]
    return nemotron_h_mapping.arch(nemotron_h.CONFIG, pattern, latent, mtp_pattern, mtp)


def make(name, folder):
    """The tensors of a form, its files in `folder`."""
    pattern, latent, mtp_pattern, mtp, spelled = nemotron_h.FORMS[name]
    return nemotron_h.make(folder, pattern, SEED, latent, mtp_pattern, mtp, spelled)


def tokens(arch):
    """24 of them, all different, first and last row of the vocabulary among them."""
    return [(i * 13) % arch.vocab for i in range(23)] + [arch.vocab - 1]


def logits(core, arch, state):
    """[main, depth 1, ...] of the tensors `state`, by the pool of the newer megatron-core."""
    (made,) = core.run("run", arch=arch, parameters=nemotron_h_mapping.to_megatron(arch, state), tokens=tokens(arch))
    return made


def main(out, *names):
    core = Pool("te", NEXT_CORE)
    for name in names or nemotron_h.FORMS:
        folder, arch = pathlib.Path(out) / name, shape(name)
        main_logits, *depths = logits(core, arch, make(name, folder / "hf"))
        tensors = {"input_ids": torch.tensor(tokens(arch)), "logits": main_logits} | {f"mtp_logits.{k}": values for k, values in enumerate(depths)}
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "reference.safetensors")
    core.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
