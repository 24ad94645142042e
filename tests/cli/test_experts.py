"""Mixtures of experts: a configuration that does not fit the files, experts that are not all there, and --glu-interleave."""
import json

import pytest

from dcp_pickle import size
from helpers import DATA, MOE_FIXTURES, V3_FIXTURES, convert, copy_tree, edit_config, export, hashes, hf_fixture, refused, run
from safetensors_raw import Model
from torch_dist_raw import Checkpoint

QWEN = hf_fixture("qwen3_moe")
FC1 = {"qwen3_moe": "decoder.layers.mlp.experts.experts.linear_fc1.weight", "deepseek_v3": "decoder.layers.{}.mlp.experts.experts.linear_fc1.weight"}

# fixture, change of config.json, what the message names
MISFITS = {
    "an expert fewer": ("qwen3_moe", {"num_experts": 7}, ["layers.0.mlp.experts.7.up_proj.weight", "unknown"]),
    "an expert more": ("qwen3_moe", {"num_experts": 9}, ["layers.1.mlp.experts.8.gate_proj.weight", "missing"]),
    "experts in words": ("qwen3_moe", {"num_experts": "8"}, ["config.json", "num_experts"]),
    "half an expert": ("qwen3_moe", {"num_experts": 8.5}, ["config.json", "num_experts"]),
    "more experts than any model has": ("qwen3_moe", {"num_experts": 1 << 40}, ["config.json", "1099511627776 experts"]),
    "a dense layer": ("qwen3_moe", {"mlp_only_layers": [1]}, ["layers.1.mlp.gate_proj.weight", "missing"]),
    "every second layer": ("qwen3_moe", {"decoder_sparse_step": 2}, ["layers.0.mlp.gate_proj.weight", "missing"]),
    "no step": ("qwen3_moe", {"decoder_sparse_step": 0}, ["config.json", "sparse_step"]),
    "narrower experts": ("qwen3_moe", {"moe_intermediate_size": 31}, ["experts.0.gate_proj.weight: shape [32, 64]", "[31, 64]"]),
    "a layer fewer": ("qwen3_moe", {"num_hidden_layers": 1}, ["layers.1.input_layernorm.weight", "unknown"]),
    "a layer more": ("qwen3_moe", {"num_hidden_layers": 3}, ["layers.2.input_layernorm.weight", "missing"]),
    "V3: an expert fewer": ("deepseek_v3", {"n_routed_experts": 7}, ["layers.1.mlp.experts.7.up_proj.weight", "unknown"]),
    "V3: an expert more": ("deepseek_v3", {"n_routed_experts": 9}, ["layers.3.mlp.experts.8.gate_proj.weight", "missing"]),
    "V3: no expert": ("deepseek_v3", {"n_routed_experts": 0}, ["config.json", "layers.1.mlp.gate."]),
    "V3: experts below none": ("deepseek_v3", {"n_routed_experts": -1}, ["config.json", "experts is -1"]),
    "V3: a layer fewer": ("deepseek_v3", {"num_hidden_layers": 2}, ["model.layers.3.*", "num_nextn_predict_layers"]),
    "V3: a layer more": ("deepseek_v3", {"num_hidden_layers": 4}, ["model.layers.4.*", "--mtp drop"]),
    "V3: no dense layer": ("deepseek_v3", {"first_k_dense_replace": 0}, ["layers.0.mlp.gate.weight", "missing"]),
    "V3: two dense layers": ("deepseek_v3", {"first_k_dense_replace": 2}, ["layers.1.mlp.gate_proj.weight", "missing"]),
    "V3: dense layers below none": ("deepseek_v3", {"first_k_dense_replace": -1}, ["config.json", "dense_layers is -1"]),
    "V3: dense layers in words": ("deepseek_v3", {"first_k_dense_replace": "1"}, ["config.json", "first_k_dense_replace"]),
    "V3: two shared experts": ("deepseek_v3", {"n_shared_experts": 2}, ["shared_experts.gate_proj.weight: shape [32, 64]", "[64, 64]"]),
    "V3: no shared expert": ("deepseek_v3", {"n_shared_experts": 0}, ["shared_experts.down_proj.weight", "unknown"]),
    "V3: another rank": ("deepseek_v3", {"kv_lora_rank": 63}, ["kv_a_proj_with_mqa.weight: shape [80, 64]", "[79, 64]"]),
    "V3: queries of the rank that is taken when none is said": ("deepseek_v3", {"q_lora_rank": None}, ["q_a_proj.weight", "1536"]),
}


@pytest.mark.parametrize("case", MISFITS)
def test_configuration_and_files_disagree(case, tmp_path):
    fixture, fields, words = MISFITS[case]
    folder = copy_tree(hf_fixture(fixture), tmp_path / "hf")
    edit_config(folder, **fields)
    refused("convert-hf", folder, tmp_path, 3, *words)


@pytest.mark.parametrize("fixture", MOE_FIXTURES)
@pytest.mark.parametrize("parts", (["gate_proj"], ["up_proj"], ["down_proj"], ["gate_proj", "up_proj", "down_proj"]), ids=" ".join)
def test_one_expert_is_missing(fixture, parts, tmp_path):
    model = Model(copy_tree(hf_fixture(fixture), tmp_path / "hf"))
    names = [name for name in model.names() if "layers.1.mlp.experts.5." in name and any(part in name for part in parts)]
    assert len(names) == len(parts) * (2 if fixture == "deepseek_v3_fp8" else 1)
    for name in names:
        del model.shard_of(name)[name]
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, *(f"layers.1.mlp.experts.5.{part}.weight" for part in parts), f"{len(parts)} missing")


def test_checkpoint_with_other_experts(tmp_path, converted):
    """A Megatron tensor of fewer experts than the configuration has, and a configuration of fewer than the tensor."""
    root = copy_tree(converted("qwen3_moe"), tmp_path / "root")
    reference = copy_tree(QWEN, tmp_path / "reference")
    edit_config(reference, num_experts=4)
    refused("export-to-hf", root, tmp_path, 3, "num_moe_experts: checkpoint 8, config.json 4", options=("--reference", reference))
    checkpoint = Checkpoint(root)
    checkpoint.metadata.entries[FC1["qwen3_moe"]]["size"] = size(2, 9, 64, 64)
    checkpoint.metadata.save()
    refused("export-to-hf", root, tmp_path, 3, FC1["qwen3_moe"])


# --- GLU interleaving ---------------------------------------------------------------------------------------------


def rows_of(tensor):
    width = len(tensor.data) // tensor.shape[0]
    return [tensor.data[i : i + width] for i in range(0, len(tensor.data), width)]


def alternating(gate, up, count):
    """`count` rows of gate, `count` rows of up, and so on."""
    rows = []
    while gate:
        rows += gate[:count] + up[:count]
        gate, up = gate[count:], up[count:]
    assert not up
    return rows


@pytest.mark.parametrize("count", (1, 2, 8, 16, 32))
@pytest.mark.parametrize("fixture", ("qwen3_moe", "deepseek_v3"))
def test_interleaved_rows(fixture, count, tmp_path):
    """Every expert's fc1 by the definition; shared experts and dense layers as ever; the way back needs no option."""
    source = hf_fixture(fixture)
    root = tmp_path / "root"
    convert(source, root, "--glu-interleave", str(count))
    assert json.loads((root / "causeway" / "manifest.json").read_text())["choices"]["glu_interleave"] == count
    option = "moe_mlp_glu_interleave_size"  # Megatron's name of it: the rows mean nothing without
    assert f"\n  {option}: {count}\n" in (root / "iter_0000000" / "run_config.yaml").read_text()
    assert option.encode() in (root / "iter_0000000" / "common.pt").read_bytes()
    checkpoint, model = Checkpoint(root), Model(source)
    tensors = {name: tensor for shard in model.shards.values() for name, tensor in shard.items()}
    compared = 0
    for name in tensors:
        if not name.endswith("gate_proj.weight"):
            continue
        gate, up = rows_of(tensors[name]), rows_of(tensors[name.replace("gate_proj", "up_proj")])
        layer, routed = int(name.split(".")[2]), ".mlp.experts." in name
        if not routed:
            key = f"decoder.layers.{layer}.mlp." + ("shared_experts." if "shared" in name else "") + "linear_fc1.weight"
            leading = ()
        else:
            key, leading = FC1[fixture].format(layer), (*((layer,) if fixture == "qwen3_moe" else ()), int(name.split(".")[5]))
        if fixture == "deepseek_v3" and layer == 3:
            key = key.replace("decoder.layers.3", "mtp.layers.0.transformer_layer")
        assert checkpoint.rows(key, *leading) == (alternating(gate, up, count) if routed else gate + up), name
        compared += routed
    assert compared == (16 if fixture == "qwen3_moe" else 24)
    export(root, tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(source)
    run("verify", source, root, "--mode", "hash", expect=0)


def test_no_interleaving(converted):
    for name in ("run_config.yaml", "common.pt"):
        assert b"interleave_size" not in (converted("qwen3_moe") / "iter_0000000" / name).read_bytes()


def test_interleaving_without_the_sidecar(tmp_path):
    """The arguments in the checkpoint tell, and the option overrules them: another number gives other weights."""
    convert(QWEN, tmp_path / "root", "--glu-interleave", "4", "--sidecar", tmp_path / "side")
    for name, options in (("told", []), ("asked", ["--glu-interleave", "4"]), ("wrong", ["--glu-interleave", "8"])):
        export(tmp_path / "root", tmp_path / name, "--reference", QWEN, *options)
        differing = {path.name for path in (tmp_path / name).iterdir() if path.read_bytes() != (QWEN / path.name).read_bytes()}
        assert differing == ({"model-00001-of-00001.safetensors"} if name == "wrong" else set())
    run("verify", QWEN, tmp_path / "root", "--mode", "hash", "--sidecar", tmp_path / "side", expect=0)
    run("verify", QWEN, tmp_path / "root", "--mode", "hash", expect=0)


@pytest.mark.parametrize("count", ("3", "7", "64"))
@pytest.mark.parametrize("fixture", ("qwen3_moe", *V3_FIXTURES))
def test_interleaving_that_does_not_divide(fixture, count, tmp_path, converted):
    refused("convert-hf", hf_fixture(fixture), tmp_path, 2, f"--glu-interleave {count}", "32 rows", options=("--glu-interleave", count))
    refused("export-to-hf", converted(fixture), tmp_path, 2, f"--glu-interleave {count}", "32 rows", options=("--glu-interleave", count))


def test_interleaving_without_experts(tmp_path):
    dense = DATA / "bridge_written" / "qwen3_dense"
    refused("convert-hf", dense / "hf", tmp_path, 5, "--glu-interleave 8", "no expert", options=("--glu-interleave", "8"))
    refused("export-to-hf", dense / "megatron", tmp_path, 5, "--glu-interleave 8", "no expert", options=("--glu-interleave", "8", "--reference", dense / "hf"))
    for value in ("-1", "x", "1.5"):
        refused("convert-hf", QWEN, tmp_path, 2, "--glu-interleave", options=("--glu-interleave", value))
