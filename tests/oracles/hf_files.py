"""Hugging Face folders written by hand: what transformers does not write itself.

1. The layers of multi-token prediction of DeepSeek-V3 at model.layers.{N + depth}, with the tensors they repeat.
2. Block-quantized weights: float8_e4m3fn and a scale for each block, as released checkpoints hold them.
3. config.json in the dialect of the releases (rope_scaling, torch_dtype, scoring_func, ...).
"""
import json
import pathlib
import shutil

import safetensors
import safetensors.torch
import torch

from oracles import mapping


def read_safetensors(folder):
    """{name: tensor} of all shards of a Hugging Face folder; a name in two files is an error."""
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        part = safetensors.torch.load_file(file)
        assert not tensors.keys() & part.keys(), f"{file}: a tensor is in two files"
        tensors.update(part)
    return tensors


def names(file):
    with safetensors.safe_open(file, "pt") as tensors:
        return list(tensors.keys())


def write_safetensors(folder, tensors, files=1):
    """Replaces the tensors of a folder. Several files are filled in turn, so a weight and its scale lie in different ones."""
    folder = pathlib.Path(folder)
    for old in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        old.unlink()
    if files == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map, names = {}, list(tensors)
    for index in range(files):
        file = f"model-{index + 1:05}-of-{files:05}.safetensors"
        part = {name: tensors[name] for name in names[index::files]}
        safetensors.torch.save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    total = sum(tensor.nbytes for tensor in tensors.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2))


def mtp_tensors(arch, state, seed):
    """The tensors of the MTP layers: random, in the shapes of the last decoder layer, and the duplicates."""
    generator = torch.Generator().manual_seed(seed)

    def like(name, tensor):
        noise = torch.randn(tensor.shape, generator=generator)
        return (1 + 0.2 * noise if "norm" in name else 0.1 * noise).to(tensor.dtype)

    out, last = {}, f"model.layers.{arch.layers - 1}."
    norm = state["model.norm.weight"]
    for depth in range(arch.mtp):
        h = f"model.layers.{arch.layers + depth}."
        out.update({h + name.removeprefix(last): like(name, tensor) for name, tensor in state.items() if name.startswith(last)})
        out.update({h + name: like(name, norm) for name in ("enorm.weight", "hnorm.weight", mapping.mtp_final_norm(arch))})
        out[h + "eh_proj.weight"] = like("eh_proj", torch.empty(arch.hidden, 2 * arch.hidden, dtype=norm.dtype))
    out.update({name: state[original].clone() for name, original in mapping.duplicates(arch).items()})
    return out


def released_config(folder, arch):
    """Rewrites config.json as DeepSeek-V3 and V3.2 were released."""
    file, mla = pathlib.Path(folder) / "config.json", arch.mla
    yarn = dict(type="yarn", factor=mla.yarn_factor, original_max_position_embeddings=mla.yarn_positions, beta_fast=32, beta_slow=1, mscale=mla.mscale,
                mscale_all_dim=mla.mscale_all_dim)
    config = json.loads(file.read_text())
    for key in ("rope_parameters", "dtype", "rope_interleave", "qk_head_dim", "head_dim", "layer_types", "mlp_layer_types"):
        config.pop(key, None)
    config.update(
        torch_dtype=arch.dtype, rope_theta=int(arch.rope_base), scoring_func="sigmoid", topk_method="noaux_tc",
        moe_layer_freq=1, ep_size=1, seq_aux=True, aux_loss_alpha=0.001, num_nextn_predict_layers=arch.mtp, transformers_version="4.33.1",
        rope_scaling=yarn if mla.yarn_factor else None)
    file.write_text(json.dumps(config, indent=2))


def add_quantization_config(folder, block, kept):
    quantization = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": list(block)}
    set_quantization_config(folder, quantization | ({"modules_to_not_convert": kept} if kept else {}))


def set_quantization_config(folder, quantization):
    file = pathlib.Path(folder) / "config.json"
    config = json.loads(file.read_text()) | {"quantization_config": quantization}
    file.write_text(json.dumps(config, indent=2))


def copy_with_tensors(folder, copy, tensors):
    """A copy of a folder that holds other tensors, in one file."""
    shutil.copytree(folder, copy)
    write_safetensors(copy, tensors)
    return copy
