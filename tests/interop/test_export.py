"""Checkpoints that megatron-core or Megatron-Bridge wrote -> `causeway export-to-hf` -> transformers."""
import json

import pytest
import torch
import transformers

from interop import cases
from interop.conftest import DATA
from oracles import dcp, fixture_weights, hf_models, mapping
from oracles.layout import Layout


def check_folder(folder, arch, expected, bare=False):
    """The files hold exactly `expected`; transformers finds every tensor, none too many, and computes the logits of a model
    filled with `expected`, bit for bit."""
    named = {key.removeprefix("model.") if bare else key: value for key, value in expected.items()}
    assert not dcp.different(named, cases.read_safetensors(folder))
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), report
    assert loaded.dtype == getattr(torch, arch.dtype)
    ids = cases.tokens(arch)
    assert torch.equal(hf_models.logits(loaded, ids), hf_models.logits(hf_models.filled(arch, expected), ids))


def reference_config(arch, folder):
    """A reference that is only a configuration, no weights."""
    config = hf_models.config(arch)
    config.architectures = [{"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[arch.family]]
    config.save_pretrained(folder)
    return folder


FIXTURES = {
    "dense": fixture_weights.DENSE, "dense_tp2_resave": fixture_weights.DENSE, "dense_pp3_resave": fixture_weights.DENSE,
    "dense_singleton": fixture_weights.DENSE, "dense_tied_qknorm": fixture_weights.TIED_QKNORM,
}


@pytest.mark.parametrize("folder", FIXTURES)
def test_megatron_fixture(folder, causeway, tmp_path):
    """Weights known by rule, no sidecar, and a reference without weights."""
    arch = FIXTURES[folder]
    reference = reference_config(arch, tmp_path / "reference")
    causeway("export-to-hf", DATA / "megatron_written" / folder, tmp_path / "hf", "--reference", reference)
    check_folder(tmp_path / "hf", arch, mapping.to_hf(arch, fixture_weights.parameters(arch)))


def test_legacy_checkpoint_is_refused_by_name(causeway, tmp_path):
    reference = reference_config(fixture_weights.DENSE, tmp_path / "reference")
    done = causeway("export-to-hf", DATA / "megatron_written" / "legacy_dense_tp2", tmp_path / "hf", "--reference", reference, expect=5)
    assert "mp_rank" in done.stderr
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("name", ["qwen3_dense", "llama_tied"])
def test_bridge_fixture(name, causeway, tmp_path):
    fixture = DATA / "bridge_written" / name
    arch, state = cases.bridge_source(fixture / "hf")
    causeway("export-to-hf", fixture / "megatron", tmp_path / "hf", "--reference", fixture / "hf")
    assert not dcp.different(state, cases.read_safetensors(tmp_path / "hf"))


# (case, spec, layout, vocabulary rows the training padded to)
WRITTEN = {
    "llama-te-tp2": ("llama", "te", Layout(tp=2), 256), "qwen2-te-tp2": ("qwen2", "te", Layout(tp=2), 158), "qwen3-te-pp3": ("qwen3", "te", Layout(pp=3), 157),
    "qwen3_tied_fp32-te-tp2": ("qwen3_tied_fp32", "te", Layout(tp=2), 256), "llama_tied_fp32-local-pp3": ("llama_tied_fp32", "local", Layout(pp=3), 157),
    "qwen2_tied-local-pp3": ("qwen2_tied", "local", Layout(pp=3), 256), "nemotron-te-pp3": ("nemotron", "te", Layout(pp=3), 157),
    "starcoder2-te-pp3": ("starcoder2", "te", Layout(pp=3), 157),
}


@pytest.mark.parametrize("which", WRITTEN)
def test_written_by_several_ranks(which, sources, pools, causeway, tmp_path):
    """Padding rows, which training fills with whatever it likes, do not come back."""
    name, spec, layout, rows = WRITTEN[which]
    source = sources(name)
    cases.save_by_ranks(pools[spec], source.arch, mapping.to_megatron(source.arch, source.state), tmp_path / "root", layout, rows, spec)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    check_folder(tmp_path / "hf", source.arch, source.state)


@pytest.mark.parametrize("name", [*cases.DENSE, *cases.MOE, *cases.KIN, *cases.OTHERS, "gpt_oss", "gpt_oss_square"])
def test_untouched_round_trip_gives_back_the_files(name, sources, converted, causeway, tmp_path):
    causeway("export-to-hf", converted(name, "te"), tmp_path / "hf")
    original = {path.name: path.read_bytes() for path in sources(name).folder.iterdir()}
    returned = {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()}
    assert sorted(returned) == sorted(original)
    assert [file for file in original if original[file] != returned[file]] == []


@pytest.fixture(scope="session", params=["llama", "qwen2", "qwen3", "llama_tied_fp32", "llama_bare"])
def trained(request, sources, converted, pools, causeway, tmp_path_factory):
    """A converted checkpoint that real megatron-core loaded, changed and saved, optimizer state and all: beside the converted
    iteration, where the tracker now points at it, and in a root of its own."""
    name = request.param
    source = sources(name)
    place = tmp_path_factory.mktemp(f"trained-{name}")
    root, elsewhere = place / "root", place / "elsewhere"
    causeway("convert-hf", source.folder, root)
    for folder in (root, elsewhere):
        (new,) = pools["te"].run("train_step", arch=source.arch, source=str(root / "iter_0000000"), directory=str(folder / "iter_0000010"), iteration=10)
        (folder / "latest_checkpointed_iteration.txt").write_text("10")
    expected = mapping.to_hf(source.arch, new)
    unchanged = [key for key in expected if torch.equal(expected[key], source.state[key])]
    assert not unchanged, f"training left {unchanged} as they were"
    return source, root, elsewhere, expected


def test_trained_in_place(trained, causeway, tmp_path):
    source, root, _, expected = trained
    causeway("export-to-hf", root, tmp_path / "hf")
    check_folder(tmp_path / "hf", source.arch, expected, source.bare)
    # the converted iteration is still there, and still the source
    causeway("export-to-hf", root, tmp_path / "first", "--iteration", "0")
    assert not dcp.different(cases.read_safetensors(source.folder), cases.read_safetensors(tmp_path / "first"))


@pytest.mark.parametrize("how", ["sidecar", "reference"])
def test_trained_elsewhere(trained, how, causeway, tmp_path):
    source, root, elsewhere, expected = trained
    where = root / "causeway" if how == "sidecar" else source.folder
    causeway("export-to-hf", elsewhere, tmp_path / "hf", f"--{how}", where)
    check_folder(tmp_path / "hf", source.arch, expected, source.bare)
    index = tmp_path / "hf" / "model.safetensors.index.json"
    if index.exists():  # the source's shard map is kept
        assert json.loads(index.read_text())["weight_map"] == json.loads((source.folder / index.name).read_text())["weight_map"]
