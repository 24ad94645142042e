"""The Hugging Face checkpoints the tests convert."""
import dataclasses
import json
import pathlib

import safetensors.torch
import torch
import transformers

from oracles.arch import Arch, awkward


@dataclasses.dataclass(frozen=True)
class Case:
    arch: Arch
    seed: int
    shard_size: str | None = None  # None: one file
    bare: bool = False             # tensors named without `model.`


@dataclasses.dataclass
class Source:
    arch: Arch
    folder: pathlib.Path
    model: transformers.PreTrainedModel
    state: dict[str, torch.Tensor]  # by names with `model.`, whatever the files call them
    bare: bool


CASES = {
    "llama": Case(awkward("llama", tied=False, dtype="bfloat16"), 1, shard_size="40KB"),
    "llama_tied_fp32": Case(awkward("llama", tied=True, dtype="float32", rope_base=50000.0), 2),
    "llama_bare": Case(awkward("llama", tied=True, dtype="bfloat16"), 3, bare=True),
    "qwen2": Case(awkward("qwen2", tied=False, dtype="bfloat16", eps=1e-6), 4, shard_size="60KB"),
    "qwen2_tied": Case(awkward("qwen2", tied=True, dtype="bfloat16"), 5),
    "qwen3": Case(awkward("qwen3", tied=False, dtype="bfloat16", eps=1e-6, rope_base=1e6), 6),
    "qwen3_tied_fp32": Case(awkward("qwen3", tied=True, dtype="float32"), 7, shard_size="100KB"),
}

SPECS = ["te", "local"]

# 24 tokens, all different, first and last row of the vocabulary among them
def tokens(arch):
    return [(i * 13) % arch.vocab for i in range(23)] + [arch.vocab - 1]


def close(logits, reference):
    """The rule for logits of two implementations in fp32."""
    limit = 1e-4 * max(1.0, float(reference.std()))
    worst = float((logits - reference).abs().max())
    assert worst <= limit, f"logits differ by {worst:g}, at most {limit:g} is allowed"


def read_safetensors(folder):
    """{name: tensor} of all shards of a Hugging Face folder; a name in two files is an error."""
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        part = safetensors.torch.load_file(file)
        assert not tensors.keys() & part.keys(), f"{file}: a tensor is in two files"
        tensors.update(part)
    return tensors


def bridge_source(folder):
    """The Arch and the tensors of one of data/bridge_written/*/hf."""
    with open(folder / "config.json") as file:
        config = json.load(file)
    arch = Arch(family=config["model_type"], layers=config["num_hidden_layers"], hidden=config["hidden_size"], heads=config["num_attention_heads"],
                groups=config["num_key_value_heads"], head_dim=config["head_dim"], ffn=config["intermediate_size"], vocab=config["vocab_size"],
                tied=config["tie_word_embeddings"], dtype=config["torch_dtype"])
    return arch, read_safetensors(folder)
