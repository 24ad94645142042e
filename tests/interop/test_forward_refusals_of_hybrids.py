"""DeepSeek-V4 and Qwen3.5 checkpoints that causeway-verify must refuse."""
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file

from interop.test_forward_refusals import refused
from oracles import hf_files


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """Any: nothing is compared but what is wrong with a token's experts, which shows when they are chosen."""
    path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
    save_file({"input_ids": torch.arange(24), "logits": torch.zeros(24, 120)}, path)
    return path


def changed(source, target, state=lambda state: None, **settings):
    """A copy with other tensors and settings."""
    tensors = {name: tensor.clone() for name, tensor in source.state.items()}
    state(tensors)
    target.mkdir()
    config = json.loads((source.folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | settings))
    hf_files.write_safetensors(target, tensors, 1)
    return target


def put(name, change):
    def edit(state):
        state[name] = change(state[name]).contiguous()
    return edit


EXPERT, TABLE = "layers.0.ffn.experts.0.w1", "layers.1.ffn.gate.tid2eid"
V4_TENSORS = {
    "no_scales": (lambda state: state.pop(EXPERT + ".scale"), f"{EXPERT}.weight: quantized, but its scales are missing"),
    "scales_of_fewer_rows": (put(EXPERT + ".scale", lambda scale: scale[:-1]), f"{EXPERT}.weight: shape [64, 48] in blocks of 1 x 32 with scales of shape [63, 3]"),
    "scales_of_nothing": (lambda state: state.update({"layers.0.ffn.gate.scale": state[EXPERT + ".scale"].clone()}),
                          "layers.0.ffn.gate.scale: the model of config.json has no such tensor"),
    "no_table": (lambda state: state.pop(TABLE), f"{TABLE} is missing: the configuration asks for layers.1.router_table"),
    "a_table_of_fractions": (put(TABLE, lambda table: table.float()), f"{TABLE}: layers.1.router_table is a table of integers"),
    "a_table_of_no_expert": (put(TABLE, lambda table: table + 3), f"{TABLE}: layers.1.router_table has numbers that are not in 0 to 3"),
    "a_negative_expert": (put(TABLE, lambda table: table - 1), f"{TABLE}: layers.1.router_table has numbers that are not in 0 to 3"),
    "a_compressor_too_many": (lambda state: state.update({"layers.0.attn.compressor.ape": torch.zeros(4, 48)}),
                              "layers.0.attn.compressor.ape: the model of config.json has no such tensor"),
    "a_depth_without_its_head": (lambda state: state.pop("mtp.0.hc_head_base"), "mtp.0.hc_head_base is missing: the configuration asks for mtp.0.head_mapping.base"),
}


@pytest.mark.parametrize("name", V4_TENSORS)
def test_deepseek_v4_tensors(name, forward, v4_sources, reference, tmp_path):
    change, message = V4_TENSORS[name]
    done = forward(changed(v4_sources("fp8fp4"), tmp_path / "hf", change), reference, expect=3)
    assert message in done.stderr and len(done.stderr.splitlines()) <= 2


# name: (settings, exit status, part of the message)
V4_CONFIGS = {
    "a_draft_model": (dict(dspark_block_size=5), 5, "dspark_block_size: the draft model DSpark is not computed here"),
    "another_score": (dict(scoring_func="sigmoid"), 5, "scoring_func: sqrtsoftplus is the one that is computed here"),
    "ratios_too_few": (dict(compress_ratios=[0, 4]), 3, "compress_ratios: 2 of them, none for layer 2"),
    "a_negative_ratio": (dict(compress_ratios=[0, -4, 128, 4, 0]), 3, "the compression ratio is -4"),
    "no_streams": (dict(hc_mult=0), 3, "hc_mult: not positive"),
    "endless_streams": (dict(hc_mult=10**12), 3, "the number of residual streams is 1000000000000"),
    "no_steps": (dict(hc_sinkhorn_iters=0), 3, "the number of Sinkhorn steps is 0"),
    "groups_of_no_heads": (dict(o_groups=7), 3, "6 heads of 24 do not make 7 equal output groups"),
    "index_heads_smaller_than_what_turns": (dict(index_head_dim=4), 3, "the size of an index head is 4, not in 8"),
    "no_window": (dict(sliding_window=0), 3, "the attention window is 0"),
}


@pytest.mark.parametrize("name", V4_CONFIGS)
def test_deepseek_v4_configurations(name, forward, v4_sources, reference, tmp_path):
    settings, status, message = V4_CONFIGS[name]
    refused(forward(changed(v4_sources("fp8fp4"), tmp_path / "hf", **settings), reference, expect=status), message)


MEGATRON = {
    "an_unknown_variant": (dict(experimental_attention_variant="kda"), 5, "'kda' is not computed here"),
    "ratios_too_few": (dict(csa_compress_ratios=[0, 4, 128, 4]), 3, "csa_compress_ratios: 4 of them, none for layer 4"),
    "other_streams": (dict(num_residual_streams=3), 3, "mapping_proj.weight: layers.0.attention_mapping has shape [24, 384], the configuration asks for [15, 288]"),
    "no_streams": (dict(num_residual_streams=0), 3, "num_residual_streams: not positive"),
    "no_indexer": (dict(csa_dense_mode=True), 3, "indexer.compressor.ape: the configured model has no such tensor"),
    "main's_hyper_connections": (dict(enable_mhc_connections=True), 5, "enable_mhc_connections: with enable_hyper_connections: Megatron-LM main has no such model"),
}


@pytest.mark.parametrize("name", MEGATRON)
def test_megatron_configurations(name, forward, v4_converted, reference, tmp_path):
    settings, status, message = MEGATRON[name]
    shutil.copytree(v4_converted("fp8fp4"), tmp_path / "root", symlinks=True)
    path = tmp_path / "root" / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"] |= settings
    path.write_text(yaml.safe_dump(config))
    refused(forward(tmp_path / "root", reference, expect=status), message)


PACKED = "model.layers.0.mlp.experts.gate_up_proj"
QWEN_TENSORS = {
    "fewer_experts": (put(PACKED, lambda tensor: tensor[:-1]), f"{PACKED}: shape"),
    "more_experts": (put(PACKED, lambda tensor: torch.cat([tensor, tensor[:1]])), f"{PACKED}: shape"),
    "rows_of_a_gate_missing": (put("model.layers.1.self_attn.q_proj.weight", lambda tensor: tensor[:-1]), "model.layers.1.self_attn.q_proj.weight: shape"),
    "the_convolution_without_its_axis": (put("model.layers.0.linear_attn.conv1d.weight", lambda tensor: tensor[:, 0]), "layers.0.q_conv has shape"),
    "no_decay": (lambda state: state.pop("model.layers.0.linear_attn.A_log"), "model.layers.0.linear_attn.A_log is missing: the configuration asks for layers.0.decay"),
}


@pytest.mark.parametrize("name", QWEN_TENSORS)
def test_qwen_tensors(name, forward, qwen_sources, reference, tmp_path):
    change, message = QWEN_TENSORS[name]
    refused(forward(changed(qwen_sources("moe_text"), tmp_path / "hf", change), reference, expect=3), message)


def test_a_layer_of_an_unknown_type(forward, qwen_sources, reference, tmp_path):
    source = qwen_sources("moe_text")
    layers = json.loads((source.folder / "config.json").read_text())["num_hidden_layers"]
    folder = changed(source, tmp_path / "hf", layer_types=["chunked_attention"] * layers)
    refused(forward(folder, reference, expect=5), "layer_types: 'chunked_attention' is not computed here")
