"""causeway-verify on models with a vision tower: its tensors are compared too, what a side lacks or has too much is refused by name,
and what a conversion left out on purpose is no difference. The wrong towers are in test_verify_mutations.py.

The two readings meet real software here: what Megatron-Bridge wrote of a Hugging Face folder, and what transformers saves."""
import json
import shutil

import pytest
import torch
import torch.distributed.checkpoint as torch_dcp
import transformers
import yaml

from interop.conftest import DATA
from interop.test_forward_views import EQUAL, verdicts
from interop.test_qwen3_5_export import under_other_keys
from interop.test_verify_mutations import differing
from oracles import dcp, hf_files

BRIDGE = ["qwen3_5_vl", "qwen3_5_moe_vl", "qwen3_6_moe_vl"]
BLOCK = ["attention_norm", "q", "k", "v", "o", "mlp_norm", "up", "down"]  # each with its bias
TOWER = ["patch_embedding", "places", "merger.norm", "merger.up", "merger.down"]  # those but places


def canonical(depth):
    """Every tensor of a tower."""
    names = [f"vision.blocks.{block}.{name}" for block in range(depth) for name in BLOCK] + [f"vision.{name}" for name in TOWER]
    return names + [f"{name}_bias" for name in names if name != "vision.places"]


def compared(report):
    return report["tensors"]["compared"]


@pytest.fixture
def pair(causeway_verify, tmp_path):
    """pair(a, b, ..., expect=0) -> (what it printed, its report)"""
    def run(*arguments, expect=0):
        done = causeway_verify(*arguments, "--report", tmp_path / "report.json", "--prompt-length", 4, expect=expect)
        return done, json.loads((tmp_path / "report.json").read_text())
    return run


# ---- what real software wrote ----


@pytest.mark.parametrize("name", BRIDGE)
def test_what_bridge_wrote_is_equal(name, causeway, tmp_path):
    fixture = DATA / "bridge_written" / name
    done = causeway("verify", "--mode", "both", fixture / "hf", fixture / "megatron", "--report", tmp_path / "report.json")
    assert "result   identical" in done.stdout and verdicts(done) | EQUAL == verdicts(done) and "parts" not in done.stdout
    text = sum(not name.startswith("model.visual.") for name in hf_files.read_safetensors(fixture / "hf"))
    assert compared(json.loads((tmp_path / "report.json").read_text())["logits"]) >= text + len(canonical(2))


def test_every_tensor_of_bridges_tower_counts(pair, tmp_path):
    """The last value of each of the last block's and of the frame's, which transformers calls so: those are named, and no others."""
    fixture = DATA / "bridge_written" / "qwen3_5_vl"
    shutil.copytree(fixture / "hf", tmp_path / "hf")
    state = hf_files.read_safetensors(tmp_path / "hf")
    for name in state:
        if name.startswith("model.visual.") and ".blocks.0." not in name:
            for part in state[name].chunk(3) if ".qkv." in name else [state[name]]:
                part.view(-1)[-1] += 1
    hf_files.write_safetensors(tmp_path / "hf", state)
    _, report = pair(tmp_path / "hf", fixture / "megatron", expect=1)
    assert {found["name"] for found in report["tensors"]["differences"]} == {name for name in canonical(2) if ".blocks.0." not in name}


def test_transformers_own_folder(pair, tmp_path):
    """Names and shapes as its modules have them: opening checks that none is missing, unknown or of another shape."""
    folder = DATA / "bridge_written" / "qwen3_5_vl" / "hf"
    config = transformers.AutoConfig.from_pretrained(folder)
    config.vision_config.depth, config.vision_config.num_heads, config.vision_config.patch_size = 3, 2, 2
    torch.manual_seed(1)
    transformers.Qwen3_5ForConditionalGeneration(config).save_pretrained(tmp_path / "hf")
    assert sum(name.startswith("model.visual.") for name in hf_files.read_safetensors(tmp_path / "hf")) == 9 + 12 * 3
    done, report = pair(tmp_path / "hf", tmp_path / "hf")
    assert verdicts(done) == EQUAL and compared(report) > len(canonical(3))


def changed_folder(source, target, change):
    shutil.copytree(source.folder, target)
    state = hf_files.read_safetensors(target)
    change(state)
    hf_files.write_safetensors(target, state)
    return target


# ---- other keys of the same ----


def written(tensors, like, target):
    """A checkpoint of these tensors, with run_config.yaml and the common state of another."""
    place = target / "iter_0000010"
    torch_dcp.save(tensors, storage_writer=torch_dcp.FileSystemWriter(place), no_dist=True, planner=torch_dcp.DefaultSavePlanner(flatten_state_dict=False))
    for file in ("common.pt", "metadata.json", "run_config.yaml"):
        shutil.copy(like / "iter_0000000" / file, place)
    (target / "latest_checkpointed_iteration.txt").write_text("10")
    return target


def local_norms(tensors):
    """As modules, which megatron-core's local specification of a vision layer has."""
    of = {"self_attention.linear_qkv.layer_norm_": "input_layernorm.", "mlp.linear_fc1.layer_norm_": "pre_mlp_layernorm."}
    out = {}
    for key, tensor in tensors.items():
        for fused, module in of.items():
            key = key.replace(fused, module) if key.startswith("vision_model.") else key
        out[key] = tensor
    return out


@pytest.mark.parametrize("which", ["vision layers apart", "vision norms that are modules"])
def test_other_keys(which, causeway_verify, qwen_sources, qwen_converted, tmp_path):
    old = dcp.read_tensors(qwen_converted("dense") / "iter_0000000")
    new = local_norms(old) if "norms" in which else under_other_keys(which, old, None)
    assert new.keys() != old.keys()
    done = causeway_verify(qwen_sources("dense").folder, written(new, qwen_converted("dense"), tmp_path / "root"))
    assert verdicts(done) == EQUAL


# ---- left out on purpose ----

LEFT_OUT = "parts          the text model only: "


@pytest.fixture(scope="module")
def text_root(qwen_sources, causeway, tmp_path_factory):
    root = tmp_path_factory.mktemp("text-only") / "root"
    causeway("convert-hf", qwen_sources("dense").folder, root, "--parts", "text")
    return root


@pytest.mark.parametrize("prefix", ["none", "language_model."])
def test_the_sidecar_says_it(prefix, causeway, qwen_sources, tmp_path):
    causeway("convert-hf", qwen_sources("moe").folder, tmp_path / "root", "--parts", "text", "--name-prefix", prefix)
    for mode in ("both", "logits"):
        done = causeway("verify", "--mode", mode, qwen_sources("moe").folder, tmp_path / "root", "--prompt-length", 4, "--report", tmp_path / "report.json")
        assert verdicts(done) | EQUAL == verdicts(done) and LEFT_OUT in done.stdout
        assert json.loads((tmp_path / "report.json").read_text())["logits"]["parts"] == "text"


def test_without_a_sidecar_the_keys_say_it(causeway, qwen_sources, text_root, tmp_path):
    shutil.copytree(text_root, tmp_path / "root", symlinks=True, ignore=shutil.ignore_patterns("causeway"))
    done = causeway("verify", qwen_sources("dense").folder, tmp_path / "root")
    assert "result   identical" in done.stdout and verdicts(done) | EQUAL == verdicts(done) and LEFT_OUT in done.stdout


def test_text_models_say_nothing_of_it(causeway, qwen_sources, qwen_converted):
    assert LEFT_OUT not in causeway("verify", "--mode", "logits", qwen_sources("dense_text").folder, qwen_converted("dense_text")).stdout


def test_what_nobody_left_out_on_purpose_is_a_difference(pair, qwen_sources, text_root):
    done, report = pair(qwen_sources("dense").folder, text_root, expect=1)
    assert verdicts(done) == EQUAL | {"configuration": "DIFFERENT", "tensors": "DIFFERENT"}
    assert {found["field"]: (found["a"], found["b"]) for found in report["configuration"]["differences"]}["vision.blocks"] == ("3", "")
    assert {found["name"] for found in report["tensors"]["differences"]} == set(canonical(3))
    assert {found["what"] for found in report["tensors"]["differences"]} == {"only in the first"}


def test_parts_text_where_both_have_a_tower_leaves_nothing_out(pair, qwen_sources, qwen_converted):
    """It is no way to look past a tower that is wrong."""
    done, report = pair(qwen_sources("dense").folder, qwen_converted("dense"), "--parts", "text")
    plain, other = pair(qwen_sources("dense").folder, qwen_converted("dense"))
    assert LEFT_OUT not in done.stdout and compared(report) == compared(other)


def test_a_source_that_never_had_its_tower(causeway, causeway_verify, qwen_sources, qwen_converted, tmp_path):
    """A text model that kept the configuration of the whole: convert-hf warns and takes it with --parts text."""
    def cut_out(state):
        for name in [name for name in state if name.startswith("model.visual.")]:
            del state[name]
    folder = changed_folder(qwen_sources("dense"), tmp_path / "hf", cut_out)
    causeway("convert-hf", folder, tmp_path / "root", "--parts", "text")
    done = causeway("verify", "--mode", "logits", folder, tmp_path / "root")  # bytes: such a source cannot be exported again as a whole
    assert verdicts(done) | EQUAL == verdicts(done)
    assert verdicts(causeway_verify(folder, qwen_converted("dense"), expect=1))["tensors"] == "DIFFERENT"


# ---- what a side lacks or has too much ----


@pytest.mark.parametrize("name", ["blocks.2.attn.qkv.bias", "pos_embed.weight"])
def test_a_folder_without_one(name, causeway_verify, qwen_sources, qwen_converted, tmp_path):
    folder = changed_folder(qwen_sources("dense"), tmp_path / "hf", lambda state: state.pop("model.visual." + name))
    for other in (qwen_converted("dense"), tmp_path / "hf"):
        done = causeway_verify(folder, other, expect=3)
        assert f"model.visual.{name} is missing: the configuration asks for vision." in done.stderr


@pytest.mark.parametrize("name", ["blocks.3.attn.qkv.bias", "merger.mlp.0.weight"])
def test_a_folder_with_one_more(name, causeway_verify, qwen_sources, qwen_converted, tmp_path):
    folder = changed_folder(qwen_sources("dense"), tmp_path / "hf", lambda state: state.update({"model.visual." + name: torch.zeros(3)}))
    done = causeway_verify(folder, qwen_converted("dense"), expect=3)
    assert f"model.visual.{name}: the model of config.json has no such tensor" in done.stderr


def test_a_checkpoint_without_one_or_with_one_more(causeway_verify, qwen_sources, qwen_converted, tmp_path):
    old = dcp.read_tensors(qwen_converted("dense") / "iter_0000000")
    gone = "vision_model.decoder.layers.mlp.linear_fc2.bias"
    lacks = written({key: tensor for key, tensor in old.items() if key != gone}, qwen_converted("dense"), tmp_path / "lacks")
    done = causeway_verify(qwen_sources("dense").folder, lacks, expect=3)
    assert "vision.blocks.0.down_bias is missing: no key for mlp.linear_fc2.bias (vision_model.)" in done.stderr
    more = written({**old, "vision_model.decoder.final_layernorm.weight": torch.zeros(24)}, qwen_converted("dense"), tmp_path / "more")
    done = causeway_verify(qwen_sources("dense").folder, more, expect=3)
    assert "vision_model.decoder.final_layernorm.weight: the configured model has no such tensor" in done.stderr


# ---- configuration ----


def other_config(root, target, change):
    shutil.copytree(root, target, symlinks=True)
    path = target / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config["model"])
    path.write_text(yaml.safe_dump(config))
    return target


def test_sizes_that_shapes_do_not_show(pair, qwen_sources, qwen_converted, tmp_path):
    """As many rows, other heads."""
    root = other_config(qwen_converted("dense"), tmp_path / "root", lambda model: model["vision_config"].update(num_heads=4))
    done, report = pair(qwen_sources("dense").folder, root, expect=1)
    assert report["configuration"]["differences"] == [{"field": "vision.heads", "a": "3", "b": "4"}]
    assert set(differing(done)) == {f"vision.blocks.{block}.{part}{kind}" for block in range(3) for part in "qkv" for kind in ("", "_bias")}
    partial, report = pair(qwen_sources("dense").folder, root, "--layers", "0:1")
    assert "PARTIAL" in partial.stdout and report["configuration"]["equal"]


def test_a_depth_that_the_tensors_do_not_have(causeway_verify, qwen_sources, qwen_converted, tmp_path):
    root = other_config(qwen_converted("dense"), tmp_path / "root", lambda model: model["vision_config"].update(depth=4))
    done = causeway_verify(qwen_sources("dense").folder, root, expect=3)
    assert "should be 4 layers or experts" in done.stderr


def test_without_its_sizes_the_tower_is_not_read(causeway, causeway_verify, qwen_sources, qwen_converted, tmp_path):
    """Megatron-LM's arguments say nothing of a tower; its run_config.yaml may be named. Bytes were compared all the same."""
    source, root = qwen_sources("dense"), qwen_converted("dense")
    shutil.copytree(root, tmp_path / "root", symlinks=True)
    (tmp_path / "root" / "iter_0000000" / "run_config.yaml").unlink()
    done = causeway_verify(source.folder, tmp_path / "root", expect=5)
    assert ": nothing says the sizes of the vision tower\n" in done.stderr and "--run-config FILE" in done.stderr
    done = causeway("verify", source.folder, tmp_path / "root")
    assert "result   identical" in done.stdout and "notice: the bytes were compared" in done.stderr
    done = causeway_verify(source.folder, tmp_path / "root", "--run-config", root / "iter_0000000" / "run_config.yaml")
    assert verdicts(done) == EQUAL
