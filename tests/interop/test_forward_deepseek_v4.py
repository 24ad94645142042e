"""causeway-verify's forward pass of DeepSeek-V4 against transformers' logits, and the multi-token prediction heads against
transformers' layer in the frame of the release (oracles/deepseek_v4_reference.py)."""
import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from interop import deepseek_v4_cases as v4_cases
from interop.test_forward import heads, write_reference
from oracles import deepseek_v4_model, deepseek_v4_reference, hf_files

# Enough index heads that few scores are 0 exactly: those are ties.
_INDEX = dict(index_n_heads=16)
# name: (form, config, seed, files)
MODELS = {
    "fp8fp4": ("fp8fp4", deepseek_v4_model.config(**_INDEX), 51, 2),
    "fp8fp4_odd_mtp2": ("fp8fp4", deepseek_v4_model.config(mtp=2, num_hash_layers=1, compress_ratios=[128, 4, 0, 4, 0, 0], **_INDEX, **v4_cases._ODD), 52, 2),
    "base": ("base", deepseek_v4_model.config("base", num_hash_layers=0, mtp=3, compress_ratios=[4, 0, 4, 128], swiglu_limit=0.5, **_INDEX), 53, 1),
    "base_e8m0": ("base_e8m0", deepseek_v4_model.config("base_e8m0", mtp=0, compress_ratios=[4, 0, 4, 128], hc_mult=2, **_INDEX), 54, 1),
    "bf16": ("bf16", deepseek_v4_model.config("bf16", hc_sinkhorn_iters=3, routed_scaling_factor=2.5, rope_theta=50000, compress_rope_theta=40000, **_INDEX), 55, 1),
}


class Source:
    def __init__(self, folder, form, config, seed, files):
        self.config, self.folder = config, folder / "model"
        self.state = deepseek_v4_model.state_dict(config, form, seed)
        self.folder.mkdir()
        (self.folder / "config.json").write_text(json.dumps(config, indent=2))
        hf_files.write_safetensors(self.folder, self.state, files)
        self.reference = deepseek_v4_reference.Reference(config, self.state)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """models(name) -> Source, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Source(tmp_path_factory.mktemp(f"hf-{name}"), *MODELS[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def references(models, tmp_path_factory):
    """references(name, length) -> file with the logits of a prompt, made once."""
    made = {}

    def get(name, length=61):
        if (name, length) not in made:
            made[name, length] = recorded(models(name), length, tmp_path_factory.mktemp("reference") / f"{name}.safetensors")
        return made[name, length]

    return get


def recorded(source, length, path, seed=0):
    tokens, logits, margins = source.reference.prompt(length, seed)
    return write_reference(path, tokens, logits, topk_margin=margins)


@pytest.fixture(scope="session")
def roots(models, causeway, tmp_path_factory):
    """roots(name, *options) -> what `causeway convert-hf` wrote, made once."""
    made = {}

    def get(name, *options):
        if (name, options) not in made:
            made[name, options] = tmp_path_factory.mktemp(f"megatron-{name}") / "root"
            causeway("convert-hf", models(name).folder, made[name, options], *options)
        return made[name, options]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_both_views(name, forward, models, roots, references):
    expected = ["logits", *(f"mtp_logits.{depth}" for depth in range(models(name).config["num_nextn_predict_layers"]))]
    assert heads(forward(models(name).folder, references(name))) == expected
    assert heads(forward(roots(name), references(name))) == expected


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 16, 17, 127, 128, 129, 261])
def test_lengths_around_windows_and_ratios(length, forward, models, roots, references):
    """A window of 16 tokens, ratios of 4 and 128."""
    forward(models("fp8fp4_odd_mtp2").folder, references("fp8fp4_odd_mtp2", length))
    forward(roots("fp8fp4_odd_mtp2"), references("fp8fp4_odd_mtp2", length))


def test_other_choices_of_megatron(forward, roots, references):
    """Padded vocabulary, rows of the experts' gate and up in turns."""
    forward(roots("fp8fp4", "--vocab-rows", 160, "--glu-interleave", 8), references("fp8fp4"))


def _random_config(seed):
    dice = random.Random(seed)
    heads_, groups = dice.choice([(4, 2), (6, 3), (5, 1)])
    layers = dice.choice([2, 3])
    ratios = [dice.choice([0, 4, 4, 128]) for _ in range(layers)]
    return deepseek_v4_model.config(
        mtp=dice.choice([0, 1, 2]), num_hidden_layers=layers, num_hash_layers=dice.randrange(layers + 1), compress_ratios=ratios, hc_mult=dice.choice([1, 2, 4, 5]),
        num_attention_heads=heads_, o_groups=groups, o_lora_rank=dice.choice([8, 20]), q_lora_rank=dice.choice([16, 33]), hidden_size=dice.choice([32, 64, 160]),
        head_dim=dice.choice([16, 40]), index_head_dim=dice.choice([8, 24]), index_n_heads=dice.choice([12, 17]), index_topk=dice.choice([1, 5, 64]),
        n_routed_experts=dice.choice([3, 9]), num_experts_per_tok=dice.choice([1, 3]), moe_intermediate_size=dice.choice([32, 96]), vocab_size=dice.choice([50, 133]),
        sliding_window=dice.choice([1, 7, 40]), swiglu_limit=dice.choice([0.3, 10.0]), rms_norm_eps=1e-6)


@pytest.mark.parametrize("seed", range(300, 306))
def test_sizes_nobody_chose(seed, forward, causeway, tmp_path):
    config = _random_config(seed)
    source = Source(tmp_path, "bf16" if config["hidden_size"] == 32 else "fp8fp4", config, seed, 1)
    reference = recorded(source, 43, tmp_path / "reference.safetensors")
    forward(source.folder, reference)
    if config["num_experts_per_tok"] > 1:  # Megatron-Core does not normalize the weight of a single expert
        causeway("convert-hf", source.folder, tmp_path / "root")
        forward(tmp_path / "root", reference)


def test_what_megatron_wrote(forward, causeway, tmp_path):
    """Tensors that Megatron-LM dev saved, which has no run_config.yaml, with the configuration of our conversion."""
    causeway("convert-hf", v4_cases.FIXTURE, tmp_path / "root")
    shutil.copytree(v4_cases.DEV, tmp_path / "dev")
    shutil.copy(tmp_path / "root" / "iter_0000000" / "run_config.yaml", tmp_path / "dev" / "iter_0000000")
    config = json.loads((v4_cases.FIXTURE / "config.json").read_text())
    reference = deepseek_v4_reference.Reference(config, hf_files.read_safetensors(v4_cases.FIXTURE))
    tokens, logits, margins = reference.prompt(150, 7)
    write_reference(tmp_path / "reference.safetensors", tokens, logits, topk_margin=margins)
    forward(v4_cases.FIXTURE, tmp_path / "reference.safetensors")
    done = forward(tmp_path / "dev", tmp_path / "reference.safetensors")
    assert heads(done) == ["logits", "mtp_logits.0"]


def test_what_transformers_saves(forward, models, references, tmp_path):
    """Its names, its configuration; multi-token prediction is lost."""
    source = models("bf16")
    source.reference.model.save_pretrained(tmp_path / "saved")
    assert heads(forward(tmp_path / "saved", references("bf16"), expect=3)) == []  # it has no depths, the reference has
    tensors = load_file(references("bf16"))
    del tensors["mtp_logits.0"]
    save_file(tensors, tmp_path / "main.safetensors")
    forward(tmp_path / "saved", tmp_path / "main.safetensors")


# ---- what must not pass ----


def _same_dtype_exchange(a, b):
    def change(state):
        state[a], state[b] = state[b], state[a]
    return change


def _roll_table(state):
    state["layers.0.ffn.gate.tid2eid"] = state["layers.0.ffn.gate.tid2eid"].roll(1, 0)


def _transpose_mix(state):
    """Of the n x n part of a hyper-connection."""
    streams = 4
    mapping = state["layers.1.hc_attn_fn"]
    mix = mapping[2 * streams :].unflatten(0, (streams, streams)).transpose(0, 1).flatten(0, 1)
    state["layers.1.hc_attn_fn"] = torch.cat([mapping[: 2 * streams], mix])


def _swap_nibbles(state):
    packed = state["layers.0.ffn.experts.0.w1.weight"].view(torch.uint8)
    state["layers.0.ffn.experts.0.w1.weight"] = (packed >> 4 | packed << 4).view(torch.int8)


MISTAKES = {
    "streams_mixed_the_other_way": _transpose_mix,
    "experts_of_another_token": _roll_table,
    "columns_of_fp4_in_pairs": _swap_nibbles,
    "value_and_gate_of_summaries": _same_dtype_exchange("layers.1.attn.compressor.wkv.weight", "layers.1.attn.compressor.wgate.weight"),
    "index_of_another_layer": _same_dtype_exchange("layers.1.attn.indexer.weights_proj.weight", "layers.3.attn.indexer.weights_proj.weight"),
    "sinks_of_another_layer": _same_dtype_exchange("layers.0.attn.attn_sink", "layers.2.attn.attn_sink"),
    "scales_of_another_projection": _same_dtype_exchange("layers.0.ffn.experts.0.w1.scale", "layers.0.ffn.experts.1.w1.scale"),
}


def different(done):
    return {line.split()[0]: line.endswith("DIFFERENT") for line in done.stdout.splitlines() if "logits" in line.split()[0]}


def changed(source, change, target):
    shutil.copytree(source.folder, target)
    state = {name: tensor.clone() for name, tensor in source.state.items()}
    change(state)
    for file in target.glob("*.safetensors*"):
        file.unlink()
    hf_files.write_safetensors(target, state, 1)
    return target


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_differ(name, forward, models, references, tmp_path):
    folder = changed(models("fp8fp4"), MISTAKES[name], tmp_path / "hf")
    assert different(forward(folder, references("fp8fp4"), expect=1))["logits"]


def test_mistakes_of_a_depth_differ_in_its_head_only(forward, models, references, tmp_path):
    exchange = _same_dtype_exchange("mtp.0.e_proj.weight", "mtp.0.h_proj.weight")
    folder = changed(models("fp8fp4"), exchange, tmp_path / "hf")
    assert different(forward(folder, references("fp8fp4"), expect=1)) == {"logits": False, "mtp_logits.0": True}


def test_the_head_of_a_depth_is_its_own(forward, models, references, tmp_path):
    exchange = _same_dtype_exchange("mtp.0.hc_head_fn", "mtp.1.hc_head_fn")
    folder = changed(models("fp8fp4_odd_mtp2"), exchange, tmp_path / "hf")
    assert different(forward(folder, references("fp8fp4_odd_mtp2"), expect=1)) == {"logits": False, "mtp_logits.0": True, "mtp_logits.1": True}
