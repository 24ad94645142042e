"""DeepSeek-V4-Flash and -Pro in size and names, as test_full_size.py has DeepSeek-V3: 69,187 tensors of 159,609,485,896 bytes and
145,116 of 864,704,792,696. What they become is known to the byte from Megatron-LM dev, built in full size on torch's meta device."""
import dataclasses
import json

import pytest

from helpers import edit_config, run
from sparse_model import check_refused, write_sparse

COMMON = {
    "architectures": ["DeepseekV4ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1, "hc_eps": 1e-6, "hc_mult": 4,
    "hc_sinkhorn_iters": 20, "head_dim": 512, "hidden_act": "silu", "index_head_dim": 128, "index_n_heads": 64, "initializer_range": 0.02,
    "max_position_embeddings": 1048576, "model_type": "deepseek_v4", "n_shared_experts": 1, "norm_topk_prob": True, "num_experts_per_tok": 6,
    "num_hash_layers": 3, "num_key_value_heads": 1, "num_nextn_predict_layers": 1, "o_lora_rank": 1024, "qk_rope_head_dim": 64, "expert_dtype": "fp4",
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
    "rms_norm_eps": 1e-6, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 16, "original_max_position_embeddings": 65536, "type": "yarn"},
    "rope_theta": 10000, "scoring_func": "sqrtsoftplus", "sliding_window": 128, "swiglu_limit": 10.0, "tie_word_embeddings": False, "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16", "vocab_size": 129280, "compress_rope_theta": 160000,
}
FLASH = {**COMMON, "hidden_size": 4096, "num_hidden_layers": 43, "num_attention_heads": 64, "q_lora_rank": 1024, "o_groups": 8, "n_routed_experts": 256,
         "moe_intermediate_size": 2048, "routed_scaling_factor": 1.5, "index_topk": 512, "compress_ratios": [0, 0] + [4, 128] * 20 + [4, 0]}
PRO = {**COMMON, "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536, "o_groups": 16, "n_routed_experts": 384,
       "moe_intermediate_size": 3072, "routed_scaling_factor": 2.5, "index_topk": 1024, "compress_ratios": [128, 128] + [4, 128] * 29 + [4, 0]}
MIB = 1 << 20


@dataclasses.dataclass
class Release:
    keys: str
    config: dict
    largest_shard: int
    tensors: int
    bytes: int
    quantized: int  # tensors with scales
    megatron_tensors: int  # of Megatron-LM dev's model
    megatron_bytes: int


RELEASES = {
    "flash": Release("deepseek_v4_flash.tsv.gz", FLASH, 3_700_000_000, 69_187, 159_609_485_896, 34_167, 1_448, 581_966_222_920),
    "pro": Release("deepseek_v4_pro.tsv.gz", PRO, 13_960_000_000, 145_116, 864_704_792_696, 71_952, 2_050, 3_197_859_556_472),
}


@pytest.fixture(scope="module", params=RELEASES)
def release(request, tmp_path_factory):
    """(what is published, a folder of sparse files)"""
    published = RELEASES[request.param]
    path = tmp_path_factory.mktemp("full") / request.param
    write_sparse(path, published.keys, published.config, published.largest_shard)
    return published, path


def test_plan(release, tmp_path):
    """Every tensor has its place, and the bytes of the tensors are those of Megatron's model."""
    published, folder = release
    done = run("convert-hf", folder, tmp_path / "out", "--dry-run", "--memory", "256MiB", "--report", tmp_path / "report.json", expect=0)
    print(done)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["source_tensors"], report["source_bytes"]) == (published.tensors, published.bytes)
    assert report["quantized_tensors"] == published.quantized
    assert report["dropped"] == []
    assert report["target_tensors"] == published.megatron_tensors
    assert report["target_tensor_bytes"] == published.megatron_bytes
    assert max(done.peak_bytes, report["peak_rss_bytes"]) <= (256 + 64) * MIB
    assert done.cpu_seconds < 10, done
    assert not (tmp_path / "out").exists()


def test_without_mtp(release, tmp_path):
    published, folder = release
    done = run("convert-hf", folder, tmp_path / "out", "--dry-run", "--mtp", "drop", "--report", tmp_path / "report.json", expect=0)
    report = json.loads((tmp_path / "report.json").read_text())
    # The frame: e_proj, h_proj, three norms, three of the head; the block: 26 of a layer without compression.
    assert report["target_tensors"] == published.megatron_tensors - 34
    assert report["dropped_mtp_tensors"] == {"flash": 1_575, "pro": 2_343}[folder.name]
    assert done.peak_bytes <= (256 + 64) * MIB


def test_mtp_that_nothing_counts(release, tmp_path):
    """Dropped by name, all of it, with its scales."""
    published, folder = release
    edit_config(folder, num_nextn_predict_layers=0)
    try:
        done = run("convert-hf", folder, tmp_path / "out", "--dry-run", "--report", tmp_path / "report.json", expect=0)
    finally:
        (folder / "config.json").write_text(json.dumps(published.config))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["target_tensors"] == published.megatron_tensors - 34
    assert len(report["dropped"]) == {"flash": 1_575, "pro": 2_343}[folder.name]
    assert all(each["name"].startswith("mtp.0.") for each in report["dropped"])
    assert done.peak_bytes <= (256 + 64) * MIB


LOSSES = {
    "an expert less": ({"n_routed_experts": 255}, ["unknown", ".ffn.experts.255."]),
    "an expert more": ({"n_routed_experts": 1000}, ["missing", ".ffn.experts.256."]),
    "a layer less": ({"num_hidden_layers": 42}, ["layers.42."]),
    "ratios one layer late": ({"compress_ratios": [0, *FLASH["compress_ratios"]]}, ["missing", "unknown", "attn.indexer."]),
    "a hash layer less": ({"num_hash_layers": 2}, ["layers.2.ffn.gate.bias", "layers.2.ffn.gate.tid2eid"]),
    "three streams": ({"hc_mult": 3}, ["layers.0.hc_attn_fn", "[15, 12288]"]),
}


@pytest.mark.parametrize("release", ["flash"], indirect=True)
@pytest.mark.parametrize("case", LOSSES)
def test_losses(case, release, tmp_path):
    fields, words = LOSSES[case]
    check_refused(release[1], fields, words, tmp_path / "out")
