"""Qwen3.5, 3.6 and Qwen3-Next: Hugging Face -> `causeway convert-hf` -> torch and real megatron-core. The vision tower, which
megatron-core does not have, is compared with oracles/qwen3_5.py, which is Bridge's."""
import dataclasses
import json
import shutil

import pytest
import torch

from interop import cases, qwen3_5_cases
from interop.conftest import DATA
from interop.test_forward_views import EQUAL, verdicts
from interop.test_fp8 import digests
from interop.test_qwen3_5_oracle import BRIDGE
from oracles import dcp, fp8, hf_files, qwen3_5, qwen3_5_reference, sharding
from oracles.layout import Layout

TEXT_AND_IMAGES = [name for name, case in qwen3_5_cases.CASES.items() if case.form.vision]


def tensors(root):
    return dcp.read_tensors(root / "iter_0000000")


@pytest.mark.parametrize("name", qwen3_5_cases.CASES)
def test_torch_reads_every_tensor(name, qwen_sources, qwen_converted):
    """In the dtype of the source, tensor by tensor; FP8 as bf16(float(code) * scale)."""
    assert not dcp.different(qwen3_5_cases.dist_keys(qwen_sources(name)), tensors(qwen_converted(name)))


@pytest.mark.parametrize("seed", range(100, 112))
def test_sizes_nobody_chose(seed, causeway, tmp_path):
    source = qwen3_5_cases.make(qwen3_5_cases.random_case(seed), tmp_path)
    causeway("convert-hf", source.folder, tmp_path / "root")
    assert not dcp.different(qwen3_5_cases.dist_keys(source), tensors(tmp_path / "root"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source.folder)


@pytest.mark.parametrize("dtype, torch_dtype", [("bf16", torch.bfloat16), ("fp32", torch.float32)])
@pytest.mark.parametrize("name", ["dense", "moe_3_6", "next", "moe_fp8", "dense_text_witnesses", "moe_3_6_witnesses"])
def test_other_dtypes(name, dtype, torch_dtype, qwen_sources, causeway, tmp_path):
    """One rounding, after the product with the scale or the subtraction in fp32; the files come back all the same."""
    source = qwen_sources(name)
    causeway("convert-hf", source.folder, tmp_path / "root", "--dtype", dtype)
    wide = fp8.plain(hf_files.read_safetensors(source.folder), (128, 128), torch.float32)
    wide = {key: tensor.float() for key, tensor in wide.items()}
    expected = {key: tensor.to(torch_dtype) for key, tensor in qwen3_5_cases.dist_keys(source, wide).items()}
    assert not dcp.different(expected, tensors(tmp_path / "root"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source.folder)


# ---- what is converted, and under which names ----


@pytest.mark.parametrize("name", ["dense_tied", "moe", "moe_3_6", "moe_fp8"])
def test_text_alone(name, qwen_sources, causeway, tmp_path):
    """Without prefix and vision tower, as text trainers have it; the sidecar gives the tower's bytes back."""
    source = qwen_sources(name)
    causeway("convert-hf", source.folder, tmp_path / "root", "--parts", "text")
    assert not dcp.different(qwen3_5_cases.dist_keys(source, prefix="", vision=False), tensors(tmp_path / "root"))
    causeway("verify", source.folder, tmp_path / "root")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source.folder)


@pytest.mark.parametrize("option, prefix", [("none", ""), ("language_model.", "language_model.")])
@pytest.mark.parametrize("name", ["dense", "moe_text"])
def test_name_prefix(name, option, prefix, qwen_sources, causeway, tmp_path):
    source = qwen_sources(name)
    causeway("convert-hf", source.folder, tmp_path / "root", "--name-prefix", option)
    assert not dcp.different(qwen3_5_cases.dist_keys(source, prefix=prefix), tensors(tmp_path / "root"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source.folder)


@pytest.mark.parametrize("name", ["dense", "moe_text", "next"])
def test_the_local_spec_has_the_same_keys(name, qwen_sources, causeway, tmp_path):
    """megatron-core has GatedDeltaNet in the TransformerEngine spec alone."""
    causeway("convert-hf", qwen_sources(name).folder, tmp_path / "root", "--spec", "local")
    assert not dcp.different(qwen3_5_cases.dist_keys(qwen_sources(name)), tensors(tmp_path / "root"))


def test_multi_token_prediction_can_be_left_out(qwen_sources, causeway, pools, tmp_path):
    source = qwen_sources("moe")
    causeway("convert-hf", source.folder, tmp_path / "root", "--mtp", "drop")
    expected = {key: tensor for key, tensor in qwen3_5_cases.dist_keys(source).items() if ".mtp." not in key}
    assert len(expected) < len(qwen3_5_cases.dist_keys(source))
    assert not dcp.different(expected, tensors(tmp_path / "root"))


@pytest.mark.parametrize("name", BRIDGE)
def test_bridge_writes_the_same(name, causeway, tmp_path):
    """From the same files, in Bridge's bf16: every tensor, and the objects Bridge wrote."""
    theirs = DATA / "bridge_written" / name
    causeway("convert-hf", theirs / "hf", tmp_path / "root", "--dtype", "bf16")
    assert not dcp.different(dcp.read_tensors(theirs / "megatron" / "iter_0000000"), tensors(tmp_path / "root"))
    objects = dcp.object_keys(theirs / "megatron" / "iter_0000000") - {"common_state/shard_0_1"}
    assert objects <= dcp.object_keys(tmp_path / "root" / "iter_0000000")


# ---- real megatron-core ----


@pytest.mark.parametrize("name", qwen3_5_cases.SAME_FUNCTION)
def test_logits(name, qwen_sources, qwen_converted, pools):
    """Of the main head and of multi-token prediction, after a default-strict load by the text model that a multimodal model
    has under its prefix: every parameter bit for bit, the logits those of transformers."""
    source = qwen_sources(name)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = pools["te"].run("load_and_run", arch=source.arch, directory=str(qwen_converted(name) / "iter_0000000"), tokens=ids,
                                          prefix=source.prefix)
    wide = {key: tensor.float() for key, tensor in source.state.items()}
    assert not dcp.different(qwen3_5.to_megatron(source.arch, wide), loaded)
    cases.close(logits, source.logits(ids))


# rows of the vocabulary, TEGroupedMLP
LAYOUTS = {"tp1": (Layout(), 157, True), "tp2": (Layout(tp=2), 256, False), "ep2": (Layout(ep=2), 157, True), "tp2_ep2": (Layout(tp=2, ep=2), 158, False),
           "pp2": (Layout(pp=2), 157, False)}


LOADS = [(name, layout) for name in ("moe", "moe_text", "moe_3_6", "moe_separate_mtp_packed_tied", "next_some_dense", "moe_fp8") for layout in ("tp1", "tp2", "ep2", "tp2_ep2")]
LOADS += [("moe_text", "pp2"), ("dense", "pp2")]
LOADS += [(name, layout) for name in ("dense_tied", "dense_3_6_text_tied", "dense_no_mtp", "dense_fp8") for layout in ("tp1", "tp2")]


@pytest.mark.parametrize("name, layout", LOADS, ids=map("-".join, LOADS))
def test_megatron_loads(name, layout, qwen_sources, qwen_converted, pools):
    """Default strictness, every rank, in the model's bf16."""
    source, (spread, rows, grouped) = qwen_sources(name), LAYOUTS[layout]
    full = {key: tensor.bfloat16() for key, tensor in qwen3_5.to_megatron(source.arch, source.state).items()}
    ranks = pools["te"].run("load", layout=spread, arch=source.arch, directory=str(qwen_converted(name) / "release"), vocab_rows=rows,
                            grouped=grouped and source.arch.moe is not None, prefix=source.prefix)
    for rank, loaded in enumerate(ranks):
        expected = {key: sharding.shard(key, full[key], spread, rank, rows, arch=source.arch) for key in loaded}
        assert not dcp.different(expected, loaded), f"rank {rank}"
    assert set().union(*ranks) == full.keys()


@pytest.mark.parametrize("name", qwen3_5_cases.CASES)
def test_objects_are_what_the_model_requires(name, qwen_sources, qwen_converted, pools):
    source = qwen_sources(name)
    ((_, required),) = pools["te"].run("requested_keys", arch=source.arch)
    found = {key for key in dcp.object_keys(qwen_converted(name) / "iter_0000000") if not key.startswith("vision_model.")}
    assert found == {source.prefix + key for key in required}


CLASSES = ["layers.0.self_attention.in_proj", "layers.0.self_attention.out_norm", "layers.0.self_attention.out_proj", "self_attention.linear_qkv",
           "layers.0.pre_mlp_layernorm", "mlp.shared_experts.linear_fc1", "mlp.experts.experts.linear_fc2", "mtp.layers.0.eh_proj", "decoder.final_layernorm"]


def test_each_class_of_extra_state_is_needed(qwen_sources, qwen_converted, pools, tmp_path):
    """Negative control: without the objects of any one class a default-strict load fails, naming it; untouched it succeeds."""
    whole = str(qwen_converted("moe_text") / "iter_0000000")
    copies = [dcp.copy_without(whole, tmp_path / kind, lambda key, kind=kind: f"{kind}._extra_state/" in key) for kind in CLASSES]
    (errors,) = pools["te"].run("load_errors", arch=qwen_sources("moe_text").arch, directories=[whole, *map(str, copies)])
    assert errors[0] is None
    for kind, error in zip(CLASSES, errors[1:]):
        assert error and f"{kind}._extra_state" in error, (kind, error)


# ---- what transformers saves ----


@pytest.mark.parametrize("name", ["moe", "moe_text", "dense_tied", "moe_text_vision_names", "dense_text", "next"])
def test_saved_by_transformers(name, qwen_sources, causeway, tmp_path):
    """It forgets multi-token prediction, of which the configuration goes on to speak: said, and converted with `--mtp drop`. The
    experts of a text model it saves one by one."""
    source = qwen_sources(name)
    qwen3_5_reference.loaded(source.plain).to(torch.bfloat16).save_pretrained(tmp_path / "saved")
    state, options = hf_files.read_safetensors(tmp_path / "saved"), []
    if source.arch.mtp and source.arch.family != "qwen3_next":  # whose configuration does not speak of it
        assert "--mtp drop" in causeway("convert-hf", tmp_path / "saved", tmp_path / "root", expect=3).stderr
        options = ["--mtp", "drop"]
    saved = dataclasses.replace(source, arch=dataclasses.replace(source.arch, mtp=0), state=state)
    causeway("convert-hf", tmp_path / "saved", tmp_path / "root", *options)
    assert not dcp.different(qwen3_5_cases.dist_keys(saved), tensors(tmp_path / "root"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(tmp_path / "saved")


# ---- refusals ----

MISSING = {"dense": "model.visual.blocks.2.attn.qkv.bias", "moe_3_6": "mtp.layers.0.mlp.experts.down_proj", "moe_separate": "model.layers.0.mlp.experts.5.up_proj.weight",
           "next": "model.layers.1.linear_attn.in_proj_ba.weight", "dense_text": "mtp.pre_fc_norm_hidden.weight"}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_tensor_is_named(name, qwen_sources, causeway, tmp_path):
    source = qwen_sources(name)
    state = {key: value for key, value in source.state.items() if key != MISSING[name]}
    done = causeway("convert-hf", hf_files.copy_with_tensors(source.folder, tmp_path / "hf", state), tmp_path / "root", expect=3)
    assert MISSING[name] in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name, extra", [("dense", "model.visual.deepstack_merger_list.0.norm.weight"), ("moe_text", "mtp.layers.1."),
                                         ("moe_text", "model.visual.pos_embed.weight")])
def test_a_tensor_too_many_is_named(name, extra, qwen_sources, causeway, tmp_path):
    source = qwen_sources(name)
    state = {**source.state, extra + "weight" if extra.endswith(".") else extra: torch.ones(4, dtype=torch.bfloat16)}
    done = causeway("convert-hf", hf_files.copy_with_tensors(source.folder, tmp_path / "hf", state), tmp_path / "root", expect=3)
    assert extra in done.stderr


def edited_copy(source, folder, edit):
    shutil.copytree(source.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    edit(config, config.get("text_config", config))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# (case, edit of config.json and its text_config, words of the message)
UNSUPPORTED = {
    "two depths, one fc": ("dense", lambda config, text: text.update(mtp_num_hidden_layers=2), "mtp_num_hidden_layers 2"),
    "two depths of a text model": ("moe_text", lambda config, text: text.update(mtp_num_hidden_layers=2), "mtp_num_hidden_layers 2"),
    "own embeddings": ("dense", lambda config, text: text.update(mtp_use_dedicated_embeddings=True), "mtp_use_dedicated_embeddings"),
    "another kind of layer": ("moe_text", lambda config, text: text["layer_types"].__setitem__(1, "sliding_attention"), "sliding_attention"),
    "another activation": ("dense", lambda config, text: text.update(hidden_act="gelu"), "hidden_act"),
    "NVFP4": ("moe", lambda config, text: config.update(quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4"}), "NVFP4"),
    "no gates": ("next", lambda config, text: config.update(attn_output_gate=False), "attn_output_gate false"),
    "another architecture": ("moe", lambda config, text: (config.update(model_type="qwen4_exp", architectures=["Qwen4ExpForConditionalGeneration"])), "qwen4_exp"),
}


@pytest.mark.parametrize("which", ["two depths, one fc", "own embeddings"])
def test_what_is_not_supported_may_be_dropped(which, qwen_sources, causeway, tmp_path):
    name, edit, _ = UNSUPPORTED[which]
    hf = edited_copy(qwen_sources(name), tmp_path / "hf", edit)
    causeway("convert-hf", hf, tmp_path / "root", "--mtp", "drop")
    assert verdicts(causeway("verify", hf, tmp_path / "root")) == EQUAL


@pytest.mark.parametrize("which", UNSUPPORTED)
def test_what_is_not_supported_is_refused(which, qwen_sources, causeway, tmp_path):
    name, edit, words = UNSUPPORTED[which]
    done = causeway("convert-hf", edited_copy(qwen_sources(name), tmp_path / "hf", edit), tmp_path / "root", expect=5)
    assert words in done.stderr and done.stderr.count("\n") <= 2
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", ["dense", "dense_no_mtp"])
def test_a_depth_nobody_counted_is_that_of_the_tensors(name, qwen_sources, causeway, tmp_path):
    """Not a default, and not what another family's key says: transformers' own configurations have no key for it."""
    source = qwen_sources(name)
    hf = edited_copy(source, tmp_path / "hf", lambda config, text: (text.pop("mtp_num_hidden_layers"), text.update(num_nextn_predict_layers=1 - source.arch.mtp)))
    causeway("convert-hf", hf, tmp_path / "root")
    assert not dcp.different(qwen3_5_cases.dist_keys(source), tensors(tmp_path / "root"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(hf)


def test_tensors_of_a_depth_counted_as_none_are_not_left_out_in_silence(qwen_sources, causeway, tmp_path):
    hf = edited_copy(qwen_sources("dense"), tmp_path / "hf", lambda config, text: text.update(mtp_num_hidden_layers=0))
    assert "--mtp drop" in causeway("convert-hf", hf, tmp_path / "root", expect=3).stderr


@pytest.mark.parametrize("top, inner", [(True, False), (False, True)])
def test_tied_is_what_the_top_of_the_configuration_says(top, inner, qwen_sources, causeway, tmp_path):
    source = qwen_sources("dense_tied" if top else "dense")
    hf = edited_copy(source, tmp_path / "hf", lambda config, text: (config.update(tie_word_embeddings=top), text.update(tie_word_embeddings=inner)))
    causeway("convert-hf", hf, tmp_path / "root")
    assert not dcp.different(qwen3_5_cases.dist_keys(source), tensors(tmp_path / "root"))
