"""A bundled Hugging Face checkpoint in every other spelling that its architecture's table knows.

    python3 tests/oracles/respell.py HF_DIR PLAIN_HF_DIR OUT

1. Writes a folder OUT/N for each spelling and prints a line for it: folder, what it is, options that convert-hf and export-to-hf
   need, tab-separated. PLAIN_HF_DIR: the same weights without quantization, for spellings that stack experts.
2. Every architecture: without `model.` before the names, as a bare model is saved. DeepSeek-V4: deepseek_v4_names.
3. Qwen2 and Mixtral have no bundled checkpoint: made of Qwen3's tensors by their names, biases being the first elements of the weights.

Needs nothing but Python.
"""
import json
import math
import pathlib
import re
import shutil
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "cli")]

from oracles import deepseek_v4_names  # noqa: E402  (needs the path above)
from safetensors_raw import INDEX, SIZES, Model, Tensor  # noqa: E402


class Joins:
    """How deepseek_v4_names puts raw tensors together."""

    @staticmethod
    def stack(tensors):
        return Tensor(tensors[0].dtype, [len(tensors), *tensors[0].shape], b"".join(tensor.data for tensor in tensors))

    @staticmethod
    def rows(tensors):
        rows = sum(tensor.shape[0] for tensor in tensors)
        return Tensor(tensors[0].dtype, [rows, *tensors[0].shape[1:]], b"".join(tensor.data for tensor in tensors))

    @staticmethod
    def columns(tensors):
        rows = tensors[0].shape[0]
        widths = [len(tensor.data) // rows for tensor in tensors]
        data = b"".join(tensor.data[row * width : (row + 1) * width] for row in range(rows) for tensor, width in zip(tensors, widths))
        return Tensor(tensors[0].dtype, [rows, sum(tensor.shape[1] for tensor in tensors)], data)


def read_folder(folder):
    """(config.json, {name: Tensor})"""
    tensors = {name: tensor for shard in Model(folder).shards.values() for name, tensor in shard.items()}
    return json.loads((pathlib.Path(folder) / "config.json").read_text()), tensors


def write_folder(source, folder, config, tensors):
    """In two shards, with the side files of source."""
    folder.mkdir(parents=True)
    for file in pathlib.Path(source).iterdir():
        if file.suffix != ".safetensors" and file.name not in (INDEX, "config.json"):
            shutil.copyfile(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    model = Model(folder)
    model.shards = {}
    for index in range(2):
        model.shards[f"model-{index + 1:05}-of-00002.safetensors"] = dict(list(tensors.items())[index::2])
    model.save()


def deepseek_v4(source, plain):
    """(what, config, tensors, options)"""
    (config, tensors), (plain_config, values) = source, plain
    layers, experts = config["num_hidden_layers"], config["n_routed_experts"]
    yield "scorer of the indexer", config, deepseek_v4_names.scorer(tensors), ""
    for what, how in deepseek_v4_names.OLDER.items():
        yield what, config, deepseek_v4_names.older(tensors, layers, Joins, **how), ""
    # transformers has no MTP, whatever its configuration promises.
    yield "modules of transformers", plain_config, deepseek_v4_names.modules(values, experts, Joins), "--mtp drop"
    yield "modules as transformers saves them", plain_config, deepseek_v4_names.saved_modules(values, experts, Joins), "--mtp drop"
    yield "the release's names as transformers saves them", plain_config, deepseek_v4_names.saved(values), "--mtp drop"


def bare(config, tensors):
    return "names without model.", config, {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, ""


def as_qwen2(config, tensors):
    out = {}
    for name, tensor in tensors.items():
        if re.search(r"\.[qk]_norm\.", name):
            continue
        out[name] = tensor
        if re.search(r"\.[qkv]_proj\.weight$", name):
            rows = tensor.shape[0]
            out[name.replace(".weight", ".bias")] = Tensor(tensor.dtype, [rows], tensor.data[: rows * SIZES[tensor.dtype]])
    config = {key: value for key, value in config.items() if key != "attention_bias"}
    return "Qwen3's tensors as a Qwen2", {**config, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, out, ""


def as_mixtral(config, tensors):
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    out = {}
    for name, tensor in tensors.items():
        if not re.search(r"\.[qk]_norm\.", name):
            name = name.replace(".mlp.", ".block_sparse_moe.")
            out[re.sub(r"(experts\.\d+\.)(\w+)", lambda match: match[1] + names[match[2]], name)] = tensor
    config = {**config, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": config["num_experts"],
              "intermediate_size": config["moe_intermediate_size"]}
    for key in ("num_experts", "moe_intermediate_size", "decoder_sparse_step", "mlp_only_layers", "norm_topk_prob"):
        del config[key]
    return "Qwen3's tensors as a Mixtral", config, out, ""


def spellings(source, plain):
    """(what, config, tensors, options) of each"""
    architecture = source[0]["architectures"][0]
    if architecture == "DeepseekV4ForCausalLM":
        yield from deepseek_v4(source, plain)
        return
    yield bare(*source)
    other = {"Qwen3ForCausalLM": as_qwen2, "Qwen3MoeForCausalLM": as_mixtral}.get(architecture)
    if other:
        what, config, tensors, options = other(*source)
        yield what, config, tensors, options
        _, _, tensors, options = bare(config, tensors)
        yield f"{what}, without model.", config, tensors, options


def main(hf, plain, out):
    for number, (what, config, tensors, options) in enumerate(spellings(read_folder(hf), read_folder(plain))):
        assert all(len(tensor.data) == SIZES[tensor.dtype] * math.prod(tensor.shape) for tensor in tensors.values())
        folder = pathlib.Path(out) / str(number)
        write_folder(hf, folder, config, tensors)
        print(folder, what, options, sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
