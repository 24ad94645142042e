"""Releases that the forward pass knows by their architecture, and what convert-hf warned of, which verify lists and does not fail for."""
import json

import pytest
import torch

from interop.conftest import DATA
from oracles import hf_files

V3 = DATA / "bridge_written" / "deepseek_v3" / "hf"
V4 = DATA / "deepseek_v4_fp8fp4" / "hf"


def changed(folder, copy, tensors=None, **fields):
    """A copy with other fields of config.json; None removes one, ... makes it null."""
    hf_files.copy_with_tensors(folder, copy, tensors or hf_files.read_safetensors(folder))
    config = json.loads((copy / "config.json").read_text())
    for key, value in fields.items():
        if value is None:
            config.pop(key, None)
        else:
            config[key] = None if value is ... else value
    (copy / "config.json").write_text(json.dumps(config, indent=2))
    return copy


def verified(folder, causeway, tmp_path, warns=False):
    converted = causeway("convert-hf", folder, tmp_path / "root")
    assert ("warning" in converted.stderr) == warns
    done = causeway("verify", folder, tmp_path / "root")
    assert "result   identical" in done.stdout and "tensors        equal" in done.stdout
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    for file in folder.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name
    return done.stdout


def test_kimi_k2(causeway, tmp_path):
    """DeepSeek-V3's class under a model type of its own."""
    assert "forward        equal, bit for bit" in verified(changed(V3, tmp_path / "kimi", model_type="kimi_k2"), causeway, tmp_path)


@pytest.mark.parametrize("left_out", [{}, dict(routed_scaling_factor=None, swiglu_limit=None, rope_theta=None, rms_norm_eps=None)], ids=["whole", "short"])
def test_deepseek_ref(left_out, causeway, tmp_path):
    """DeepSeek-V4's class under a model type of its own, with a config.json that leaves keys to the class."""
    folder = changed(V4, tmp_path / "ref", model_type="deepseek_ref", **left_out)
    assert "forward        equal, bit for bit" in verified(folder, causeway, tmp_path)


def test_moonlight(causeway, tmp_path):
    """Queries without a rank; an epsilon that its latent norms do not share, which Megatron-Core cannot say: weights are exact, the
    configuration differs as convert-hf said, and the logits are within what fp32 allows."""
    config = json.loads((V3 / "config.json").read_text())
    generator = torch.Generator().manual_seed(1)
    rows = config["num_attention_heads"] * (config["qk_nope_head_dim"] + config["qk_rope_head_dim"])
    tensors = {name: tensor for name, tensor in hf_files.read_safetensors(V3).items() if ".q_a_" not in name and ".q_b_" not in name}
    for layer in {name.split(".self_attn.")[0] for name in tensors if ".self_attn." in name}:
        tensors[f"{layer}.self_attn.q_proj.weight"] = (0.05 * torch.randn(rows, config["hidden_size"], generator=generator)).bfloat16()
    folder = changed(V3, tmp_path / "moonlight", tensors, q_lora_rank=..., rms_norm_eps=1e-5)
    out = verified(folder, causeway, tmp_path, warns=True)
    assert "layers.0.attention.latent_eps: 1e-06 and 1e-05" in out and "forward        equal" in out
