"""causeway-verify has no false alarms: lossless conversions of sizes and options nobody chose are equal bit for bit; and it needs no more
memory than the largest layers of both sides."""
import json
import os
import pathlib
import random
import struct
import subprocess
import sys

import pytest

from interop import cases, deepseek_v4_cases, qwen3_5_cases
from interop.test_forward_deepseek_v4 import _random_config
from interop.test_forward_views import EQUAL, verdicts
from oracles import deepseek_v4_model, hf_files
from oracles.arch import Mla, Moe, awkward

# ---- a hundred conversions ----


def _plain(dice, seed, folder):
    """A model of one of the families that transformers makes, with choices that Megatron-Core has too: it does not normalize the
    weight of a single expert, and ranks groups by topk / groups experts, DeepSeek-V3 by two."""
    family = dice.choice(["llama", "qwen2", "qwen3", "qwen3_moe", "mixtral", "deepseek_v3", "deepseek_v3"])
    groups = dice.choice([1, 2, 3])
    heads = groups * dice.choice([1, 2, 3])
    sizes = dict(layers=dice.choice([1, 2, 4]), hidden=heads * dice.choice([6, 10, 16]), heads=heads, groups=groups,
                 head_dim=dice.choice([4, 10, 16]), ffn=dice.choice([14, 36]), vocab=dice.choice([61, 96, 157]))
    experts = dice.choice([2, 3, 8])
    if family == "qwen3_moe":
        sizes["moe"] = Moe(experts=experts, topk=2, ffn=dice.choice([6, 18]), dense=(0,) if sizes["layers"] > 1 and dice.random() < 0.5 else ())
    if family == "mixtral":
        sizes |= dict(moe=Moe(experts=experts, topk=2, ffn=sizes["ffn"]), hidden=sizes["heads"] * sizes["head_dim"])
    if family == "deepseek_v3":
        moe = Moe(experts=8, topk=4, ffn=dice.choice([6, 20]), dense=(0,) if sizes["layers"] > 1 else (), shared=dice.choice([1, 2]),
                  score_groups=4, chosen_groups=2, scaling=1.5)
        mla = Mla(q_rank=dice.choice([None, 12]), kv_rank=dice.choice([8, 20]), nope=dice.choice([4, 12]), rope=8, v_head=dice.choice([6, 10]))
        sizes |= dict(groups=sizes["heads"], head_dim=8, moe=moe, mla=mla, mtp=dice.choice([0, 1, 2]))
    tied = family != "deepseek_v3" and dice.random() < 0.4
    arch = awkward(family, tied=tied, dtype=dice.choice(["bfloat16", "float32"]), **sizes)
    return cases.make(cases.Case(arch, seed, files=dice.choice([1, 2]) if arch.mtp else 1), folder).folder


def _v4(dice, seed, folder):
    config = _random_config(seed) | {"num_experts_per_tok": 3}
    form = dice.choice(["bf16", "fp8fp4", "base_e8m0"])
    path = folder / "model"
    path.mkdir()
    config = deepseek_v4_model.config(form, **{key: value for key, value in config.items() if key not in ("quantization_config", "expert_dtype")})
    (path / "config.json").write_text(json.dumps(config))
    hf_files.write_safetensors(path, deepseek_v4_model.state_dict(config, form, seed), dice.choice([1, 3]))
    return path


def _qwen(dice, seed, folder):
    case = qwen3_5_cases.random_case(seed)
    while case.form.witnesses:  # where the norm's weight - 1 is rounded the models differ
        case = qwen3_5_cases.random_case(seed := seed + 1000)
    return qwen3_5_cases.make(case, folder).folder


def _options(dice, make, folder):
    """Of convert-hf, what the model can have."""
    config = json.loads((folder / "config.json").read_text())
    options = []
    if dice.random() < 0.3:
        options += ["--vocab-rows", 256]
    if dice.random() < 0.3:
        options += ["--layer-keys", "per-layer"]
    if dice.random() < 0.2:
        options += ["--name-prefix", "language_model."] if make is _plain else []
    if make is _plain and dice.random() < 0.5:
        options += ["--spec", "local"]
    for option, value, chance in (("--dtype", dice.choice(["bf16", "fp16", "fp32"]), 0.3), ("--mtp", "drop", 0.2), ("--parts", "text", 0.2)):
        options += [option, value] if dice.random() < chance else []
    blocks = [size for size in (2, 3, 4) if make is _v4 and config["moe_intermediate_size"] % size == 0]
    if blocks and dice.random() < 0.3:
        options += ["--glu-interleave", dice.choice(blocks)]
    return options


@pytest.mark.mutation("clean")
@pytest.mark.parametrize("seed", range(1, 101))
def test_no_false_alarm(seed, causeway, tmp_path):
    dice = random.Random(seed)
    make = [_plain, _plain, _v4, _qwen][seed % 4]
    folder = make(dice, seed, tmp_path)
    causeway("convert-hf", folder, tmp_path / "root", *_options(dice, make, folder))
    done = causeway("verify", folder, tmp_path / "root", "--prompt-length", dice.choice([1, 3, 17, 70]), "--seed", seed, "--threads", dice.choice([1, 2]))
    assert verdicts(done) == EQUAL and "equal, bit for bit" in done.stdout


# ---- memory ----

LAYERS, HIDDEN, FFN, VOCAB = 60, 768, 3072, 512


def _shapes():
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        for part in "qkvo":
            yield f"{name}self_attn.{part}_proj.weight", (HIDDEN, HIDDEN)
        yield f"{name}mlp.gate_proj.weight", (FFN, HIDDEN)
        yield f"{name}mlp.up_proj.weight", (FFN, HIDDEN)
        yield f"{name}mlp.down_proj.weight", (HIDDEN, FFN)
        yield f"{name}input_layernorm.weight", (HIDDEN,)
        yield f"{name}post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def _llama_of_zeros(folder):
    """BF16, two bytes a value, and no block of it on the disk."""
    folder.mkdir()
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS,
                  num_attention_heads=16, num_key_value_heads=16, vocab_size=VOCAB, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
                  torch_dtype="bfloat16", hidden_act="silu", max_position_embeddings=2048)
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in _shapes():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[at, at + size])
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return at


def test_memory_is_that_of_a_layer(causeway, tmp_path):
    """Of each side the largest layer, 600 MiB for LibTorch, nothing to speak of for 32 tokens; each checkpoint alone is more."""
    size = _llama_of_zeros(tmp_path / "hf")
    causeway("convert-hf", tmp_path / "hf", tmp_path / "root")
    binary = pathlib.Path(os.environ["CAUSEWAY"]).with_name("causeway-verify")
    code, _, peak = spawned([str(binary), str(tmp_path / "hf"), str(tmp_path / "root")], tmp_path)
    assert code == 0, (tmp_path / "err").read_text()
    layer = 2 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * FFN)
    allowed = 2 * layer + (600 << 20)
    print(f"{peak >> 20} MiB, {allowed >> 20} allowed, {size >> 20} in each checkpoint")
    assert allowed < size and peak <= allowed


def spawned(argv, folder):
    """[exit status, CPU seconds, peak bytes], measured by the command line tests' spawner."""
    spawner = pathlib.Path(__file__).parent.parent / "cli" / "spawner.py"
    request = json.dumps([argv, str(folder), str(folder / "out"), str(folder / "err"), 110])
    done = subprocess.run([sys.executable, "-I", "-S", spawner], input=request + "\n", capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
