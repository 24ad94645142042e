"""The converter a user would write by hand, to race against: Qwen3 and Qwen3-MoE on a CPU.

    python3 tests/perf/python_converter.py convert HF_DIR DIST_DIR
    python3 tests/perf/python_converter.py export  DIST_DIR HF_DIR CONFIG_DIR
    python3 tests/perf/python_converter.py dequantize HF_DIR OUT_DIR
    python3 tests/perf/python_converter.py items   HF_DIR OUT_DIR

convert: safetensors -> torch operations -> megatron.core.dist_checkpointing.save. export: DCP into whole
tensors -> split -> safetensors. It is as fast as straightforward code gets: each tensor is read once and written once.
dequantize: what fp8_cast_bf16.py of DeepSeek-V3 does, on a CPU: FP8 weights times the scales of their blocks, in BF16.
items: no conversion, only what every tensor costs: read it, torch.save it into one file, as DCP's writer does.
"""

import io
import json
import os
import pathlib
import sys

import torch
import torch.distributed
from safetensors import safe_open
from safetensors.torch import save_file

SHARD_BYTES = 600_000_000


class HfReader:
    def __init__(self, folder):
        self.folder = folder
        self.map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        self.open = {}

    def __call__(self, name):
        file = self.map[name]
        if file not in self.open:
            self.open[file] = safe_open(self.folder / file, "pt")
        return self.open[file].get_tensor(name)


def megatron_tensors(get, c):
    """(tensors of their own, tensors stacked by layer: key -> [layer 0, layer 1, ...])."""
    heads, groups, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    hidden = c["hidden_size"]
    single = {
        "embedding.word_embeddings.weight": get("model.embed_tokens.weight"),
        "decoder.final_layernorm.weight": get("model.norm.weight"),
        "output_layer.weight": get("lm_head.weight"),
    }
    stacked = {}
    for layer in range(c["num_hidden_layers"]):
        hf = f"model.layers.{layer}."

        def add(key, tensor):
            stacked.setdefault("decoder.layers." + key, []).append(tensor)

        q, k, v = (get(f"{hf}self_attn.{x}_proj.weight") for x in "qkv")
        by_group = [
            q.view(groups, heads // groups * dim, hidden),
            k.view(groups, dim, hidden),
            v.view(groups, dim, hidden),
        ]
        add("self_attention.linear_qkv.weight", torch.cat(by_group, 1).reshape(-1, hidden))
        add("self_attention.linear_qkv.layer_norm_weight", get(hf + "input_layernorm.weight"))
        add("self_attention.linear_proj.weight", get(hf + "self_attn.o_proj.weight"))
        add("self_attention.q_layernorm.weight", get(hf + "self_attn.q_norm.weight"))
        add("self_attention.k_layernorm.weight", get(hf + "self_attn.k_norm.weight"))
        norm = get(hf + "post_attention_layernorm.weight")
        if "num_experts" in c:
            add("pre_mlp_layernorm.weight", norm)
            add("mlp.router.weight", get(hf + "mlp.gate.weight"))
            experts = [f"{hf}mlp.experts.{e}." for e in range(c["num_experts"])]
            fc1 = [torch.cat([get(e + "gate_proj.weight"), get(e + "up_proj.weight")]) for e in experts]
            add("mlp.experts.experts.linear_fc1.weight", torch.stack(fc1))
            fc2 = [get(e + "down_proj.weight") for e in experts]
            add("mlp.experts.experts.linear_fc2.weight", torch.stack(fc2))
        else:
            add("mlp.linear_fc1.layer_norm_weight", norm)
            gate_up = [get(hf + "mlp.gate_proj.weight"), get(hf + "mlp.up_proj.weight")]
            add("mlp.linear_fc1.weight", torch.cat(gate_up))
            add("mlp.linear_fc2.weight", get(hf + "mlp.down_proj.weight"))
    return single, stacked


def convert(source, target):
    # megatron-core 0.16 calls these without asking whether there is a GPU.
    torch.cuda.current_device = lambda: "cpu"
    torch.cuda.synchronize = lambda *args, **kwargs: None
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing import ShardedTensor

    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29555")
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    c = json.loads((source / "config.json").read_text())
    layers = c["num_hidden_layers"]
    single, stacked = megatron_tensors(HfReader(source), c)
    state = {key: ShardedTensor.from_rank_offsets(key, tensor) for key, tensor in single.items()}
    for key, tensors in stacked.items():
        for layer, tensor in enumerate(tensors):
            state[f"{key}.{layer}"] = ShardedTensor.from_rank_offsets(
                key, tensor, (0, layer, layers), prepend_axis_num=1
            )
    target.mkdir()
    dist_checkpointing.save(state, str(target))
    torch.distributed.destroy_process_group()


def hf_tensors(state, c):
    heads, groups, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    hidden = c["hidden_size"]
    out = {
        "model.embed_tokens.weight": state["embedding.word_embeddings.weight"],
        "model.norm.weight": state["decoder.final_layernorm.weight"],
        "lm_head.weight": state["output_layer.weight"],
    }
    for layer in range(c["num_hidden_layers"]):
        hf = f"model.layers.{layer}."

        def get(key):
            return state["decoder.layers." + key][layer]

        rows = heads // groups * dim
        by_group = get("self_attention.linear_qkv.weight").view(groups, rows + 2 * dim, hidden)
        for name, part in zip("qkv", by_group.split([rows, dim, dim], 1)):
            out[f"{hf}self_attn.{name}_proj.weight"] = part.reshape(-1, hidden)
        out[hf + "input_layernorm.weight"] = get("self_attention.linear_qkv.layer_norm_weight")
        out[hf + "self_attn.o_proj.weight"] = get("self_attention.linear_proj.weight")
        out[hf + "self_attn.q_norm.weight"] = get("self_attention.q_layernorm.weight")
        out[hf + "self_attn.k_norm.weight"] = get("self_attention.k_layernorm.weight")
        if "num_experts" in c:
            out[hf + "post_attention_layernorm.weight"] = get("pre_mlp_layernorm.weight")
            out[hf + "mlp.gate.weight"] = get("mlp.router.weight")
            fc1 = get("mlp.experts.experts.linear_fc1.weight")
            fc2 = get("mlp.experts.experts.linear_fc2.weight")
            for e in range(c["num_experts"]):
                expert = f"{hf}mlp.experts.{e}."
                out[expert + "gate_proj.weight"], out[expert + "up_proj.weight"] = fc1[e].chunk(2)
                out[expert + "down_proj.weight"] = fc2[e]
        else:
            out[hf + "post_attention_layernorm.weight"] = get("mlp.linear_fc1.layer_norm_weight")
            gate, up = get("mlp.linear_fc1.weight").chunk(2)
            out[hf + "mlp.gate_proj.weight"], out[hf + "mlp.up_proj.weight"] = gate, up
            out[hf + "mlp.down_proj.weight"] = get("mlp.linear_fc2.weight")
    return out


def export(source, target, config_folder):
    import torch.distributed.checkpoint as dcp

    reader = dcp.FileSystemReader(str(source))
    entries = reader.read_metadata().state_dict_metadata
    state = {
        key: torch.empty(entry.size, dtype=entry.properties.dtype)
        for key, entry in entries.items()
        if hasattr(entry, "size")
    }
    dcp.load(state, storage_reader=reader, no_dist=True)
    c = json.loads((config_folder / "config.json").read_text())
    target.mkdir()
    shard, size, number = {}, 0, 0

    def flush():
        nonlocal shard, size, number
        number += 1
        save_file(shard, target / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
        shard, size = {}, 0

    for name, tensor in hf_tensors(state, c).items():
        if shard and size + tensor.nbytes > SHARD_BYTES:
            flush()
        # save_file refuses views that share storage.
        shard[name] = tensor.clone() if tensor._is_view() else tensor
        size += tensor.nbytes
    flush()


def dequantize(source, target):
    get = HfReader(source)
    target.mkdir()
    for file in sorted(set(get.map.values())):
        shard = {}
        for name in (name for name, its_file in get.map.items() if its_file == file):
            tensor = get(name)
            if name.endswith("_scale_inv"):
                continue
            if tensor.dtype == torch.float8_e4m3fn:
                rows, columns = tensor.shape
                scales = get(name + "_scale_inv").repeat_interleave(128, 0)[:rows]
                scales = scales.repeat_interleave(128, 1)[:, :columns]
                tensor = (tensor.float() * scales).bfloat16()
            shard[name] = tensor
        save_file(shard, target / file, metadata={"format": "pt"})


def items(source, target):
    get = HfReader(source)
    target.mkdir()
    with open(target / "items", "wb") as file:
        for name in get.map:
            item = io.BytesIO()
            torch.save(get(name), item)
            file.write(item.getbuffer())


if __name__ == "__main__":
    command, *folders = sys.argv[1:]
    {"convert": convert, "export": export, "dequantize": dequantize, "items": items}[command](*map(pathlib.Path, folders))
