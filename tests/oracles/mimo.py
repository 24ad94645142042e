"""MiMo-7B, which transformers does not have: Qwen2 with multi-token prediction under names of its own, those of MiMo's modeling file."""
import json
import pathlib
import re

import torch

from oracles import hf_files

FRAME = {"enorm": "token_layernorm", "hnorm": "hidden_layernorm", "eh_proj": "input_proj", "shared_head.norm": "final_layernorm"}


def as_mimo(arch, mtp):
    """The tensors of the depths, which hf_files spells as DeepSeek-V3 does, as MiMo has them: [hidden | embedding] in input_proj."""
    out = {}
    for name, tensor in mtp.items():
        number, inner, kind = re.fullmatch(r"model\.layers\.(\d+)\.(.*)\.(weight|bias)", name).groups()
        if inner not in ("embed_tokens", "shared_head.head"):
            place = f"model.mtp_layers.{int(number) - arch.layers}.{FRAME.get(inner, inner)}.{kind}"
            out[place] = torch.cat(tensor.chunk(2, dim=1)[::-1], dim=1) if inner == "eh_proj" else tensor
    return out


def make(folder, arch, state, mtp, files):
    """Turns the folder of a Qwen2 that holds `state` into a MiMo with these depths; returns its tensors."""
    state = state | as_mimo(arch, mtp)
    hf_files.write_safetensors(folder, state, files)
    file = pathlib.Path(folder) / "config.json"
    config = json.loads(file.read_text())
    config.update(architectures=["MiMoForCausalLM"], model_type="mimo", num_nextn_predict_layers=arch.mtp)
    file.write_text(json.dumps(config))
    return state
