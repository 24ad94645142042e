"""Checkpoints that causeway-verify must refuse: what is missing, unknown or of another shape, and configurations that do not fit."""
import json
import os
import resource
import shutil
import subprocess

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop import cases
from interop.conftest import DATA


@pytest.fixture(scope="session")
def reference(sources, tmp_path_factory):
    """Any: it is never compared."""
    path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
    save_file({"input_ids": torch.tensor(cases.tokens(sources("qwen3").arch)), "logits": torch.zeros(24, 157)}, path)
    return path


def refused(done, message):
    assert message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 2 and not done.stdout


Q = "model.layers.1.self_attn.q_proj.weight"
NORM = "model.layers.2.self_attn.k_norm.weight"
TENSORS = {
    "missing": (lambda t: t.pop(Q), f"{Q} is missing: the configuration asks for layers.1.q"),
    "unknown": (lambda t: t.update({"model.layers.3.input_layernorm.weight": t[NORM].clone()}),
                "model.layers.3.input_layernorm.weight: the model of config.json has no such tensor"),
    "another_shape": (lambda t: t.update({Q: t[Q][:-1].contiguous()}), f"{Q}: layers.1.q has shape [95, 72], the configuration asks for [96, 72]"),
    "fewer_axes": (lambda t: t.update({NORM: t[NORM][0].clone()}), f"{NORM}: layers.2.k_norm has shape [], the configuration asks for [16]"),
    "no_scales": (lambda t: t.update({Q: t[Q].to(torch.float8_e4m3fn)}), f"{Q}: quantized, but its scales are missing"),
    "no_quantization_config": (lambda t: t.update({Q: t[Q].to(torch.float8_e4m3fn), Q + "_scale_inv": torch.ones(1, 1)}),
                               f"{Q}: quantized, but config.json has no quantization_config"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_hugging_face_tensors(name, forward, sources, reference, tmp_path):
    change, message = TENSORS[name]
    shutil.copytree(sources("qwen3").folder, tmp_path / "hf")
    state = load_file(tmp_path / "hf" / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "hf" / "model.safetensors")
    refused(forward(tmp_path / "hf", reference, expect=3), message)


# name: (settings, exit status, part of the message)
CONFIGS = {
    "another_architecture": (dict(architectures=["FalconH1ForCausalLM"], model_type="falcon_h1"), 5, "there is no forward pass for 'falcon_h1'"),
    "a_layer_more": (dict(num_hidden_layers=4, layer_types=["full_attention"] * 4), 3, "model.layers.3.input_layernorm.weight is missing"),
    "a_layer_less": (dict(num_hidden_layers=2), 3, "model.layers.2"),
    "endless_layers": (dict(num_hidden_layers=10**15), 3, "is no number of layers"),
    "no_heads": (dict(num_attention_heads=0), 3, "the number of heads is 0"),
    "negative_size": (dict(hidden_size=-72), 3, "the hidden size is -72"),
    "scales_unknown": (dict(quantization_config={"quant_method": "gptq", "bits": 4}), 5, "scales by block of two sizes"),
    "int8": (dict(quantization_config={"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}}), 5, "INT4 by group"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_hugging_face_configuration(name, forward, sources, reference, tmp_path):
    settings, status, message = CONFIGS[name]
    shutil.copytree(sources("qwen3").folder, tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config | settings))
    refused(forward(tmp_path / "hf", reference, expect=status), message)


MODELS = {
    "a_layer_more": (dict(num_layers=4), 3, "axis 0 should be 4 layers or experts"),
    "other_groups": (dict(num_query_groups=3), 3, "decoder.layers.self_attention.linear_qkv.weight: shape [3, 160, 72], but 192 rows are expected"),
    "no_query_norms": (dict(qk_layernorm=False), 3, "k_layernorm.weight: the configured model has no such tensor"),
    "tied": (dict(share_embeddings_and_output_weights=True), 3, "output_layer.weight: the configured model has no such tensor"),
    "a_larger_vocabulary": (dict(vocab_size=158), 3, "word_embeddings.weight: shape [157, 72], but 158 rows are expected"),
    "biases": (dict(add_bias_linear=True), 3, "no key for self_attention.linear_qkv.bias"),
    "layer_norms": (dict(normalization="LayerNorm"), 5, "and LayerNorm of dense models without norms of queries and keys"),
    "mtp": (dict(mtp_num_layers=1), 3, "mtp.0.embedding_norm is missing"),
}


@pytest.mark.parametrize("name", MODELS)
def test_megatron_configuration(name, forward, converted, reference, tmp_path):
    settings, status, message = MODELS[name]
    shutil.copytree(converted("qwen3", "te"), tmp_path / "root", symlinks=True)
    path = tmp_path / "root" / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"] |= settings
    path.write_text(yaml.safe_dump(config))
    refused(forward(tmp_path / "root", reference, expect=status), message)


def test_megatron_without_configuration(forward, reference):
    folder = DATA / "megatron_written" / "dense_singleton"
    refused(forward(folder, reference, expect=5), "neither run_config.yaml nor args in the common state")


def test_megatron_with_too_few_arguments(forward, reference):
    refused(forward(DATA / "megatron_written" / "dense", reference, expect=5), "common state: args: activation_func: 'torch.nn.functional.gelu'")


def test_interleaving_that_does_not_divide(forward, causeway, sources, reference, tmp_path):
    causeway("convert-hf", sources("qwen3_moe").folder, tmp_path / "root")
    path = tmp_path / "root" / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["moe_mlp_glu_interleave_size"] = 5
    path.write_text(yaml.safe_dump(config))
    refused(forward(tmp_path / "root", reference, expect=3), "moe_mlp_glu_interleave_size 5 does not divide experts of 28 rows")


def test_neither_kind(forward, reference, tmp_path):
    refused(forward(tmp_path, reference, expect=2), "neither a Hugging Face folder nor a Megatron checkpoint")


def test_out_of_memory(sources):
    """A million tokens have 256 MB of hidden states, LibTorch itself maps 1 GB."""
    limit = 3 << 29
    binary = os.path.join(os.path.dirname(os.environ["CAUSEWAY"]), "causeway-verify")
    folder = str(sources("qwen3").folder)
    done = subprocess.run([binary, folder, folder, "--prompt-length", str(1 << 20)], capture_output=True, text=True, timeout=120,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode == 4 and done.stderr.startswith("causeway-verify: out of memory\n")
