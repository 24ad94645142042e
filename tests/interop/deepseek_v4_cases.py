"""The DeepSeek-V4 checkpoints the tests convert."""
import dataclasses
import json
import pathlib

import torch

from oracles import deepseek_v4, deepseek_v4_model, deepseek_v4_names, hf_files

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "data"
FIXTURE = DATA / "deepseek_v4_fp8fp4" / "hf"
DEV = DATA / "megatron_written" / "deepseek_v4_dev"  # what Megatron-LM dev wrote from it


@dataclasses.dataclass
class Source:
    config: dict
    folder: pathlib.Path
    state: dict[str, torch.Tensor]  # as in the files


# Several blocks of 128 both ways, the last partial: 160 = 128 + 32, 288 = 2 x 128 + 32. Three streams, no power of two.
_ODD = dict(hidden_size=160, moe_intermediate_size=288, q_lora_rank=144, o_lora_rank=80, hc_mult=3, num_attention_heads=5, o_groups=5, n_routed_experts=3,
            vocab_size=131, num_experts_per_tok=3)

# name: (form, config, seed, files)
GENERATED = {
    "fp8fp4": ("fp8fp4", deepseek_v4_model.config(), 1, 3),
    "fp8fp4_odd_mtp2": ("fp8fp4", deepseek_v4_model.config(mtp=2, num_hash_layers=1, compress_ratios=[128, 4, 0, 4, 0], **_ODD), 2, 2),
    "fp8fp4_spare_zeros": ("fp8fp4", deepseek_v4_model.config(mtp=0, num_hidden_layers=3, num_hash_layers=3, n_shared_experts=2,
                                                              compress_ratios=[4, 4, 128, 0, 0, 0]), 3, 1),
    "base": ("base", deepseek_v4_model.config("base", num_hash_layers=0), 4, 2),
    "base_odd": ("base", deepseek_v4_model.config("base", mtp=2, compress_ratios=[0, 0, 128, 4, 0, 0], **_ODD), 5, 3),
    "base_e8m0": ("base_e8m0", deepseek_v4_model.config("base_e8m0", mtp=0, compress_ratios=[4, 0, 4, 128]), 6, 2),
    "bf16": ("bf16", deepseek_v4_model.config("bf16"), 7, 2),
    # Equal shapes wherever the model allows, and two layers of one kind: here a wrong table is not found out by shapes.
    "mistakes": ("fp8fp4", deepseek_v4_model.config(mtp=2, hidden_size=64, moe_intermediate_size=64, q_lora_rank=64, head_dim=64, index_head_dim=64,
                                                    o_lora_rank=32, compress_ratios=[4, 4, 128, 4, 0]), 8, 1),
}
# The plain weights of another, multi-token prediction in its oldest names.
OLDER = {"joined": ("mistakes", dict(joined=True, norm="final_layernorm"))}
NAMES = ["fixture", *GENERATED]
QUANTIZED = [name for name in NAMES if name != "bf16"]


def make(name, folder):
    """The Source of a case; what is generated lies in `folder`/model."""
    if name == "fixture":
        return Source(json.loads((FIXTURE / "config.json").read_text()), FIXTURE, hf_files.read_safetensors(FIXTURE))
    path = folder / "model"
    if name in OLDER:
        of, how = OLDER[name]
        form, config, seed, files = GENERATED[of]
        state = deepseek_v4.plain(deepseek_v4_model.state_dict(config, form, seed))
        state = deepseek_v4_names.older(state, config["num_hidden_layers"], deepseek_v4.Joins, **how)
        config = {key: value for key, value in config.items() if key not in ("quantization_config", "expert_dtype")}
    else:
        form, config, seed, files = GENERATED[name]
        state = deepseek_v4_model.state_dict(config, form, seed)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config, indent=2))
    (path / "tokenizer.json").write_text('{"version": "1.0"}')
    hf_files.write_safetensors(path, state, files)
    return Source(config, path, state)
