"""Training steps through hyper-connections: Megatron-LM main's against a recorded step of the real code (data/megatron_main_mhc),
DeepSeek-V4's, multi-token prediction included, against a recorded step of NeMo Automodel; recomputation; what is refused."""
import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop.conftest import DATA
from interop.test_train_step import compare, step  # noqa: F401  (step is a fixture)
from oracles import automodel_deepseek_v4, hf_files

MAIN = DATA / "megatron_main_mhc" / "checkpoint"


@pytest.fixture(scope="module")
def recorded():
    return load_file(DATA / "megatron_main_mhc" / "step.safetensors")


def gradients(tensors):
    return {name.removeprefix("grad."): tensor for name, tensor in tensors.items() if name.startswith("grad.")}


def batch_file(path, recorded):
    save_file({name: recorded[name][None].clone() for name in ("input_ids", "labels", "loss_mask")}, path)
    return path


def test_megatron_main(step, recorded, tmp_path):
    """Stacked layers, as its sharded_state_dict has them, and the arguments of the run."""
    result, dump = step(MAIN, "--tokens", batch_file(tmp_path / "batch.safetensors", recorded))
    assert dump["loss.main"].tolist() == pytest.approx(recorded["loss"].tolist(), rel=1e-5)
    assert result["mtp"] == [] and result["gradients"]["without_gradient"] == []
    compare(gradients(dump), gradients(recorded), 1e-4)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_recomputation_of_megatron_main(layers, step, recorded, tmp_path):
    """As many bytes as the real code discarded, whose gradients did not change by a bit."""
    batch = batch_file(tmp_path / "batch.safetensors", recorded)
    _, kept = step(MAIN, "--tokens", batch)
    result, dump = step(MAIN, "--tokens", batch, "--mhc-recompute-layers", layers)
    assert result["mhc_recompute"]["layers"] == layers and result["mhc_recompute"]["equal"]
    assert result["mhc_recompute"]["dropped_bytes"] == int(recorded[f"discarded.{layers}"])
    assert dump.keys() == kept.keys() and all(torch.equal(dump[name], kept[name]) for name in kept)


def test_megatron_main_has_no_hugging_face_form(causeway, tmp_path):
    done = causeway("export-to-hf", MAIN, tmp_path / "hf", expect=5)
    assert "hyper-connections of Megatron-LM main" in done.stderr


# ---- DeepSeek-V4 ----


@pytest.fixture(scope="module")
def automodel():
    return load_file(DATA / "automodel_deepseek_v4.safetensors")


@pytest.fixture(scope="module")
def deepseek_v4(tmp_path_factory):
    folder = tmp_path_factory.mktemp("automodel") / "hf"
    folder.mkdir()
    config, state = automodel_deepseek_v4.source()
    (folder / "config.json").write_text(json.dumps(config))
    hf_files.write_safetensors(folder, state, 1)
    return folder


def tokens(automodel):
    return ",".join(map(str, automodel["input_ids"].tolist()))


def test_automodel(step, causeway, deepseek_v4, automodel, tmp_path):
    """Gradients of hyper-connections are small sums of large numbers: two real implementations differ by 7e-5 of their norm."""
    root = tmp_path / "root"
    causeway("convert-hf", deepseek_v4, root)
    _, dump = step(deepseek_v4, "--tokens", tokens(automodel))
    for head in ("loss.main", "loss.mtp.0"):
        assert dump[head].tolist() == pytest.approx(automodel[head].tolist(), rel=1e-5)
    found, expected = gradients(dump), gradients(automodel)
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        allowed = 5e-4 * float(want.norm()) + 1e-6 if "hc_" in name else 1e-4 * float(want.norm()) + 1e-7
        assert float((found[name] - want).norm()) <= allowed, name
    result, _ = step(deepseek_v4, root, "--tokens", tokens(automodel))
    assert result["equal"] and result["sides"]["bit_for_bit"]


def test_a_depth_that_is_fed_contracted_streams_is_another_step(step, deepseek_v4, automodel):
    """Automodel's own loss of the depth, fed the mean of the streams instead of each."""
    _, dump = step(deepseek_v4, "--tokens", tokens(automodel))
    found, contracted = float(dump["loss.mtp.0"][0]), float(automodel["contracted.mtp.0"])
    assert abs(found - contracted) > 1e-3 * contracted


def test_recomputation_of_deepseek_v4(step, deepseek_v4, automodel):
    """Two layers, each a block of its own: inputs and norms of 4 parts, and the streams after 2 of them."""
    config, _ = automodel_deepseek_v4.source()
    result, _ = step(deepseek_v4, "--tokens", tokens(automodel), "--mhc-recompute-layers", 1)
    width = 4 * len(automodel["input_ids"]) * config["hidden_size"]
    assert result["mhc_recompute"]["equal"] and result["mhc_recompute"]["largest_loss_difference"] == 0
    assert result["mhc_recompute"]["dropped_bytes"] == width * (4 + 4 + 2 * config["hc_mult"])


# ---- refusals ----

CONFIG = dict(
    num_layers=3, hidden_size=16, ffn_hidden_size=24, num_attention_heads=4, num_query_groups=2, kv_channels=8, qk_layernorm=True, layernorm_epsilon=1e-6,
    normalization="RMSNorm", add_bias_linear=False, hidden_dropout=0.0, attention_dropout=0.0, gated_linear_unit=True, vocab_size=37, position_embedding_type="rope",
    activation_func={"_target_": "torch.nn.functional.silu"}, share_embeddings_and_output_weights=False, enable_mhc_connections=True, mhc_num_residual_streams=4)

REFUSED = {
    "depths": (dict(mtp_num_layers=1), 5, ["enable_mhc_connections", "mtp_num_layers"]),
    "experts": (dict(num_moe_experts=4), 5, ["enable_mhc_connections", "num_moe_experts"]),
    "dev's": (dict(enable_hyper_connections=True), 5, ["enable_mhc_connections", "enable_hyper_connections"]),
    "a residual in fp32": (dict(fp32_residual_connection=True), 5, ["enable_mhc_connections", "fp32_residual_connection"]),
    "fused communication": (dict(inference_fuse_tp_communication=True), 5, ["enable_mhc_connections", "inference_fuse_tp_communication"]),
    "stages": (dict(pipeline_model_parallel_size=2), 5, ["enable_mhc_connections", "pipeline_model_parallel_size"]),
    "whole layers again": (dict(recompute_granularity="full"), 5, ["recompute_granularity", "enable_mhc_connections"]),
    "MLPs again": (dict(recompute_granularity="selective", recompute_modules=["mhc", "mlp"]), 5, ["'mhc'", "'mlp'"]),
    "offloading": (dict(recompute_granularity="selective", recompute_modules=["mhc"], fine_grained_activation_offloading=True), 5,
                   ["'mhc'", "fine_grained_activation_offloading"]),
    "without streams": (dict(enable_mhc_connections=False, recompute_granularity="selective", recompute_modules=["mhc"]), 3, ["hyper_connection"]),
    "blocks of no layers": (dict(recompute_granularity="selective", recompute_modules=["mhc"], mhc_recompute_layer_num=0), 3, ["mhc_recompute_layer_num"]),
    "blocks of true layers": (dict(recompute_granularity="selective", recompute_modules=["mhc"], mhc_recompute_layer_num=True), 3, ["mhc_recompute_layer_num"]),
    "no steps": (dict(mhc_sinkhorn_iterations=0), 3, ["the number of Sinkhorn steps is 0"]),
    "a negative start": (dict(mhc_init_gating_factor=-0.1), 3, ["mhc_init_gating_factor"]),
    "no streams": (dict(mhc_num_residual_streams=0), 3, ["mhc_num_residual_streams"]),
}


def run_config(path, **settings):
    path.write_text(yaml.safe_dump({"model": CONFIG | settings}))
    return path


def test_a_run_config_for_megatron_main(step, tmp_path):
    result, _ = step(MAIN, "--run-config", run_config(tmp_path / "run_config.yaml"))
    plain, _ = step(MAIN)
    assert result["main"] == plain["main"]


@pytest.mark.parametrize("asked, layers, dropped", [({}, 3, 3), (dict(mhc_recompute_layer_num=2), 2, 2), (dict(mhc_recompute_layer_num=1), 1, 1)])
def test_the_checkpoint_decides_what_is_computed_again(asked, layers, dropped, step, recorded, tmp_path):
    """Without an option; --mhc-recompute-layers and --recompute replace what it says."""
    config = run_config(tmp_path / "run_config.yaml", recompute_granularity="selective", recompute_modules=["mhc"], **asked)
    batch = batch_file(tmp_path / "batch.safetensors", recorded)
    result, dump = step(MAIN, "--run-config", config, "--tokens", batch)
    assert result["mhc_recompute"]["layers"] == layers and "recompute_modules" in result["mhc_recompute"]["from"] and result["mhc_recompute"]["equal"]
    assert result["mhc_recompute"]["dropped_bytes"] == int(recorded[f"discarded.{dropped}"])
    _, kept = step(MAIN, "--run-config", config, "--tokens", batch, "--recompute", "none")
    assert dump.keys() == kept.keys() and all(torch.equal(dump[name], kept[name]) for name in kept)
    other = 1 if layers != 1 else 3
    result, _ = step(MAIN, "--run-config", config, "--tokens", batch, "--mhc-recompute-layers", other)
    assert result["mhc_recompute"]["layers"] == other and result["mhc_recompute"]["from"] == "--mhc-recompute-layers"
    result, _ = step(MAIN, "--run-config", config, "--tokens", batch, "--recompute", "none")
    assert "mhc_recompute" not in result


@pytest.mark.parametrize("name", REFUSED)
def test_configurations_that_megatron_refuses(name, causeway_verify, tmp_path):
    settings, status, words = REFUSED[name]
    done = causeway_verify(MAIN, "--mode", "train-step", "--run-config", run_config(tmp_path / "run_config.yaml", **settings), expect=status)
    assert all(word in done.stderr for word in words), done.stderr


def test_blocks_of_layers_without_hyper_connections(causeway_verify, converted):
    done = causeway_verify(converted("qwen3", "te"), "--mode", "train-step", "--mhc-recompute-layers", 1, expect=2)
    assert "--mhc-recompute-layers 1" in done.stderr and "enable_mhc_connections" in done.stderr
    done = causeway_verify(converted("qwen3", "te"), converted("qwen3", "te"), "--mhc-recompute-layers", 1, expect=2)
    assert "--mode train-step" in done.stderr
