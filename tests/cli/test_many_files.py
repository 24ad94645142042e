"""More files than descriptors: the soft limit is raised, and where the hard one is low few files are open at a time."""
import json
import os
import resource
import subprocess

import pytest

from helpers import binary, hashes

HIDDEN, LAYERS = 8, 120


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A Llama with a shard for each tensor: 1,083."""
    folder = tmp_path_factory.mktemp("many") / "hf"
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": [16, HIDDEN], "model.norm.weight": [HIDDEN], "lm_head.weight": [16, HIDDEN]}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{p}_proj.weight": [HIDDEN, HIDDEN] for p in "qkvo"}
        shapes |= {f"{at}.mlp.{p}_proj.weight": [HIDDEN, HIDDEN] for p in ("gate", "up", "down")}
        shapes |= {f"{at}.{p}_layernorm.weight": [HIDDEN] for p in ("input", "post_attention")}
    names = {tensor: f"model-{i + 1:05d}-of-{len(shapes):05d}.safetensors" for i, tensor in enumerate(shapes)}
    for i, (tensor, shape) in enumerate(shapes.items()):
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        text = json.dumps({tensor: {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}}).encode()
        (folder / names[tensor]).write_bytes(len(text).to_bytes(8, "little") + text + bytes([i % 128] * size))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (folder / "config.json").write_text(json.dumps(
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
         "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 16, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"}))
    return folder


@pytest.mark.parametrize("soft, hard", ((64, None), (64, 64), (256, 256)), ids=str)
def test_there_and_back(soft, hard, many, tmp_path):
    def run(*arguments):
        hard_now = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard or hard_now))  # noqa: E731
        done = subprocess.run([binary(), *map(os.fspath, arguments)], preexec_fn=limit, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done

    run("convert-hf", many, tmp_path / "root", "--layer-keys", "per-layer", "--file-size", "1KB")
    assert len(list((tmp_path / "root" / "iter_0000000").glob("*.distcp"))) > 300
    run("verify", many, tmp_path / "root", "--mode", "hash")
    run("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(many)
