"""causeway-verify's forward pass of Qwen3.5, 3.6 and Qwen3-Next against transformers' logits, and the multi-token prediction head
against transformers' layer in megatron-core's frame (oracles/qwen3_5_reference.py)."""
import json

import pytest
import torch

from interop import cases
from interop import qwen3_5_cases as qwen_cases
from interop.conftest import DATA
from interop.test_forward import exchanged, heads, write_reference
from oracles import qwen3_5_reference


@pytest.fixture(scope="session")
def references(qwen_sources, tmp_path_factory):
    """references(name, length) -> file with the logits of a prompt, made once."""
    made = {}

    def get(name, length=24):
        if (name, length) not in made:
            source = qwen_sources(name)
            ids = (cases.tokens(source.arch) * (length // 24 + 1))[:length]
            made[name, length] = write_reference(tmp_path_factory.mktemp("reference") / f"{name}.safetensors", ids, source.logits(ids))
        return made[name, length]

    return get


@pytest.mark.parametrize("name", qwen_cases.CASES)
def test_hugging_face_view(name, forward, qwen_sources, references):
    done = forward(qwen_sources(name).folder, references(name))
    assert heads(done) == ["logits", *(f"mtp_logits.{depth}" for depth in range(qwen_sources(name).arch.mtp))]


@pytest.mark.parametrize("name", qwen_cases.SAME_FUNCTION)
def test_megatron_view_of_what_was_converted(name, forward, qwen_converted, references):
    done = forward(qwen_converted(name), references(name))
    assert len(heads(done)) == 1 + qwen_cases.CASES[name].arch.mtp


@pytest.mark.parametrize("name", ["dense_text", "moe_3_6"])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130])
def test_lengths_around_a_chunk(name, length, forward, qwen_sources, qwen_converted, references):
    """Linear attention goes token by token below 64 tokens, by chunks of 64 from there on, the last filled up."""
    forward(qwen_sources(name).folder, references(name, length))
    forward(qwen_converted(name), references(name, length))


@pytest.mark.parametrize("seed", range(200, 206))
def test_sizes_nobody_chose(seed, forward, causeway, tmp_path):
    case = qwen_cases.random_case(seed)
    source = qwen_cases.make(case, tmp_path)
    ids = cases.tokens(source.arch)
    reference = write_reference(tmp_path / "reference.safetensors", ids, source.logits(ids))
    forward(source.folder, reference)
    if not case.form.witnesses:
        causeway("convert-hf", source.folder, tmp_path / "root")
        forward(tmp_path / "root", reference)


def test_small_results_that_a_norm_enlarges(forward, tmp_path):
    """Linear keys of three channels: what the norm after the rule is given may be tiny, and every other order of addition before it shows."""
    source = qwen_cases.make(qwen_cases.random_case(5005), tmp_path)
    ids = torch.randint(0, source.arch.vocab, (65,), generator=torch.Generator().manual_seed(1)).tolist()
    forward(source.folder, write_reference(tmp_path / "reference.safetensors", ids, source.logits(ids)))


def test_a_depth_that_the_configuration_does_not_count(forward, causeway, tmp_path):
    """As in the released Qwen3-Next."""
    source = qwen_cases.make(qwen_cases.Case(qwen_cases._arch("qwen3_next", mtp=1), qwen_cases.Form(packed=False), 18), tmp_path)
    config = json.loads((source.folder / "config.json").read_text())
    config.pop("mtp_num_hidden_layers", None)
    (source.folder / "config.json").write_text(json.dumps(config))
    ids = cases.tokens(source.arch)
    reference = write_reference(tmp_path / "reference.safetensors", ids, source.logits(ids))
    causeway("convert-hf", source.folder, tmp_path / "root")
    for folder in (source.folder, tmp_path / "root"):
        assert heads(forward(folder, reference)) == ["logits", "mtp_logits.0"]


@pytest.mark.parametrize("name", ["qwen3_6_moe_vl"])
def test_what_bridge_wrote(name, forward, tmp_path):
    """Bridge's other imports of this family hold BF16 where the source is F32: another function."""
    fixture = DATA / "bridge_written" / name
    source = qwen_cases.bridge_source(fixture / "hf")
    ids = cases.tokens(source.arch)
    reference = write_reference(tmp_path / "reference.safetensors", ids, qwen3_5_reference.logits(fixture / "hf", ids))
    forward(fixture / "hf", reference)
    forward(fixture / "megatron", reference)


# ---- what must not pass ----


LINEAR = "model.layers.0.linear_attn."
MISTAKES = {
    "z_and_another_layers_z": (LINEAR + "in_proj_z.weight", "model.layers.2.linear_attn.in_proj_z.weight"),
    "beta_and_alpha": (LINEAR + "in_proj_a.weight", LINEAR + "in_proj_b.weight"),
    "the_decays_of_two_layers": (LINEAR + "A_log", "model.layers.2.linear_attn.A_log"),
    "the_norms_of_q_and_k": ("model.layers.1.self_attn.q_norm.weight", "model.layers.1.self_attn.k_norm.weight"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_exchanged_tensors_differ(name, forward, qwen_sources, references, tmp_path):
    folder = exchanged(qwen_sources("dense_text").folder, tmp_path / "hf", [MISTAKES[name]])
    done = forward(folder, references("dense_text"), expect=1)
    assert any(line.startswith("logits") and line.endswith("DIFFERENT") for line in done.stdout.splitlines())
