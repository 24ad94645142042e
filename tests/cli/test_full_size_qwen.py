"""Qwen3.5 and 3.6 in size and names, as test_full_size.py has DeepSeek-V3. The lists of tensors are computed from the layout, not observed."""
import dataclasses
import json

import pytest

from helpers import run
from sparse_model import check_refused, write_sparse

TEXT = {
    "attn_output_gate": True, "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu", "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_num_key_heads": 16, "linear_value_head_dim": 128, "max_position_embeddings": 262144, "mtp_num_hidden_layers": 1, "rms_norm_eps": 1e-6,
    "rope_parameters": {"mrope_interleaved": True, "mrope_section": [11, 11, 10], "partial_rotary_factor": 0.25, "rope_theta": 10000000, "rope_type": "default"},
    "vocab_size": 248320,
}
MOE = {"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512}
VISION = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "in_channels": 3, "patch_size": 16, "temporal_patch_size": 2,
    "spatial_merge_size": 2, "num_position_embeddings": 2304, "deepstack_visual_indexes": [],
}
A3B = {"hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16, "num_key_value_heads": 2, "linear_num_value_heads": 32, **MOE}
MIB = 1 << 20


@dataclasses.dataclass
class Release:
    text: dict
    tensors: int
    bytes: int

    @property
    def config(self):
        kind = "Moe" if "num_experts" in self.text else ""
        return {"architectures": [f"Qwen3_5{kind}ForConditionalGeneration"], "tie_word_embeddings": False, "text_config": {**TEXT, **self.text},
                "vision_config": {**VISION, "out_hidden_size": self.text["hidden_size"]}}

    @property
    def megatron_tensors(self):
        """Keys: each layer's own, the vision tower's blocks stacked."""
        full, mlp = 5, 3
        layers = self.text["num_hidden_layers"]
        if "num_experts" in self.text:
            mlp = 7
        linear = 1 + 3 + 3 + 3 + 2 + 1 + 1  # norm, in_proj in six parts, conv1d in three, A_log, dt_bias, out_norm, out_proj
        return layers // 4 * (full + 3 * linear) + layers * mlp + (full + mlp + 4) + 3 + (12 + 9)


RELEASES = {
    "qwen3_5_27b": Release({"hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 24, "num_key_value_heads": 4, "linear_num_value_heads": 48,
                            "intermediate_size": 17408}, 1_199, 55_562_872_800),
    "qwen3_5_35b_a3b": Release(A3B, 1_811, 71_903_655_008),
    "qwen3_6_35b_a3b": Release(A3B, 1_045, 71_903_645_408),
    "qwen3_5_397b_a17b": Release({**A3B, "hidden_size": 4096, "num_hidden_layers": 60, "num_attention_heads": 32, "linear_num_value_heads": 64, "num_experts": 512,
                                  "num_experts_per_tok": 10, "moe_intermediate_size": 1024, "shared_expert_intermediate_size": 1024}, 2_924, 806_795_875_168),
}


@pytest.fixture(scope="module", params=RELEASES)
def release(request, tmp_path_factory):
    """(what is known, a folder of sparse files)"""
    known = RELEASES[request.param]
    path = tmp_path_factory.mktemp("full") / request.param
    write_sparse(path, f"{request.param}.tsv.gz", known.config, 5_000_000_000)
    return known, path


def test_plan(release, tmp_path):
    """Every tensor has its place, and none becomes larger or smaller."""
    known, folder = release
    done = run("convert-hf", folder, tmp_path / "out", "--dry-run", "--memory", "256MiB", "--report", tmp_path / "report.json", expect=0)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["source_tensors"], report["source_bytes"]) == (known.tensors, known.bytes)
    assert (report["target_tensors"], report["target_tensor_bytes"]) == (known.megatron_tensors, known.bytes)
    assert report["dropped"] == []
    assert max(done.peak_bytes, report["peak_rss_bytes"]) <= (256 + 64) * MIB
    assert not (tmp_path / "out").exists()


LOSSES = {
    "an expert less": ({"num_experts": 255}, ["model.language_model.layers.0.mlp.gate.weight", "[255, 2048]"]),
    "a layer less": ({"num_hidden_layers": 36}, ["unknown", "model.language_model.layers.36."]),
    "a layer more": ({"num_hidden_layers": 44}, ["missing", "model.language_model.layers.40."]),
    "attention one layer early": ({"layer_types": (["linear_attention"] * 2 + ["full_attention", "linear_attention"]) * 9 + ["linear_attention"] * 3 + ["full_attention"]},
                                  ["missing", "model.language_model.layers.2.self_attn.q_proj.weight"]),
    "no MTP counted": ({"mtp_num_hidden_layers": 0}, ["19 tensors mtp.*", "--mtp drop"]),
}


@pytest.mark.parametrize("release", ["qwen3_6_35b_a3b"], indirect=True)
@pytest.mark.parametrize("case", LOSSES)
def test_losses(case, release, tmp_path):
    known, folder = release
    fields, words = LOSSES[case]
    check_refused(folder, {"text_config": {**known.config["text_config"], **fields}}, words, tmp_path / "out")
