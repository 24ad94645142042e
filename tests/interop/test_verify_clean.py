"""causeway-verify has no false alarms: lossless conversions of sizes and options nobody chose are equal bit for bit."""
import json
import random

import pytest

from interop import cases, deepseek_v4_cases, qwen3_5_cases
from interop.test_forward_deepseek_v4 import _random_config
from interop.test_forward_views import EQUAL, verdicts
from oracles import deepseek_v4_model, hf_files
from oracles.arch import Mla, Moe, awkward

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
