"""Recorded logits of a prompt, in the format that `causeway verify --reference-logits` reads."""
import torch
from safetensors.torch import save_file


def tokens(vocab):
    """24 tokens, all different where the vocabulary allows it, its first and last row among them."""
    return [(i * 13) % vocab for i in range(23)] + [vocab - 1]


def write(path, ids, logits, **more):
    """logits: main, then those of each MTP depth, [tokens, vocab] in F32."""
    tensors = {"input_ids": torch.tensor(ids), "logits": logits[0]}
    tensors.update({f"mtp_logits.{depth}": values for depth, values in enumerate(logits[1:])})
    save_file({name: values.contiguous() for name, values in (tensors | more).items()}, path)
    return path
