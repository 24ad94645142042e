"""Megatron checkpoints of other programs: NeMo's folders, adapters, MTP that training added; and what Megatron-LM needs to load ours."""
import json

import pytest

from dcp_pickle import Metadata
from helpers import check_message, convert, copy_tree, edit_config, export, hashes, hf_fixture, refused, run
from safetensors_raw import Model, Tensor
from torch_dist_raw import Checkpoint

FIXTURE = "qwen3_dense"


def rename(folder, change):
    """Keys by change(key)."""
    metadata = Metadata(folder / ".metadata")
    for key in metadata.tensors():
        if change(key) != key:
            metadata.copy(key, change(key))
            metadata.remove(key)
    metadata.save()


@pytest.fixture
def nemo(tmp_path, converted):
    """make(weights folder, prefix) -> a checkpoint of NeMo."""

    def make(name, prefix):
        folder = tmp_path / "nemo"
        copy_tree(converted(FIXTURE) / "iter_0000000", folder / name)
        (folder / name / "run_config.yaml").unlink()
        (folder / "context").mkdir()
        (folder / "context" / "model.yaml").write_text("_target_: nemo.collections.llm.LlamaModel\n")
        rename(folder / name, lambda key: prefix + key)
        return folder

    return make


@pytest.mark.parametrize("name, prefix", (("weights", "module."), ("model_weights", "model.")))
def test_nemo(name, prefix, nemo, tmp_path):
    folder = nemo(name, prefix)
    source = hf_fixture(FIXTURE)
    for given in (folder, folder / name):
        done = export(given, tmp_path / "back", "--reference", source, "--overwrite")
        assert f"keys     begin with {prefix}" in done.out
        assert hashes(tmp_path / "back") == hashes(source)
        run("verify", "--mode", "hash", source, given, expect=0)
        told = json.loads(run("inspect", given, "--json", expect=0).out)
        assert told["key_prefix"] == prefix and told["kind"] == "megatron"
    refused("export-to-hf", folder, tmp_path, 2, "--iteration 3", "NeMo", options=("--reference", source, "--iteration", "3"))


def test_nemo_with_a_key_outside_of_the_prefix(nemo, tmp_path):
    folder = nemo("weights", "module.")
    rename(folder / "weights", lambda key: key.removeprefix("module.") if key.endswith("final_layernorm.weight") else key)
    refused("export-to-hf", folder, tmp_path, 3, "module.", options=("--reference", hf_fixture(FIXTURE)))


LORA = {
    "wrapped": lambda key: key.replace("linear_proj.", "linear_proj.to_wrap."),
    "adapter": lambda key: key.replace("linear_proj.", "linear_proj.adapter.linear_in."),
    "nemo 1": lambda key: key.replace("linear_proj.", "lora_kqv_adapter.linear_in."),
}


@pytest.mark.parametrize("form", LORA)
def test_adapters(form, tmp_path, converted):
    root = copy_tree(converted(FIXTURE), tmp_path / "root")
    rename(root / "iter_0000000", LORA[form])
    refused("export-to-hf", root, tmp_path, 5, "LoRA", "not merged", "merge", "linear_in" if form != "wrapped" else "to_wrap")


def test_second_norm_of_queries(tmp_path, converted):
    root = copy_tree(converted("deepseek_v3"), tmp_path / "root")
    metadata = Metadata(root / "iter_0000000" / ".metadata")
    metadata.copy("decoder.final_layernorm.weight", "decoder.layers.0.self_attention.linear_q_proj.layer_norm_weight")
    metadata.save()
    refused("export-to-hf", root, tmp_path, 5, "linear_q_proj.layer_norm_weight", "0.19", "qk_layernorm")


def test_mtp_that_training_added(tmp_path, converted):
    """Keys of it are never lost in silence, whatever is done with them; a part of them is no depth that could be kept."""
    root = copy_tree(converted(FIXTURE), tmp_path / "root")
    checkpoint = Checkpoint(root)
    for name in ("enorm.weight", "hnorm.weight", "transformer_layer.mlp.linear_fc1.layer_norm_weight"):
        checkpoint.metadata.copy("decoder.final_layernorm.weight", f"mtp.layers.0.{name}")
    checkpoint.metadata.save()
    refused("export-to-hf", root, tmp_path, 3, "3 tensors mtp.layers.0.*", "--mtp drop", "--mtp keep")
    refused("export-to-hf", root, tmp_path, 3, "mtp.layers.0.eh_proj.weight", options=["--mtp", "keep"])
    done = export(root, tmp_path / "back", "--mtp", "drop")
    assert "dropped  3 MTP tensors" in done.out
    assert hashes(tmp_path / "back") == hashes(hf_fixture(FIXTURE))


def flags(path, *options):
    return run("inspect", path, "--megatron-args", *options, expect=0).out.splitlines()


def test_flags_for_megatron_lm(tmp_path, converted):
    root = converted(FIXTURE)
    first, *rest = flags(root)
    assert first == "--norm-epsilon 1.0e-06 --qk-layernorm --bf16"
    assert all(line.startswith("#") for line in rest) and "#   qk_layernorm = True" in rest
    assert flags(hf_fixture(FIXTURE))[0] == first  # what convert-hf would write
    told = json.loads("\n".join(flags(root, "--json")))
    assert told["flags"] == ["--norm-epsilon 1.0e-06", "--qk-layernorm", "--bf16"] and told["provider"]["layernorm_epsilon"] == "1.0e-06"
    line = convert(hf_fixture(FIXTURE), tmp_path / "out").out.splitlines()[-1]
    assert f"causeway inspect {tmp_path / 'out'} --megatron-args" in line
    v3 = flags(converted("deepseek_v3"))
    for flag in ("--multi-latent-attention", "--kv-lora-rank", "--moe-router-load-balancing-type seq_aux_loss", "--moe-router-dtype fp32"):
        assert flag in v3[0], v3


def test_flags_without_arguments(nemo):
    folder = nemo("weights", "module.")
    (folder / "weights" / "common.pt").unlink()
    done = run("inspect", folder, "--megatron-args")
    check_message(done, 3, "no arguments")


def test_the_json_of_inspect_has_what_the_text_has(converted):
    told = json.loads(run("inspect", converted(FIXTURE), "--json", expect=0).out)
    assert told["iteration"] == "release" and told["content"] == {"checkpoint_version": 3.0, "iteration": 0, "args": True}
    assert told["data_files"] == 1 and told["run_config"] is True and told["sidecar"] is True
    assert sum(each["bytes"] for each in told["dtypes"].values()) == told["bytes"]
    assert sum(each["tensors"] for each in told["dtypes"].values()) == told["tensor_count"]
    told = json.loads(run("inspect", hf_fixture(FIXTURE), "--json", expect=0).out)
    assert told["shards"] == 1 + len(list(hf_fixture(FIXTURE).glob("*.safetensors"))) - 1 and told["has_index"] is True
    assert told["not_converted"] == [] and set(told["dtypes"]) == {"BF16"}


def test_mappings_as_json():
    tables = json.loads(run("mappings", "list", "--json", expect=0).out)
    text = run("mappings", "list", expect=0).out
    assert 3 * len(tables) == len(text.splitlines()) > 5
    for table in tables:
        assert f"{table['table']} " in text and table["architectures"] and ", ".join(table["architectures"]) in text
        assert f" {table['models']}; {', '.join(table['dtypes'])}; MTP: {table['mtp']}\n" in text
        assert ", ".join(table["checked"]) in text
    assert "qwen3" in [kind for table in tables for kind in table["model_types"]]


@pytest.mark.parametrize("option", ("--memory", "--file-size"))
@pytest.mark.parametrize("value", ("x", "-1", "12XB", "0"))
def test_a_size_that_is_none_names_its_option(option, value, tmp_path):
    refused("convert-hf", hf_fixture(FIXTURE), tmp_path, 2, f"{option}: '{value}' is not a size", options=(f"{option}={value}",))


def test_new_shards_keep_the_number_of_parameters(tmp_path):
    """metadata.total_parameters of transformers 5: adjusted by what an export leaves out."""
    folder = copy_tree(hf_fixture("deepseek_v3"), tmp_path / "hf")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "metadata": {"total_parameters": 1_000_000, **index["metadata"]}}))
    convert(folder, tmp_path / "root")

    def metadata(*options):
        export(tmp_path / "root", tmp_path / "back", "--overwrite", "--max-shard-size", "200KB", *options)
        return json.loads((tmp_path / "back" / path.name).read_text())["metadata"]

    assert metadata() == {"total_parameters": 1_000_000, **index["metadata"]}
    small = metadata("--mtp", "drop")
    dropped = index["metadata"]["total_size"] - small["total_size"]
    # BF16 but for the router's bias.
    assert 0 < 1_000_000 - small["total_parameters"] <= dropped // 2


def test_wrapped_class_names(tmp_path):
    """FSDP puts its name before the class's: the remedy is named, and remembered once it was taken."""
    folder = copy_tree(hf_fixture(FIXTURE), tmp_path / "hf")
    edit_config(folder, architectures=["FSDPQwen3ForCausalLM"])
    refused("convert-hf", folder, tmp_path, 5, "FSDPQwen3ForCausalLM", "--arch Qwen3ForCausalLM")
    convert(folder, tmp_path / "root", "--arch", "Qwen3ForCausalLM")
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)
    run("verify", "--mode", "hash", folder, tmp_path / "root", expect=0)


def test_copies_of_mtp_that_differ(tmp_path):
    folder = copy_tree(hf_fixture("deepseek_v3"), tmp_path / "hf")
    model = Model(folder)
    name = next(name for name in model.names() if name.endswith("embed_tokens.weight") and ".layers." in name)
    tensor = model.shard_of(name)[name]
    tensor.data = bytes([tensor.data[0] ^ 1]) + tensor.data[1:]
    model.save()
    done = run("convert-hf", folder, tmp_path / "out")
    check_message(done, 3, name, "differs", "--mtp drop")
    convert(folder, tmp_path / "out", "--mtp", "drop")


def test_fp8_with_one_scale(tmp_path):
    folder = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    model = Model(folder)
    shard = next(iter(model.shards.values()))
    name = next(name for name in shard if name.endswith("q_proj.weight"))
    shape = shard[name].shape
    shard[name] = Tensor("F8_E4M3", shape, bytes(shape[0] * shape[1]))
    for suffix in ("weight_scale", "input_scale"):
        shard[name.replace("weight", suffix)] = Tensor("F32", [], b"\0\0\x80\x3f")
    model.save()
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    refused("convert-hf", folder, tmp_path, 5, "FP8 with one scale", "ModelOpt", "BF16 release")
    edit_config(folder, quantization_config={"quant_algo": "FP8", "producer": {"name": "modelopt"}})
    convert(folder, tmp_path / "out")
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)
