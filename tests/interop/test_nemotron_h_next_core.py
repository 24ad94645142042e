"""Nemotron-H and Nemotron-3 on real megatron-core 0.19.2: its HybridModel loads what convert-hf writes, computes transformers' logits, and what
it saves exports.

Its MambaMixer is run as it is, but for the two functions and the norm of mamba_ssm that it calls, which are CUDA and Triton kernels and have no
other form: oracles/fake_mamba.py says them in plain torch. So names, shapes, sharding and the order of the parts are megatron-core's; the
arithmetic of the scan is a third statement of it, beside transformers'. What of this model is not run on a CPU: inference with a cache, packed
sequences and context parallelism, which no checkpoint depends on, and forward passes of several ranks (the stand-in of TransformerEngine does
not communicate). 0.16.1 has no nested multi-token prediction, so it is not asked.

Multi-token prediction: transformers has none for this model, so its blocks are put into a frame by hand (oracles/nemotron_h.py, logits)."""
import dataclasses
import functools
import json
import shutil

import pytest
import torch
import yaml

from interop import cases
from interop.test_dsa_next_core import NO_PART_OF_THE_MODEL, configuration_differs, same_files, save_point
from interop.test_table_mistakes import read_table, row
from oracles import dcp, hf_files, nemotron_h, nemotron_h_mapping, nemotron_h_reference
from oracles.layout import Layout
from oracles.pool import JobError

# As their modules have them: these are F32 whatever the file has.
KEPT = (".A_log", ".D", "expert_bias")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(form): (its Hybrid, folder, tensors)"""

    @functools.cache
    def get(name):
        folder = tmp_path_factory.mktemp(f"hf-{name}") / "hf"
        return nemotron_h_reference.shape(name), folder, nemotron_h_reference.make(name, folder)

    return get


@pytest.fixture(scope="module")
def converted(made, causeway, tmp_path_factory):
    """converted(form): the iteration folder that convert-hf wrote."""

    @functools.cache
    def get(name):
        root = tmp_path_factory.mktemp(f"megatron-{name}") / "root"
        causeway("convert-hf", made(name)[1], root)
        return root / "iter_0000000"

    return get


@pytest.fixture(scope="module")
def expected(made):
    """expected(form): transformers' logits, main and of each depth."""
    return functools.cache(lambda name: nemotron_h.logits(made(name)[1], nemotron_h_reference.tokens(made(name)[0])))


def run(core, arch, directory):
    """(parameters, logits) in fp32 after a default-strict load"""
    (result,) = core.run("load_and_run", arch=arch, directory=str(directory), tokens=nemotron_h_reference.tokens(arch))
    return result


def in_fp32(tensors):
    return {name: tensor.float() for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", nemotron_h.FORMS)
def test_keys_are_what_the_model_requires(name, made, converted, core):
    arch, directory = made(name)[0], converted(name)
    ((tensors, objects),) = core.run("requested_keys", arch=arch)
    assert (sorted(dcp.read_tensors(directory)), sorted(dcp.object_keys(directory))) == (tensors, objects)
    core.run("load_strictly", arch=arch, directory=str(directory))


@pytest.mark.parametrize("name", nemotron_h.FORMS)
def test_every_parameter_and_the_logits(name, made, converted, expected, core):
    """In BF16, as Float16Module makes the model (A_log and D too), and in fp32."""
    arch, _, state = made(name)
    full = nemotron_h_mapping.to_megatron(arch, state)
    (loaded,) = core.run("load", arch=arch, directory=str(converted(name)), vocab_rows=arch.vocab)
    biases = {key: value.float() for key, value in full.items() if key.endswith("expert_bias")}
    assert not dcp.different(full | biases, loaded)
    loaded, logits = run(core, arch, converted(name))
    assert not dcp.different(in_fp32(full), loaded)
    assert len(logits) == 1 + arch.mtp
    cases.close(logits, expected(name))


@pytest.mark.parametrize("name", nemotron_h.FORMS)
def test_the_instrument(name, made, expected, core):
    """The same without any checkpoint: the mapping and the stand-in agree with transformers."""
    arch, _, state = made(name)
    cases.close(nemotron_h_reference.logits(core, arch, state), expected(name))


def test_dtypes_that_the_modules_have(made, converted):
    """mamba_mixer.py, router.py: A_log, D and the router's bias are made in F32."""
    assert {key: tensor.dtype for key, tensor in dcp.read_tensors(converted("latent")).items() if tensor.dtype != torch.bfloat16} == {
        key: torch.float32 for key in dcp.read_tensors(converted("latent")) if key.endswith(KEPT)}


def test_the_configuration_is_that_of_the_model_that_ran(made, converted, sources, core):
    """What run_config.yaml does not say is what a model of another kind has."""
    (theirs,), (defaults,) = core.run("settings", arch=made("latent")[0]), core.run("settings", arch=sources("llama").arch)
    differ = configuration_differs(converted("latent"), theirs, defaults)
    assert not differ.keys() - NO_PART_OF_THE_MODEL, differ


@pytest.mark.parametrize("name", nemotron_h.FORMS)
def test_saved_by_megatron(name, made, causeway, core, tmp_path):
    """Loaded and saved again with optimizer state: the files come back byte by byte, A_log and D from BF16, as training has them."""
    arch, folder, _ = made(name)
    causeway("convert-hf", folder, tmp_path / "root")
    core.run("change", arch=arch, source=str(tmp_path / "root" / "iter_0000000"), directory=str(tmp_path / "root" / "iter_0000010"), iteration=10, changes={})
    save_point(tmp_path / "root", 10)
    assert dcp.read_tensors(tmp_path / "root" / "iter_0000010")["decoder.layers.0.mixer.A_log"].dtype == torch.bfloat16
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    same_files(folder, tmp_path / "back")


def test_trained(made, causeway, core, tmp_path):
    """One step on a loss of all heads, then export: every tensor of the folder is what training left, by the mapping; config.json stays."""
    arch, folder, _ = made("words")
    causeway("convert-hf", folder, tmp_path / "root")
    (new,) = core.run("train_step", arch=arch, source=str(tmp_path / "root" / "iter_0000000"), directory=str(tmp_path / "root" / "iter_0000010"), iteration=10)
    save_point(tmp_path / "root", 10)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    exported = nemotron_h_mapping.to_megatron(arch, hf_files.read_safetensors(tmp_path / "hf"))
    assert not dcp.different(in_fp32(new), in_fp32(exported))
    before = nemotron_h_mapping.to_megatron(arch, made("words")[2])
    # A router's bias is not trained. An expert without tokens keeps its weights, and BF16 may round a norm's step away.
    kept = {name for name in before if torch.equal(before[name].float(), exported[name].float())}
    assert not [name for name in kept if not name.endswith("expert_bias") and ".experts." not in name and "norm" not in name]
    assert any(".experts." in name for name in before.keys() - kept)
    assert (tmp_path / "hf" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


# ---- several ranks ----

LAYOUTS = {"tp2": Layout(tp=2), "ep2": Layout(ep=2), "pp2": Layout(pp=2), "tp2_ep2": Layout(tp=2, ep=2), "tp2_ep2_etp1": Layout(tp=2, ep=2, etp=1)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["experts", "latent"])
def test_loads_everywhere(name, layout, made, converted, core):
    """Every parameter of every rank; two pipeline stages by a pattern that says so ("M*|EE")."""
    arch, _, state = made(name)
    full, layout = in_fp32(nemotron_h_mapping.to_megatron(arch, state)), LAYOUTS[layout]
    ranks = core.run("load", layout=layout, arch=arch, directory=str(converted(name)), vocab_rows=arch.vocab)
    for rank, loaded in enumerate(ranks):
        assert not dcp.different({key: nemotron_h_mapping.shard(arch, key, full[key], layout, rank) for key in loaded}, in_fp32(loaded)), f"rank {rank}"
    assert set().union(*ranks) == full.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_written_by_several_ranks(layout, made, causeway, core, tmp_path):
    """Nothing here passed through convert-hf."""
    arch, folder, state = made("latent")
    full, layout = nemotron_h_mapping.to_megatron(arch, state), LAYOUTS[layout]
    parts = [{key: nemotron_h_mapping.shard(arch, key, value, layout, rank) for key, value in full.items()} for rank in range(layout.world)]
    core.run("save", layout=layout, arch=arch, directory=str(tmp_path / "root" / "iter_0000005"), vocab_rows=arch.vocab, parameters=parts, iteration=5)
    save_point(tmp_path / "root", 5)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", folder)
    same_files(folder, tmp_path / "hf")


def test_pipeline_stages_in_the_pattern(made, converted, causeway, tmp_path):
    """A run of several stages has their borders in its hybrid_layer_pattern, which is no part of the model."""
    root = shutil.copytree(converted("latent").parent, tmp_path / "root", symlinks=True)
    shutil.rmtree(root / "causeway")
    file = root / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(file.read_text())
    assert config["model"]["hybrid_layer_pattern"] == "M*EE/*E/*E"
    config["model"]["hybrid_layer_pattern"] = "M*|EE/*E/*E"
    file.write_text(yaml.safe_dump(config))
    causeway("export-to-hf", root, tmp_path / "hf", "--arch", "nemotron_h")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["hybrid_override_pattern"] == "M*EE"


# ---- settings that Megatron ignores, so that it computes another model from exact weights ----


def with_settings(folder, target, **settings):
    shutil.copytree(folder, target)
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return target


# (settings, what convert-hf says, the same in the arch)
OTHER_MODELS = {
    "time_step_min": (dict(time_step_min=0.5), "time_step_min 0.5", {}),
    "layer_norm_epsilon": (dict(layer_norm_epsilon=1e-3), "layer_norm_epsilon 0.001", dict(eps=1e-3)),
}


@pytest.mark.parametrize("which", OTHER_MODELS)
def test_a_warning_is_true(which, made, causeway, core, tmp_path):
    """convert-hf warns of both, and the logits are others indeed, for that reason alone (test_every_parameter_and_the_logits)."""
    settings, words, changes = OTHER_MODELS[which]
    folder = with_settings(made("mlp")[1], tmp_path / "hf", **settings)
    assert words in causeway("convert-hf", folder, tmp_path / "root").stderr
    arch = dataclasses.replace(made("mlp")[0], **changes)
    _, logits = run(core, arch, tmp_path / "root" / "iter_0000000")
    assert min(cases.distance(logits, nemotron_h.logits(folder, nemotron_h_reference.tokens(arch)))) > 10


def test_no_warning_without_a_reason(made, causeway, tmp_path):
    folder = with_settings(made("mlp")[1], tmp_path / "hf", time_step_min=0.0)
    assert "warning" not in causeway("convert-hf", folder, tmp_path / "root").stderr


# ---- mistakes in copies of the table ----


def reorder(ending, *parts):
    """The rows of a fused tensor cut as if its parts came in another order: shapes stay, and so do keys."""
    def edit(table):
        split = row(table, ending)[3]["split"]
        assert split.keys() == set(parts)
        row(table, ending)[3]["split"] = {part: split[part] for part in parts}
    return edit


def exchange_names(ending, other):
    def edit(table):
        a, b = row(table, ending), row(table, other)
        a[2], b[2] = b[2], a[2]
    return edit


def one_group(table):
    row(table, "linear_qkv.weight")[3]["groups"] = "1"


def rotated_experts(table):
    found = row(table, "{e}.linear_fc2.weight")
    found[2] = found[2].replace("{e}", "{(e + 1) % experts}")


def rotated_depths(table):
    for family, number in (("mtp_first", "{((l + 1) % depths) * blocks}"), ("mtp_second", "{((l + 1) % depths) * blocks + blocks - 1}")):
        table["families"][family]["hf"] = f"mtp.layers.{number}"


# (form, mistake, parts of the names of parameters that are wrong then, first of [main, depth 1, ...] that differs)
MISTAKES = {
    "z and x": ("latent", reorder("mixer.in_proj.weight", ".x", ".z", ".B", ".C", ".dt"), "mixer.in_proj.weight", 0),
    "B and C": ("latent", reorder("mixer.in_proj.weight", ".z", ".x", ".C", ".B", ".dt"), "mixer.in_proj.weight", 0),
    "B and C of the convolution": ("latent", reorder("mixer.conv1d.weight", ".x", ".C", ".B"), "mixer.conv1d_weight", 0),
    "biases of the convolution": ("latent", reorder("mixer.conv1d.bias", ".B", ".C", ".x"), "mixer.conv1d_bias", 0),
    "A_log and D": ("latent", exchange_names("mixer.A_log", "mixer.D"), "mixer.A_log", 0),
    "dt_bias and D": ("latent", exchange_names("mixer.dt_bias", "mixer.D"), "mixer.dt_bias", 0),
    "one group of queries": ("latent", one_group, "linear_qkv.weight", 0),
    "experts rotated": ("latent", rotated_experts, "experts.linear_fc2.weight", 0),
    "depths rotated": ("latent", rotated_depths, "mtp_model_layer", 1),
    "enorm and hnorm": ("latent", exchange_names("enorm.weight", "hnorm.weight"), "enorm.weight", 1),
}


def convert_with(table, folder, causeway, work, expect=0):
    (work / "table.jsonc").write_text(json.dumps(table))
    return causeway("convert-hf", folder, work / "root", "--mapping", work / "table.jsonc", expect=expect)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows(mistake, made, expected, causeway, core, tmp_path):
    """The load goes through; parameters and logits tell, those before the mistake stay equal."""
    name, edit, where, first = MISTAKES[mistake]
    arch, folder, state = made(name)
    table = read_table("nemotron_h")
    edit(table)
    convert_with(table, folder, causeway, tmp_path)
    loaded, logits = run(core, arch, tmp_path / "root" / "iter_0000000")
    assert any(where in line for line in dcp.different(in_fp32(nemotron_h_mapping.to_megatron(arch, state)), loaded))
    apart = cases.distance(logits, expected(name))
    assert max(apart[:first], default=0) <= 1 and min(apart[first:]) > 100, apart


def test_a_row_that_is_not_there_is_refused(made, causeway, tmp_path):
    table = read_table("nemotron_h")
    table["rows"] = [found for found in table["rows"] if not found[0].endswith("mixer.A_log")]
    assert "A_log" in convert_with(table, made("latent")[1], causeway, tmp_path, expect=3).stderr


def test_the_key_of_a_gpt_model_does_not_load(made, causeway, core, tmp_path):
    table = read_table("nemotron_h")
    row(table, "decoder.final_norm.weight")[0] = "decoder.final_layernorm.weight"
    convert_with(table, made("latent")[1], causeway, tmp_path)
    with pytest.raises(JobError) as refused:
        run(core, made("latent")[0], tmp_path / "root" / "iter_0000000")
    assert "decoder.final_norm.weight" in str(refused.value)


def test_a_log_stays_f32(made, causeway, core, tmp_path):
    """Where the source has A_log in F32, so has the model; a table that rounds it shows."""
    arch, folder, state = made("latent")
    exact = {name: tensor.float() + 2.0**-12 if name.endswith("A_log") else tensor for name, tensor in state.items()}
    folder = hf_files.copy_with_tensors(folder, tmp_path / "hf", exact)
    full = in_fp32(nemotron_h_mapping.to_megatron(arch, exact))
    table = read_table("nemotron_h")
    for keep, wrong in (("F32", []), ("BF16", ["decoder.layers.0.mixer.A_log"])):
        row(table, "mixer.A_log")[3]["keep"] = keep
        (tmp_path / keep).mkdir()
        convert_with(table, folder, causeway, tmp_path / keep)
        loaded, _ = run(core, arch, tmp_path / keep / "root" / "iter_0000000")
        assert [line.partition(":")[0] for line in dcp.different(full, loaded)] == wrong
    causeway("export-to-hf", tmp_path / "F32" / "root", tmp_path / "back")
    same_files(folder, tmp_path / "back")
