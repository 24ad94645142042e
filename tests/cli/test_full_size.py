"""The real DeepSeek-V3 in size and names: 91,991 tensors, 688,574,839,360 bytes in 163 files whose headers are real and whose payload
is a hole. A dry run reads headers only, so it shows that plan and accounting stay within --memory at full size."""
import json

import pytest

from helpers import run
from safetensors_raw import INDEX
from sparse_model import check_refused, write_sparse

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "torch_dtype": "bfloat16", "vocab_size": 129280, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_nextn_predict_layers": 1, "num_attention_heads": 128,
    "num_key_value_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256, "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 1536,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8,
    "moe_layer_freq": 1, "first_k_dense_replace": 3, "norm_topk_prob": True, "scoring_func": "sigmoid", "hidden_act": "silu", "tie_word_embeddings": False,
    "max_position_embeddings": 163840, "initializer_range": 0.02, "rms_norm_eps": 1e-6, "attention_bias": False, "attention_dropout": 0.0, "rope_theta": 10000,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
}
LARGEST_SHARD = 4_240_000_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sparse files: the 640 GiB take some 10 MiB."""
    path = tmp_path_factory.mktemp("full") / "DeepSeek-V3"
    assert write_sparse(path, "deepseek_v3.tsv.gz", CONFIG, LARGEST_SHARD) == 163
    return path


def weight_map(folder):
    return json.loads((folder / INDEX).read_text())["weight_map"]


@pytest.mark.parametrize("memory", (256, 128))
def test_plan(memory, folder, tmp_path):
    """Every tensor has its place, within what --memory allows and 64 MiB for the program itself."""
    done = run("convert-hf", folder, tmp_path / "out", "--dry-run", "--memory", f"{memory}MiB", "--report", tmp_path / "report.json", expect=0)
    print(done)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["source_tensors"], report["source_bytes"]) == (91_991, 688_574_839_360)
    assert report["quantized_tensors"] == sum(name.endswith("_scale_inv") for name in weight_map(folder))
    assert [each["name"] for each in report["dropped"]] == ["model.layers.61.embed_tokens.weight", "model.layers.61.shared_head.head.weight"]
    # Attention with its norm has 8 tensors a layer, a dense MLP 3, an MoE one 7 (all routed experts are two), MTP 4 of its own.
    assert report["target_tensors"] == 3 * (8 + 3) + 58 * (8 + 7) + (8 + 7 + 4) + 3
    # 682,636,487,424 weights in BF16, the biases of 59 routers in F32 among them; an item adds less than 2 KiB. Two items for
    # [gate; up], each expert its own.
    payload = 2 * 682_636_487_424 + 2 * 59 * 256
    items = 3 * (8 + 4) + 58 * (8 + 3 + 256 * 3 + 3) + (8 + 3 + 256 * 3 + 3 + 4) + 3
    assert payload < report["target_bytes"] < payload + 2048 * items
    assert max(done.peak_bytes, report["peak_rss_bytes"]) <= (memory + 64) * MIB
    assert not (tmp_path / "out").exists()


LOSSES = {
    "an expert less": ({"n_routed_experts": 255}, ["354 unknown", "layers.10.mlp.experts.255."]),
    "an expert more": ({"n_routed_experts": 257}, ["177 missing", "layers.3.mlp.experts.256."]),
    "a layer less": ({"num_hidden_layers": 60}, ["model.layers.61.*", "num_nextn_predict_layers"]),
    "a dense layer less": ({"first_k_dense_replace": 2}, ["model.layers.2.mlp.gate.weight", "missing"]),
}


@pytest.mark.parametrize("case", LOSSES)
def test_losses(case, folder, tmp_path):
    fields, words = LOSSES[case]
    check_refused(folder, fields, words, tmp_path / "out", mebibytes=128)
