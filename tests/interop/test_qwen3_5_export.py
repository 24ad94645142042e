"""Qwen3.5, 3.6 and Qwen3-Next: untouched, trained by real megatron-core, or written by it or by Bridge -> `causeway
export-to-hf` -> the known weights, and transformers."""
import shutil

import pytest
import torch
import torch.distributed.checkpoint as torch_dcp

from interop import cases, qwen3_5_cases
from interop.conftest import DATA
from interop.test_fp8 import digests
from interop.test_qwen3_5_oracle import BRIDGE
from oracles import dcp, fp8, hf_files, qwen3_5, qwen3_5_reference
from oracles.layout import Layout


@pytest.mark.parametrize("name", qwen3_5_cases.CASES)
def test_untouched_round_trip_gives_back_the_files(name, qwen_sources, qwen_converted, causeway, tmp_path):
    causeway("verify", qwen_sources(name).folder, qwen_converted(name))
    causeway("export-to-hf", qwen_converted(name), tmp_path / "hf")
    assert digests(tmp_path / "hf") == digests(qwen_sources(name).folder)


@pytest.mark.parametrize("name", ["dense_tied", "moe_3_6", "moe_separate", "next", "moe_text_vision_names"])
def test_transformers_reads_the_export(name, qwen_sources, qwen_converted, causeway, tmp_path):
    """Nothing missing or unknown but `mtp.*` (loaded() checks), the same logits bit for bit."""
    source = qwen_sources(name)
    causeway("export-to-hf", qwen_converted(name), tmp_path / "hf", "--reference", source.folder)
    ids = cases.tokens(source.arch)
    for ours, theirs in zip(qwen3_5_reference.logits(tmp_path / "hf", ids), source.logits(ids), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", BRIDGE)
def test_bridge_fixture(name, causeway, tmp_path):
    """The weights Bridge was given, but that it rounded what is F32 in Qwen3.5, A_log and GatedDeltaNet's norm, to bf16."""
    fixture = DATA / "bridge_written" / name
    causeway("export-to-hf", fixture / "megatron", tmp_path / "hf", "--reference", fixture / "hf")
    source, exported = qwen3_5_cases.bridge_source(fixture / "hf"), hf_files.read_safetensors(tmp_path / "hf")
    rounded = {key: tensor.bfloat16() for key, tensor in qwen3_5.to_megatron(source.arch, source.state).items()}
    assert not dcp.different(qwen3_5.to_hf(source.arch, rounded, source.state), exported)
    inexact = [name for name in exported if not torch.equal(exported[name], source.state[name])]
    assert all(source.state[name].dtype == torch.float32 for name in inexact) and bool(inexact) == (name != "qwen3_6_moe_vl")
    if not inexact:
        assert digests(tmp_path / "hf") == digests(fixture / "hf")


# (case, layout, vocabulary rows the training padded to, TEGroupedMLP, experts, gate and up as keys of their own)
WRITTEN = {"dense_3_6_text_tied-tp2": ("dense_3_6_text_tied", Layout(tp=2), 256, False, False), "next-tp2": ("next", Layout(tp=2), 158, False, False),
           "next_some_dense-ep2": ("next_some_dense", Layout(ep=2), 157, True, False),
           "moe_text_vision_names-tp2_ep2": ("moe_text_vision_names", Layout(tp=2, ep=2), 256, False, False), "next-pp2": ("next", Layout(pp=2), 157, False, False),
           "next-singleton": ("next", Layout(), 157, False, True)}


@pytest.mark.parametrize("which", WRITTEN)
def test_written_by_several_ranks(which, qwen_sources, pools, causeway, tmp_path):
    """megatron-core alone wrote it; padding rows, which training fills with whatever it likes, do not come back."""
    name, layout, rows, grouped, singleton = WRITTEN[which]
    source = qwen_sources(name)
    full = qwen3_5.to_megatron(source.arch, source.state)
    cases.save_by_ranks(pools["te"], source.arch, full, tmp_path / "root", layout, rows, grouped=grouped, singleton=singleton)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    assert not dcp.different(source.state, hf_files.read_safetensors(tmp_path / "hf"))


def under_other_keys(name, tensors, source):
    """The same tensors as other Megatron versions call them, and with a key for each layer of the vision tower."""
    if name == "mtp_model_layer":
        return {key.replace(".transformer_layer.", ".mtp_model_layer."): tensor for key, tensor in tensors.items()}
    if name == "norms that are modules":
        return {key.replace(".self_attention.in_proj.layer_norm_weight", ".input_layernorm.weight"): tensor for key, tensor in tensors.items()}
    stacked, out = "vision_model.decoder.layers.", {}
    for key, tensor in tensors.items():
        each = {f"{stacked}{i}.{key.removeprefix(stacked)}": layer for i, layer in enumerate(tensor)} if key.startswith(stacked) else {key: tensor}
        out.update(each)
    return out


@pytest.mark.parametrize("which", ["mtp_model_layer", "norms that are modules", "vision layers apart"])
def test_other_keys_of_the_same(which, qwen_sources, qwen_converted, causeway, tmp_path):
    source, old = qwen_sources("moe"), dcp.read_tensors(qwen_converted("moe") / "iter_0000000")
    new = under_other_keys(which, old, source)
    assert new.keys() != old.keys() and len(new) >= len(old)
    torch_dcp.save(new, storage_writer=torch_dcp.FileSystemWriter(tmp_path / "root" / "iter_0000010"), no_dist=True,
                   planner=torch_dcp.DefaultSavePlanner(flatten_state_dict=False))
    for file in ("common.pt", "metadata.json"):
        shutil.copy(qwen_converted("moe") / "iter_0000000" / file, tmp_path / "root" / "iter_0000010")
    causeway("export-to-hf", tmp_path / "root" / "iter_0000010", tmp_path / "hf", "--sidecar", qwen_converted("moe") / "causeway")
    assert digests(tmp_path / "hf") == digests(source.folder)


# ---- trained ----

CHANGED = ["decoder.layers.0.self_attention.in_proj.weight", "decoder.layers.0.self_attention.conv1d.weight", "decoder.layers.0.self_attention.out_norm.weight",
           "decoder.layers.0.self_attention.A_log", "decoder.layers.1.self_attention.linear_qkv.weight", "mtp.layers.0.eh_proj.weight",
           "mtp.layers.0.transformer_layer.self_attention.linear_qkv.weight", "decoder.layers.1.mlp.experts.local_experts.4.linear_fc1.weight",
           "decoder.layers.1.mlp.shared_experts.gate_weight", "mtp.layers.0.transformer_layer.mlp.experts.local_experts.2.linear_fc2.weight"]


def train(source, checkpoint, pools, folder):
    """Real megatron-core, in bf16, loads the text model, changes some tensors and saves, optimizer state and all -> the tensors
    an export must hold, from what was saved alone and with what the sidecar knows of norms whose - 1 was inexact."""
    before = {key: tensor.bfloat16() for key, tensor in qwen3_5.to_megatron(source.arch, source.state).items()}
    changes = {key: before[key] + 0.25 for key in CHANGED if key in before}
    norm = "decoder.layers.0.self_attention.out_norm.weight"
    changes[norm] = torch.cat([changes[norm][:2], before[norm][2:]])
    pools["te"].run("change", arch=source.arch, source=str(checkpoint), directory=str(folder / "iter_0000010"), iteration=10, changes=changes)
    (folder / "latest_checkpointed_iteration.txt").write_text("10")
    alone = qwen3_5.to_hf(source.arch, {**before, **changes}, source.state)
    (name,) = (name for name in source.state if name.endswith("layers.0.linear_attn.norm.weight"))
    kept = qwen3_5.minus_one(source.state[name]) == changes[norm]
    return alone, {**alone, name: torch.where(kept, source.state[name], alone[name])}


@pytest.fixture(scope="module", params=["dense_tied", "moe", "moe_3_6", "moe_separate_mtp_packed_tied", "moe_3_6_witnesses"])
def trained(request, qwen_sources, pools, causeway, tmp_path_factory):
    """(source, checkpoint root, root of the trained iteration, tensors expected of an export without and with the sidecar): the
    text model alone was converted, as a text trainer wants it."""
    source, place = qwen_sources(request.param), tmp_path_factory.mktemp(f"trained-{request.param}")
    causeway("convert-hf", source.folder, place / "root", "--parts", "text")
    (place / "elsewhere").mkdir()
    return source, place / "root", place / "elsewhere", *train(source, place / "root" / "iter_0000000", pools, place / "elsewhere")


@pytest.mark.parametrize("how", ["root", "sidecar", "reference"])
def test_trained_text_model_gets_its_vision_tower_back(trained, how, causeway, tmp_path):
    source, root, elsewhere, alone, with_sidecar = trained
    expected = alone if how == "reference" else with_sidecar
    if how == "root":  # training saved beside the converted iteration
        shutil.copytree(root / "causeway", tmp_path / "root" / "causeway")
        shutil.copytree(elsewhere / "iter_0000010", tmp_path / "root" / "iter_0000010")
        shutil.copy(elsewhere / "latest_checkpointed_iteration.txt", tmp_path / "root")
        done = causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    else:
        done = causeway("export-to-hf", elsewhere, tmp_path / "hf", f"--{how}", root / "causeway" if how == "sidecar" else source.folder)
    assert "vision" in done.stdout + done.stderr
    exported = hf_files.read_safetensors(tmp_path / "hf")
    assert not dcp.different(expected, exported)
    assert sum(not torch.equal(exported[name], source.state[name]) for name in exported) >= 8
    assert source.form.witnesses == any(not torch.equal(alone[name], with_sidecar[name]) for name in alone)
    ids = cases.tokens(source.arch)
    plain = hf_files.copy_with_tensors(source.folder, tmp_path / "plain", expected)
    for ours, theirs in zip(qwen3_5_reference.logits(tmp_path / "hf", ids), qwen3_5_reference.logits(plain, ids), strict=True):
        assert torch.equal(ours, theirs)


def test_without_the_vision_tower_the_export_is_refused(trained, causeway, tmp_path):
    """A configuration alone does not give it back."""
    source, _, elsewhere, _, _ = trained
    reference = tmp_path / "reference"
    shutil.copytree(source.folder, reference, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    done = causeway("export-to-hf", elsewhere, tmp_path / "hf", "--reference", reference, expect=3)
    assert "model.visual." in done.stderr
    assert not (tmp_path / "hf").exists()


def test_the_text_model_alone(trained, causeway, tmp_path):
    """`--parts text` on export: a text model that transformers reads, with the logits of the whole model."""
    source, root, elsewhere, _, expected = trained
    causeway("export-to-hf", elsewhere, tmp_path / "hf", "--sidecar", root / "causeway", "--parts", "text")
    text = {name.replace("model.language_model.", "model."): tensor for name, tensor in expected.items() if not name.startswith("model.visual.")}
    assert not dcp.different(text, hf_files.read_safetensors(tmp_path / "hf"))
    if not source.form.witnesses:
        ids = cases.tokens(source.arch)
        plain = hf_files.copy_with_tensors(source.folder, tmp_path / "plain", expected)
        for ours, theirs in zip(qwen3_5_reference.logits(tmp_path / "hf", ids), qwen3_5_reference.logits(plain, ids), strict=True):
            assert torch.equal(ours, theirs)


def test_trained_from_fp8(qwen_sources, qwen_converted, pools, causeway, tmp_path):
    """Codes and scales of what training did not change stay; the rest is the owner's rule with bf16 scales."""
    source, stored = qwen_sources("moe_fp8"), hf_files.read_safetensors(qwen_sources("moe_fp8").folder)
    causeway("convert-hf", source.folder, tmp_path / "root", "--parts", "text")
    (tmp_path / "elsewhere").mkdir()
    _, plain = train(source, tmp_path / "root" / "iter_0000000", pools, tmp_path / "elsewhere")
    expected, renewed = dict(stored), 0
    for name, tensor in plain.items():
        if name + fp8.SCALE in stored:
            expected[name], expected[name + fp8.SCALE], blocks = fp8.requantized(tensor, stored[name], stored[name + fp8.SCALE], (128, 128))
            renewed += len(blocks)
        else:
            expected[name] = tensor
    assert renewed > 5
    causeway("export-to-hf", tmp_path / "elsewhere", tmp_path / "hf", "--sidecar", tmp_path / "root" / "causeway")
    assert not dcp.different(expected, hf_files.read_safetensors(tmp_path / "hf"))
