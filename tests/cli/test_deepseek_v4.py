"""DeepSeek-V4 as a user meets it: configurations that do not fit their tensors, wrong scales, codes and ids, models that only look
alike. Each is refused in one line that names the place."""
import json
import math

import pytest

from helpers import DATA, convert, copy_tree, edit_config, export, flip_bit, hashes, refused, run
from safetensors_raw import Model, Tensor, edit_tensors, renamed
from torch_dist_raw import Checkpoint

V4 = DATA / "deepseek_v4_fp8fp4" / "hf"
EXPERT = "layers.1.ffn.experts.2.w1"  # [64, 64] as I8, [64, 4] scales
LINEAR = "layers.0.attn.wq_b"         # [256, 64], [2, 1]
IDS = "layers.1.ffn.gate.tid2eid"     # [128, 2]


@pytest.fixture
def folder(tmp_path):
    return copy_tree(V4, tmp_path / "hf")


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


# --- config.json --------------------------------------------------------------------------------------------------

BIG = 1 << 62
HOSTILE = {
    "ratios too short": ({"compress_ratios": [0, 4, 128]}, []),
    "no ratios": ({"compress_ratios": []}, []),
    "ratios as a string": ({"compress_ratios": "0,4,128,4"}, ["0,4,128,4"]),
    "a ratio for all": ({"compress_ratios": 4}, []),
    "a ratio as a string": ({"compress_ratios": [0, "4", 128, 4, 0]}, []),
    "half a ratio": ({"compress_ratios": [0, 4.5, 128, 4, 0]}, ["4.5"]),
    "a negative ratio": ({"compress_ratios": [0, -4, 128, 4, 0]}, ["-4"]),
    "null for a ratio": ({"compress_ratios": [0, None, 128, 4, 0]}, []),
    "a list for a ratio": ({"compress_ratios": [0, [4], 128, 4, 0]}, []),
    "a huge ratio": ({"compress_ratios": [0, 4, BIG, 4, 0]}, [str(BIG)]),
    "a ratio beyond 64 bits": ({"compress_ratios": [0, 4, 1 << 64, 4, 0]}, []),
    "a ratio of 64": ({"compress_ratios": [0, 4, 64, 4, 0]}, ["64"]),
    "ratios exchanged": ({"compress_ratios": [4, 0, 128, 4, 0]}, ["layers.0.attn.", "layers.1.attn."]),
    "a depth that compresses": ({"compress_ratios": [0, 4, 128, 4, 4]}, ["mtp.0.attn.compressor", "missing"]),
    "no compression at all": ({"compress_ratios": [0] * 5}, ["layers.1.attn.compressor", "unknown"]),
    "more hash layers than layers": ({"num_hash_layers": 5}, ["layers.2.ffn.gate.tid2eid", "missing"]),
    "a hash layer more": ({"num_hash_layers": 3}, ["layers.2.ffn.gate.tid2eid", "missing"]),
    "a hash layer less": ({"num_hash_layers": 1}, ["layers.1.ffn.gate.bias", "missing"]),
    "negative hash layers": ({"num_hash_layers": -1}, []),
    "hash layers as a string": ({"num_hash_layers": "2"}, []),
    "no stream": ({"hc_mult": 0}, []),
    "negative streams": ({"hc_mult": -4}, ["-4"]),
    "three streams": ({"hc_mult": 3}, ["layers.0.hc_attn_fn", "[15, 384]"]),
    "streams beyond 64 bits": ({"hc_mult": 1 << 40}, []),
    "no groups": ({"o_groups": 0}, []),
    "groups that do not divide": ({"o_groups": 3}, ["3"]),
    "an expert more": ({"n_routed_experts": 5}, ["ffn.experts.4.", "missing"]),
    "an expert less": ({"n_routed_experts": 3}, ["ffn.experts.3.", "unknown"]),
    "no experts": ({"n_routed_experts": 0}, []),
    "experts without end": ({"n_routed_experts": BIG}, [str(BIG)]),
    "another width of the ids": ({"num_experts_per_tok": 3}, ["gate.tid2eid", "[128, 3]"]),
    "two shared experts": ({"n_shared_experts": 2}, ["shared_experts", "[128, 128]"]),
    "another vocabulary": ({"vocab_size": 127}, ["embed.weight", "[127, 128]"]),
    "another index": ({"index_n_heads": 8}, ["indexer.wq_b.weight", "[256, 64]"]),
    "two depths promised": ({"num_nextn_predict_layers": 2}, ["mtp.1.*", "--mtp drop"]),
    "depths not said": ({"num_nextn_predict_layers": None}, ["mtp.0.*", "--mtp drop"]),
    "blocks of 64": ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}}, [".scale: shape"]),
    "blocks of one number": ({"quantization_config": {"quant_method": "fp8", "weight_block_size": 128}}, ["block"]),
}

# A ratio that is none of 0, 4 and 128 is unsupported, whatever it is.
OF_ANOTHER_MODEL = {"a ratio as a string", "half a ratio", "a negative ratio", "a list for a ratio", "a huge ratio", "a ratio beyond 64 bits", "a ratio of 64"}


@pytest.mark.parametrize("case", HOSTILE)
def test_configurations_that_do_not_fit(case, folder, tmp_path):
    fields, words = HOSTILE[case]
    edit_config(folder, **fields)
    refused("convert-hf", folder, tmp_path, 5 if case in OF_ANOTHER_MODEL else 3, *words)


UNSUPPORTED = {
    "V4.1": ({"architectures": ["DeepseekV41ForCausalLM"], "model_type": "deepseek_v41"}, ["deepseek_v41", "DeepSeek-V4.1 is another", "convert a DeepSeek-V4"]),
    "V4.1 by its architecture": ({"architectures": ["DeepseekV41ForCausalLM"]}, ["DeepseekV41ForCausalLM", "DeepSeek-V4.1 is another", "convert a DeepSeek-V4"]),
    "V4.1 by its architecture alone": ({"architectures": ["DeepseekV41ForCausalLM"], "model_type": None}, ["DeepseekV41ForCausalLM", "convert a DeepSeek-V4"]),
    "V4.1 by its type": ({"model_type": "deepseek_v41"}, ["deepseek_v41"]),
    "V4.1 by its type alone": ({"architectures": None, "model_type": "deepseek_v41"}, ["deepseek_v41"]),
    "DSpark": ({"dspark_block_size": 4}, ["DSpark", "--mtp drop"]),
    "DSpark by its layers": ({"dspark_target_layer_ids": [1, 2]}, ["DSpark", "--mtp drop"]),
    "another activation": ({"hidden_act": "gelu"}, ["gelu"]),
    "another score": ({"scoring_func": "softmax"}, ["softmax"]),
    "two key-value heads": ({"num_key_value_heads": 2}, ["num_key_value_heads"]),
    "another format": ({"quantization_config": {"quant_method": "awq", "weight_block_size": [128, 128]}}, ["awq"]),
    "E5M2": ({"quantization_config": {"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]}}, ["e5m2"]),
    "ratios missing": ({"compress_ratios": None}, ["compress_ratios", "layer_types"]),
    "another compression": ({"compress_ratios": [0, 4, 64, 4, 0]}, ["64"]),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_other_models(case, folder, tmp_path):
    """Recognised, and refused by name."""
    fields, words = UNSUPPORTED[case]
    edit_config(folder, **fields)
    refused("convert-hf", folder, tmp_path, 5, *words)


def test_dspark_without_its_stages(folder, tmp_path):
    """--mtp drop converts the backbone."""
    edit_config(folder, dspark_block_size=4)
    convert(folder, tmp_path / "root", "--mtp", "drop")
    assert not [key for key in Checkpoint(tmp_path / "root").keys() if key.startswith("mtp.")]


@pytest.mark.parametrize("ratios", ([0, 4, 128, 4, 0, 0, 0], [0, 4, 128, 4], [0.0, 4, 128.0, 4, 0]))
def test_ratios_that_say_the_same(ratios, folder, tmp_path):
    """Spare zeros, none for the depths, whole numbers as floats."""
    convert(folder, tmp_path / "as released")
    edit_config(folder, compress_ratios=ratios)
    convert(folder, tmp_path / "root")
    data = [{name: value for name, value in hashes(tmp_path / root).items() if name.endswith((".distcp", ".metadata"))} for root in ("root", "as released")]
    assert data[0] == data[1]
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)


def test_ratios_beyond_the_layers(folder, tmp_path):
    """Entries that no layer reads: neither the release's code nor transformers does."""
    convert(folder, tmp_path / "as released")
    edit_config(folder, compress_ratios=[0, 4, 128, 4, 0, 128])
    assert "[0,4,128,4,0,128] has more entries" in convert(folder, tmp_path / "root").err
    data = [{name: value for name, value in hashes(tmp_path / root).items() if name.endswith((".distcp", ".metadata"))} for root in ("root", "as released")]
    assert data[0] == data[1]
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)


@pytest.mark.parametrize("number", (4, 5, 99))
def test_every_layer_routes_by_hash(number, folder, tmp_path):
    model = Model(folder)
    for layer in (2, 3):
        model.shard_of(f"layers.{layer}.ffn.gate.bias").pop(f"layers.{layer}.ffn.gate.bias")
        model.shard_of(IDS)[f"layers.{layer}.ffn.gate.tid2eid"] = Tensor("I64", [128, 2], model.shard_of(IDS)[IDS].data)
    model.save()
    edit_config(folder, num_hash_layers=number)
    convert(folder, tmp_path / "root")
    keys = Checkpoint(tmp_path / "root").keys()
    assert sorted(key for key in keys if key.endswith("tid2eid")) == [f"decoder.layers.{layer}.mlp.router.tid2eid" for layer in range(4)]
    assert [key for key in keys if key.endswith("expert_bias")] == ["mtp.layers.0.transformer_layer.mlp.router.expert_bias"]
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)


def test_streams_that_mix_otherwise(folder, tmp_path):
    """rms_norm_eps and hc_eps other than 1e-6: Megatron's hyper-connections keep that one."""
    edit_config(folder, hc_eps=1e-5)
    assert "hc_eps" in convert(folder, tmp_path / "root").err


# --- tensors ------------------------------------------------------------------------------------------------------


def remade(name, dtype, shape, size=1):
    def change(model):
        model.shard_of(name)[name] = Tensor(dtype, shape, bytes(size * math.prod(shape)))

    return change


def without(name):
    return lambda model: model.shard_of(name).pop(name)


def add(name, dtype, shape, size=1):
    def change(model):
        next(iter(model.shards.values()))[name] = Tensor(dtype, shape, bytes(size * math.prod(shape)))

    return change


WRONG = {
    "codes without scales": (without(EXPERT + ".scale"), [EXPERT + ".weight", "without its scales"]),
    "scales without codes": (without(EXPERT + ".weight"), [EXPERT + ".weight", "missing"]),
    "FP8 without scales": (without(LINEAR + ".scale"), [LINEAR + ".weight", "without its scales"]),
    "scales of 16": (remade(EXPERT + ".scale", "F8_E8M0", [64, 8]), [EXPERT + ".scale", "[64, 8]", "[64, 4]"]),
    "scales transposed": (remade(EXPERT + ".scale", "F8_E8M0", [4, 64]), [EXPERT + ".scale", "[4, 64]"]),
    "scales in F32": (remade(EXPERT + ".scale", "F32", [64, 4], 4), [EXPERT + ".scale", "F32"]),
    "scales in U8": (remade(EXPERT + ".scale", "U8", [64, 4]), [EXPERT + ".scale", "U8"]),
    "FP8 scales in BF16": (remade(LINEAR + ".scale", "BF16", [2, 1], 2), [LINEAR + ".scale", "BF16"]),
    "codes not packed": (remade(EXPERT + ".weight", "I8", [64, 128]), [EXPERT + ".weight", "[64, 128]"]),
    "codes in U8": (remade(EXPERT + ".weight", "U8", [64, 64]), [EXPERT + ".weight"]),
    "codes of another expert size": (remade(EXPERT + ".weight", "I8", [64, 63]), [EXPERT + ".weight", "[64, 63]"]),
    "a linear in I8": (remade(LINEAR + ".weight", "I8", [256, 64]), [LINEAR + ".weight"]),
    "scales of a compressor": (add("layers.1.attn.compressor.wkv.scale", "F8_E8M0", [1, 1]), ["layers.1.attn.compressor.wkv.scale", "unknown"]),
    "scales of V3": (add(EXPERT + ".weight_scale_inv", "F32", [1, 1], 4), [EXPERT + ".weight_scale_inv", "unknown"]),
    "FP8 in a compressor": (remade("layers.1.attn.compressor.wkv.weight", "F8_E4M3", [128, 128]), ["layers.1.attn.compressor.wkv.weight"]),
    "quantized embedding": (remade("embed.weight", "I8", [128, 64]), ["embed.weight"]),
    "quantized sink": (remade("layers.0.attn.attn_sink", "I8", [4]), ["layers.0.attn.attn_sink"]),
    "ids in F32": (remade(IDS, "F32", [128, 2], 4), [IDS, "F32"]),
    "ids in U8": (remade(IDS, "U8", [128, 2]), [IDS, "U8"]),
    "ids of one expert": (remade(IDS, "I64", [128, 1], 8), [IDS, "[128, 1]"]),
    "ids of a vector": (remade(IDS, "I64", [256], 8), [IDS, "[256]"]),
    "a bias on a hash layer": (add("layers.0.ffn.gate.bias", "F32", [4], 4), ["layers.0.ffn.gate.bias", "unknown"]),
    "ids in MTP": (add("mtp.0.ffn.gate.tid2eid", "I64", [128, 2], 8), ["mtp.0.ffn.gate.tid2eid", "unknown"]),
    "bias in FP8": (remade("layers.2.ffn.gate.bias", "F8_E4M3", [4], 1), ["layers.2.ffn.gate.bias", "F8_E4M3"]),
    "two alphas": (remade("layers.0.hc_ffn_scale", "F32", [2], 4), ["layers.0.hc_ffn_scale", "[2]"]),
    "no alphas": (without("mtp.0.hc_attn_scale"), ["mtp.0.hc_attn_scale", "missing"]),
    "no head of a depth": (without("mtp.0.hc_head_fn"), ["mtp.0.hc_head_fn", "missing"]),
    "no head": (without("hc_head_base"), ["hc_head_base", "missing"]),
    "Megatron's own name": (add("layers.0.alpha_pre", "F32", [1], 4), ["layers.0.alpha_pre", "unknown"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tensors(case, folder, tmp_path):
    change, words = WRONG[case]
    edit_tensors(folder, change)
    refused("convert-hf", folder, tmp_path, 3, *words)


@pytest.mark.parametrize("dtype", ("BF16", "F16"))
def test_narrow_router_bias(dtype, folder, tmp_path):
    """It widens to the F32 that Megatron keeps, and comes back byte for byte."""
    edit_tensors(folder, remade("layers.2.ffn.gate.bias", dtype, [4], 2))
    convert(folder, tmp_path / "root")
    assert Checkpoint(tmp_path / "root").dtype("decoder.layers.2.mlp.router.expert_bias") == "float32"
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)


def ids(model, values):
    tensor = model.shard_of(IDS)[IDS]
    tensor.data = b"".join(value.to_bytes(8, "little", signed=True) for value in values) + tensor.data[8 * len(values) :]
    model.save()


@pytest.mark.parametrize("id", (1 << 31, -(1 << 31) - 1, (1 << 63) - 1))
def test_ids_that_do_not_fit(id, folder, tmp_path):
    """Found while copying: nothing that looks finished is left."""
    ids(Model(folder), [0, 1, id])
    done = run("convert-hf", folder, tmp_path / "out", expect=3)
    assert "decoder.layers.1.mlp.router.tid2eid" in done.err and "I32" in done.err and "--dtype" not in done.err
    assert not (tmp_path / "out").exists()


def test_ids_of_32_bits(folder, tmp_path):
    """A source that holds what Megatron does."""
    model = Model(folder)
    for shard in model.shards.values():
        for name, tensor in shard.items():
            if name.endswith("tid2eid"):
                shard[name] = Tensor("I32", tensor.shape, b"".join(tensor.data[i : i + 4] for i in range(0, len(tensor.data), 8)))
    model.save()
    convert(folder, tmp_path / "root")
    convert(V4, tmp_path / "as released")
    key = "decoder.layers.1.mlp.router.tid2eid"
    payloads = []
    for root in ("root", "as released"):
        Checkpoint(tmp_path / root).edit(key, lambda payload: payloads.append(bytes(payload)))
    assert payloads[0] == payloads[1]
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)


# --- MTP that config.json counts as none ----------------------------------------------------------------------------


@pytest.fixture
def uncounted(folder):
    edit_config(folder, num_nextn_predict_layers=0)
    return folder


def test_uncounted_mtp_is_dropped_by_name(uncounted, tmp_path):
    """Its bytes lie in the sidecar, so that every file comes back."""
    report = tmp_path / "report.json"
    done = convert(uncounted, tmp_path / "root", "--report", report)
    mtp = {name for name in Model(uncounted).names() if name.startswith("mtp.")}
    assert len(mtp) > 60 and f"and {len(mtp) - 1} more: config.json counts no MTP layers" in done.out
    dropped = json.loads(report.read_text())["dropped"]
    assert len(dropped) == len(mtp) and {item["name"] for item in dropped} == mtp
    assert {item["reason"] for item in dropped} == {"config.json counts no MTP layers (num_nextn_predict_layers 0)"}
    assert not [key for key in Checkpoint(tmp_path / "root").keys() if key.startswith("mtp.")]
    assert "result   identical" in run("verify", uncounted, tmp_path / "root", "--mode", "hash", expect=0).out
    done = export(tmp_path / "root", tmp_path / "back", "--report", report)
    assert "put back mtp.0." in done.out and "from the sidecar" in done.out
    assert json.loads(report.read_text())["put_back_tensors"] == len(mtp)
    assert hashes(tmp_path / "back") == hashes(uncounted)
    export(tmp_path / "root", tmp_path / "with reference", "--reference", uncounted)
    assert hashes(tmp_path / "with reference") == hashes(uncounted)


def test_uncounted_mtp_comes_back_from_a_reference(uncounted, tmp_path):
    convert(uncounted, tmp_path / "root", "--sidecar", tmp_path / "sidecar")
    assert "from the reference" in export(tmp_path / "root", tmp_path / "back", "--reference", uncounted).out
    assert hashes(tmp_path / "back") == hashes(uncounted)
    # Nothing else knows of it.
    config_only = tmp_path / "config"
    config_only.mkdir()
    (config_only / "config.json").write_bytes((uncounted / "config.json").read_bytes())
    export(tmp_path / "root", tmp_path / "plain", "--reference", config_only, "--dtype", "bf16")
    assert not [name for name in Model(tmp_path / "plain").names() if name.startswith("mtp.")]
    # Another dtype is for what Megatron has.
    assert "left out mtp.0." in export(tmp_path / "root", tmp_path / "bf16", "--sidecar", tmp_path / "sidecar", "--dtype", "bf16").out
    assert Model(tmp_path / "bf16").names() == Model(tmp_path / "plain").names()


def test_uncounted_mtp_can_be_dropped(uncounted, tmp_path):
    """--mtp drop is for good: nothing of it is kept."""
    convert(uncounted, tmp_path / "root", "--mtp", "drop", "--report", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["dropped"] == [] and report["dropped_mtp_tensors"] > 60
    export(tmp_path / "root", tmp_path / "back", "--mtp", "drop")
    assert Model(tmp_path / "back").names() == [name for name in Model(uncounted).names() if not name.startswith("mtp.")]


def test_damage_to_uncounted_mtp_is_noticed(uncounted, tmp_path):
    convert(uncounted, tmp_path / "root")
    flip_bit(tmp_path / "root" / "causeway" / "witnesses.bin", -5)
    refused("export-to-hf", tmp_path / "root", tmp_path, 3, "witnesses.bin")


NO_MTP = {
    "a tensor that MTP has not": (add("mtp.0.gate.weight", "BF16", [4], 2), ["mtp.0.gate.weight"]),
    "a compressor": (add("mtp.0.attn.compressor.ape", "F32", [4, 256], 4), ["mtp.0.attn.compressor.ape"]),
    "an expert more": (add("mtp.0.ffn.experts.4.w1.weight", "BF16", [64, 128], 2), ["mtp.0.ffn.experts.4.w1.weight"]),
    "scales without codes": (without("mtp.0.ffn.experts.3.w1.weight"), ["mtp.0.ffn.experts.3.w1.scale"]),
    "a depth left out between": (renamed("mtp.0.enorm.weight", "mtp.2.enorm.weight"), ["mtp.2.enorm.weight"]),
    "an ordinary layer": (renamed("mtp.0.attn_norm.weight", "layers.4.attn_norm.weight"), ["layers.4.attn_norm.weight"]),
    "below a module": (renamed("mtp.0.enorm.weight", "model.mtp.0.enorm.weight"), ["model.mtp.0.enorm.weight"]),
}


@pytest.mark.parametrize("case", NO_MTP)
def test_what_is_no_mtp_is_unknown(case, uncounted, tmp_path):
    change, words = NO_MTP[case]
    edit_tensors(uncounted, change)
    refused("convert-hf", uncounted, tmp_path, 3, "1 unknown", *words)


def test_layers_that_are_not_counted_are_no_mtp(uncounted, tmp_path):
    edit_config(uncounted, num_hidden_layers=3)
    refused("convert-hf", uncounted, tmp_path, 3, "unknown", "layers.3.")


# --- Megatron's side ----------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    convert(V4, tmp_path / "root")
    return tmp_path / "root"


HC = "decoder.layers.1.mlp_hyper_connection."
MISSING = [HC + "alpha_pre", HC + "alpha_post", HC + "alpha_res", HC + "bias", "decoder.hc_head_scale", "mtp.layers.0.e_proj.weight",
           "decoder.layers.1.self_attention.linear_o_group_proj", "decoder.layers.0.mlp.router.tid2eid"]


@pytest.mark.parametrize("key", MISSING)
def test_a_missing_key_is_named(key, root, tmp_path):
    checkpoint = Checkpoint(root)
    checkpoint.metadata.remove(key)
    checkpoint.metadata.save()
    refused("export-to-hf", root, tmp_path, 3, key, "missing")


def test_what_megatron_wrote_needs_the_scales(tmp_path):
    """They are in no torch_dist checkpoint."""
    dev = DATA / "megatron_written" / "deepseek_v4_dev"
    reference = tmp_path / "config only"
    reference.mkdir()
    (reference / "config.json").write_bytes((V4 / "config.json").read_bytes())
    refused("export-to-hf", dev, tmp_path, 2, "scales", "--reference", "--dtype bf16", options=("--reference", reference))
    export(dev, tmp_path / "plain", "--reference", reference, "--dtype", "bf16")
    found = {name: tensor for shard in Model(tmp_path / "plain").shards.values() for name, tensor in shard.items()}
    source = {name: tensor for shard in Model(V4).shards.values() for name, tensor in shard.items()}
    assert found.keys() == {name for name in source if not name.endswith(".scale")}
    assert found[IDS] == source[IDS]  # of 64 bits, as the release has them
    export(dev, tmp_path / "back", "--reference", V4)
    assert hashes(tmp_path / "back") == hashes(V4)
