"""causeway-verify needs no more memory than the largest layers of both sides, what a prompt needs in one of them, and LibTorch; with experts
no more than a few of them."""
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys

import pytest

from interop.conftest import DATA
from oracles import nemotron_h

LIBTORCH = 600 << 20
# Hidden states, queries, keys, values, summaries of one layer of the small checkpoints: of both sides, whose passes stand in the middle of
# a layer together.
A_TOKEN = 128 << 10
HIDDEN, VOCAB = 768, 512


def _config(family, **sizes):
    return dict(architectures=[f"{family}ForCausalLM"], model_type=sizes.pop("model_type"), hidden_size=HIDDEN, num_attention_heads=16, num_key_value_heads=16,
                head_dim=HIDDEN // 16, vocab_size=VOCAB, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False, torch_dtype="bfloat16", hidden_act="silu",
                max_position_embeddings=2048, **sizes)


MANY_LAYERS = _config("Llama", model_type="llama", num_hidden_layers=60, intermediate_size=3072)
# One layer of 0.5 GB in BF16
MANY_EXPERTS = _config("Qwen3Moe", model_type="qwen3_moe", num_hidden_layers=1, intermediate_size=64, moe_intermediate_size=448, num_experts=256, num_experts_per_tok=8,
                       norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])

MANY_MIXERS = dict(architectures=["NemotronHForCausalLM"], model_type="nemotron_h", hidden_size=HIDDEN, vocab_size=VOCAB, hybrid_override_pattern="M" * 100,
                   num_hidden_layers=100, num_attention_heads=16, num_key_value_heads=16, head_dim=HIDDEN // 16, mamba_num_heads=24, mamba_head_dim=64, n_groups=2,
                   ssm_state_size=128, conv_kernel=4, torch_dtype="bfloat16")


def _mixer(config, name):
    heads = config["mamba_num_heads"]
    inner = heads * config["mamba_head_dim"]
    convolved = inner + 2 * config["n_groups"] * config["ssm_state_size"]
    yield f"{name}norm.weight", (HIDDEN,)
    yield f"{name}mixer.in_proj.weight", (inner + convolved + heads, HIDDEN)
    yield f"{name}mixer.conv1d.weight", (convolved, 1, config["conv_kernel"])
    yield f"{name}mixer.conv1d.bias", (convolved,)
    for part in ("A_log", "D", "dt_bias"):
        yield f"{name}mixer.{part}", (heads,)
    yield f"{name}mixer.norm.weight", (inner,)
    yield f"{name}mixer.out_proj.weight", (HIDDEN, inner)


def _mlp(name, width):
    yield f"{name}.gate_proj.weight", (width, HIDDEN)
    yield f"{name}.up_proj.weight", (width, HIDDEN)
    yield f"{name}.down_proj.weight", (HIDDEN, width)


def _layer(config, name):
    if "mamba_num_heads" in config:
        yield from _mixer(config, name)
        return
    for part in "qkvo":
        yield f"{name}self_attn.{part}_proj.weight", (HIDDEN, HIDDEN)
    yield f"{name}input_layernorm.weight", (HIDDEN,)
    yield f"{name}post_attention_layernorm.weight", (HIDDEN,)
    if "num_experts" not in config:
        yield from _mlp(f"{name}mlp", config["intermediate_size"])
        return
    for part in "qk":
        yield f"{name}self_attn.{part}_norm.weight", (config["head_dim"],)
    yield f"{name}mlp.gate.weight", (config["num_experts"], HIDDEN)
    for expert in range(config["num_experts"]):
        yield from _mlp(f"{name}mlp.experts.{expert}", config["moe_intermediate_size"])


def _shapes(config):
    base, embedding, norm = ("backbone", "embeddings", "norm_f") if "mamba_num_heads" in config else ("model", "embed_tokens", "norm")
    yield f"{base}.{embedding}.weight", (VOCAB, HIDDEN)
    for layer in range(config["num_hidden_layers"]):
        yield from _layer(config, f"{base}.layers.{layer}.")
    yield f"{base}.{norm}.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def _bytes(shape):
    return 2 * math.prod(shape)


def _model_of_zeros(config, folder):
    """In BF16, no block of it on the disk. Gives its bytes and those of a layer."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in _shapes(config):
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[at, at + _bytes(shape)])
        at += _bytes(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return at, sum(_bytes(shape) for _, shape in _layer(config, ""))


def spawned(argv, folder):
    """[exit status, CPU seconds, peak bytes], measured by the command line tests' spawner."""
    spawner = pathlib.Path(__file__).parent.parent / "cli" / "spawner.py"
    request = json.dumps([list(map(str, argv)), str(folder), str(folder / "out"), str(folder / "err"), 110])
    done = subprocess.run([sys.executable, "-I", "-S", spawner], input=request + "\n", capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def verify(a, b, folder, *options):
    """(exit status, peak bytes, stderr) of causeway-verify."""
    binary = pathlib.Path(os.environ["CAUSEWAY"]).with_name("causeway-verify")
    code, _, peak = spawned([binary, a, b, "--threads", "1", *options], folder)
    return code, peak, (folder / "err").read_text()


def peak_of(a, b, folder, *options):
    """Of causeway-verify, which must find them equal."""
    code, peak, errors = verify(a, b, folder, *options)
    assert code == 0, errors
    return peak


@pytest.mark.parametrize("config", [MANY_LAYERS, MANY_MIXERS], ids=["layers", "mixers"])
def test_memory_is_that_of_a_layer(config, causeway, tmp_path):
    """Of each side the largest layer, LibTorch, nothing to speak of for 32 tokens; each checkpoint alone is more."""
    size, layer = _model_of_zeros(config, tmp_path / "hf")
    causeway("convert-hf", tmp_path / "hf", tmp_path / "root")
    peak, allowed = peak_of(tmp_path / "hf", tmp_path / "root", tmp_path), 2 * layer + LIBTORCH
    print(f"{peak >> 20} MiB, {allowed >> 20} allowed, {size >> 20} in each checkpoint")
    assert allowed < size and peak <= allowed


def test_experts_are_read_one_by_one(causeway, tmp_path):
    """The layer of one side, as it is stored, would not fit beside LibTorch's own."""
    _, layer = _model_of_zeros(MANY_EXPERTS, tmp_path / "hf")
    causeway("convert-hf", tmp_path / "hf", tmp_path / "root")
    peak = peak_of(tmp_path / "hf", tmp_path / "root", tmp_path)
    print(f"{peak >> 20} MiB, a layer {layer >> 20}")
    assert peak <= min(layer, LIBTORCH)


def test_the_cap_holds(causeway, tmp_path):
    """Too small is refused with a size, and that size is enough: at most a few rounds, as headers are read before it is known what the tensors need."""
    size, _ = _model_of_zeros(MANY_LAYERS, tmp_path / "hf")
    causeway("convert-hf", tmp_path / "hf", tmp_path / "root")
    memory = 1 << 20
    for rounds in range(4):
        code, peak, errors = verify(tmp_path / "hf", tmp_path / "root", tmp_path, "--memory", memory)
        if code == 0:
            break
        assert code == 2 and f"--memory {memory >> 20}MiB is too small" in errors
        memory = int(re.search(r"use --memory (\d+)MiB or more", errors)[1]) << 20
    print(f"{peak >> 20} MiB with --memory {memory >> 20}MiB, {size >> 20} in each checkpoint")
    assert rounds > 0 and code == 0, errors
    assert 3 * memory <= size and peak <= memory + LIBTORCH


@pytest.mark.parametrize("name,tokens", [("bridge_written/qwen3_6_moe_vl", 4000), ("deepseek_v4_fp8fp4", 3000)])
def test_a_long_prompt(name, tokens, tmp_path):
    """LibTorch and what grows with the tokens; scores of every token for every token would take more. Full, linear and compressed attention."""
    peak = peak_of(DATA / name / "hf", DATA / name / "hf", tmp_path, "--prompt-length", tokens)
    allowed = LIBTORCH + tokens * A_TOKEN
    print(f"{peak >> 20} MiB, {allowed >> 20} allowed")
    assert peak <= allowed


def test_a_long_prompt_of_mamba(tmp_path):
    """Scores within chunks of tokens alone."""
    nemotron_h.make(tmp_path / "hf", "ME*-", 70, 32)
    peak = peak_of(tmp_path / "hf", tmp_path / "hf", tmp_path, "--prompt-length", 4000)
    allowed = LIBTORCH + 4000 * A_TOKEN
    print(f"{peak >> 20} MiB, {allowed >> 20} allowed")
    assert peak <= allowed
