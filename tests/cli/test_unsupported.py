"""What is not supported is recognised and refused by its name (exit 5), with what to do instead on the second line."""
import json
import shutil

import pytest

from dcp_pickle import Metadata
from helpers import DATA, HF_FIXTURES, MOE_FIXTURES, copy_tree, edit_config, hf_fixture, refused
from safetensors_raw import Model, Tensor


def unsupported(command, source, folder, *words):
    done = refused(command, source, folder, 5, *words)
    lines = done.err.splitlines()
    assert len(lines) == 2 and lines[1].strip(), f"no remedy\n{done}"
    return done


@pytest.fixture
def root(tmp_path, converted):
    return copy_tree(converted("llama_tied"), tmp_path / "root")


@pytest.fixture
def folder(tmp_path):
    return copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")


def test_legacy_ranks(tmp_path):
    legacy = copy_tree(DATA / "megatron_written" / "legacy_dense_tp2", tmp_path / "legacy")
    unsupported("export-to-hf", legacy, tmp_path, "mp_rank_00", "legacy")


def test_one_legacy_folder(tmp_path):
    legacy = copy_tree(DATA / "megatron_written" / "legacy_dense_tp2", tmp_path / "legacy")
    unsupported("export-to-hf", legacy / "iter_0000000", tmp_path, "mp_rank_0")


def test_plain_dcp(root, tmp_path):
    (root / "iter_0000000" / "metadata.json").unlink()
    unsupported("export-to-hf", root, tmp_path, "metadata.json", "fsdp_dtensor")


@pytest.mark.parametrize("backend", ("zarr", "fsdp_dtensor", "torch_dcp", "\x1b[2J"))
def test_other_backends(backend, root, tmp_path):
    (root / "iter_0000000" / "metadata.json").write_text(json.dumps({"sharded_backend": backend, "sharded_backend_version": 1}))
    unsupported("export-to-hf", root, tmp_path, "metadata.json", backend.replace("\x1b", "\\x1b"))


def test_nemo_file(tmp_path):
    archive = tmp_path / "model.nemo"
    archive.write_bytes(b"x" * 1000)
    unsupported("export-to-hf", archive, tmp_path, "model.nemo", "NeMo")


def test_folder_of_a_nemo_file(tmp_path):
    (tmp_path / "nemo").mkdir()
    (tmp_path / "nemo" / "model.nemo").write_bytes(b"x" * 1000)
    unsupported("export-to-hf", tmp_path / "nemo", tmp_path, "model.nemo")


def test_modelopt(root, tmp_path):
    (root / "iter_0000000" / "modelopt_state").mkdir()
    unsupported("export-to-hf", root, tmp_path, "modelopt_state")


@pytest.mark.parametrize("key", ("decoder.layers.0.mixer.in_proj.weight", "decoder.layers.mixer.conv1d.weight"))
def test_hybrid_model(key, root, tmp_path):
    metadata = Metadata(root / "iter_0000000" / ".metadata")
    metadata.copy("decoder.final_layernorm.weight", key)
    metadata.copy("decoder.final_layernorm.weight", "decoder.final_norm.weight")
    metadata.remove("decoder.final_layernorm.weight")
    metadata.save()
    unsupported("export-to-hf", root, tmp_path, "Hybrid")


@pytest.mark.parametrize("name", ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model-Q8_0.gguf"))
def test_other_weights(name, folder, tmp_path):
    for path in folder.glob("model*"):
        path.unlink()
    (folder / name).write_bytes(b"x")
    unsupported("convert-hf", folder, tmp_path, name)


METHODS = ("gptq", "awq", "bitsandbytes", "compressed-tensors", "modelopt", "nvfp4", "mxfp4", "fbgemm_fp8", "FP8", "\n")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_quantization_methods(fixture, method, tmp_path):
    """By name, and with what to convert instead."""
    folder = copy_tree(hf_fixture(fixture), tmp_path / "hf")
    edit_config(folder, quantization_config={"quant_method": method, "weight_block_size": [128, 128]})
    refused("convert-hf", folder, tmp_path, 5, "config.json", "quantization_config", f"'{method}'".replace("\n", "\\x0a"), "convert the")


NVFP4 = {
    "modelopt": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "modelopt, by layer": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"lm_head": {"quant_algo": "W4A8_NVFP4_FP8"}}},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
    "compressed-tensors, by group": {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": {"group_0": {"format": "nvfp4-pack-quantized"}}},
}


@pytest.mark.parametrize("form", NVFP4)
@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_nvfp4_by_configuration(fixture, form, tmp_path):
    folder = copy_tree(hf_fixture(fixture), tmp_path / "hf")
    edit_config(folder, quantization_config=NVFP4[form])
    refused("convert-hf", folder, tmp_path, 5, "config.json", "quantization_config", "NVFP4 is not supported", "convert the BF16")
    edit_config(folder, quantization_config=None, text_config={"quantization_config": NVFP4[form]})
    refused("convert-hf", folder, tmp_path, 5, "config.json", "NVFP4 is not supported")


@pytest.mark.parametrize("suffixes", (("weight", "weight_scale", "weight_scale_2"), ("weight_packed", "weight_scale", "weight_global_scale")))
@pytest.mark.parametrize("fixture", ("qwen3_dense", "deepseek_v3_fp8"))
def test_nvfp4_by_tensors(fixture, suffixes, tmp_path):
    """What ModelOpt's older releases say in hf_quant_config.json only."""
    folder = copy_tree(hf_fixture(fixture), tmp_path / "hf")
    model = Model(folder)
    name = next(name for name in model.names() if name.endswith("o_proj.weight"))
    shard = model.shard_of(name)
    rows, columns = shard.pop(name).shape
    tensors = (Tensor("U8", [rows, columns // 2], bytes(rows * columns // 2)), Tensor("F8_E4M3", [rows, columns // 16], bytes(rows * (columns // 16))),
               Tensor("F32", [1], bytes(4)))
    for suffix, tensor in zip(suffixes, tensors):
        shard[name.removesuffix("weight") + suffix] = tensor
    model.save()
    refused("convert-hf", folder, tmp_path, 5, name.removesuffix("weight") + suffixes[2], "NVFP4 is not supported", "convert the BF16")


FORMS = {
    "no block size": ({"quant_method": "fp8"}, "weight_block_size"),
    "a scale for each tensor": ({"quant_method": "fp8", "weight_block_size": None}, "weight_block_size"),
    "another format": ({"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e5m2"}, "'e5m2'"),
    "static activations": ({"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"}, "'static'"),
    "no method": ({"weight_block_size": [128, 128]}, "quant_method"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fixture", ("qwen3_dense", *MOE_FIXTURES))
def test_forms_of_fp8(fixture, form, tmp_path):
    folder = copy_tree(hf_fixture(fixture), tmp_path / "hf")
    quantization, word = FORMS[form]
    edit_config(folder, quantization_config=quantization)
    refused("convert-hf", folder, tmp_path, 5, "config.json", "quantization_config", word, "convert the")


@pytest.mark.parametrize("architecture", ("FalconH1ForCausalLM", "Ernie4_5_MoeForCausalLM", "BertModel"))
def test_architecture_without_a_table(architecture, folder, tmp_path):
    edit_config(folder, architectures=[architecture], model_type="other")
    unsupported("convert-hf", folder, tmp_path, "config.json", architecture)


def test_unknown_arch_option(folder, tmp_path):
    refused("convert-hf", folder, tmp_path, 5, "GPT9", options=("--arch", "GPT9"))


def test_what_megatron_has_no_word_for(folder, tmp_path):
    edit_config(folder, hidden_act="gelu")
    refused("convert-hf", folder, tmp_path, 5, "config.json", "hidden_act", "gelu")


@pytest.mark.parametrize("reference,word", (("llama_tied", "2 layers"), ("qwen3_dense", "experts")))
def test_moe_checkpoint_for_a_dense_configuration(reference, word, tmp_path):
    """A checkpoint with experts and a reference without."""
    moe = copy_tree(DATA / "megatron_written" / "moe_homog_ep2_resave", tmp_path / "moe")
    refused("export-to-hf", moe, tmp_path, 3, word, options=("--reference", hf_fixture(reference)))


def test_verify_refuses_alike(folder, root, tmp_path):
    from helpers import check_message, run

    legacy = copy_tree(DATA / "megatron_written" / "legacy_dense_tp2", tmp_path / "legacy")
    check_message(run("verify", folder, legacy, "--mode", "hash"), 5, "mp_rank_0")
    shutil.rmtree(root / "iter_0000000" / "causeway", ignore_errors=True)
    (root / "iter_0000000" / "metadata.json").unlink()
    check_message(run("verify", root, folder, "--mode", "hash"), 5, "metadata.json")
    check_message(run("inspect", root), 5, "metadata.json")
    check_message(run("inspect", legacy), 5, "mp_rank_0")
