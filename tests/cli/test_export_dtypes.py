"""Dtypes of an export: what config.json says, casts that would change a value, and dtypes that differ inside one tensor."""
import json
import struct

import pytest
from helpers import V3_FIXTURES, check_message, convert, copy_tree, edit_config, export, hashes, hf_fixture, nothing_written, run
from safetensors_raw import Model
from torch_dist_raw import Checkpoint

SOURCE = hf_fixture("qwen3_dense")
TENSOR = "decoder.final_layernorm.weight"


def dtype_of(folder):
    config = json.loads((folder / "config.json").read_text())
    return config.get("dtype", config.get("torch_dtype"))


def to_f32(data):
    return b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))


def f32_to_bf16(data):
    assert all(data[i : i + 2] == b"\0\0" for i in range(0, len(data), 4))
    return b"".join(data[i + 2 : i + 4] for i in range(0, len(data), 4))


@pytest.mark.parametrize("said", ("float16", "float32", "bfloat16"))
def test_a_configuration_without_weights(said, tmp_path, converted):
    """It gives no dtype, and is told the one that is written."""
    reference = copy_tree(SOURCE, tmp_path / "reference")
    for file in reference.glob("*.safetensors*"):
        file.unlink()
    edit_config(reference, **({"dtype": said} if "dtype" in json.loads((SOURCE / "config.json").read_text()) else {"torch_dtype": said}))
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    (root / "causeway").rename(tmp_path / "sidecar")
    done = export(root, tmp_path / "back", "--reference", reference)
    assert dtype_of(tmp_path / "back") == "bfloat16"
    assert ("config   dtype: bfloat16" in done.out) == (said != "bfloat16")


def test_what_a_release_says_of_its_own_weights_stays(tmp_path):
    source = copy_tree(SOURCE, tmp_path / "source")
    edit_config(source, dtype="float32", torch_dtype="float32")
    convert(source, tmp_path / "root")
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(source)


@pytest.fixture
def trained(tmp_path):
    """A BF16 model trained in F32: three values of the last norm are no BF16 numbers."""
    convert(SOURCE, tmp_path / "root", "--dtype", "fp32")
    edit = struct.pack("<3f", 1.0001, 0.30001, 1e-9)
    Checkpoint(tmp_path / "root").edit(TENSOR, lambda payload: payload.__setitem__(slice(0, 12), edit))
    return tmp_path / "root"


def test_a_cast_that_changes_values_is_refused(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    with nothing_written(tmp_path / "empty"):
        done = run("export-to-hf", trained, tmp_path / "empty" / "out", expect=3)
    check_message(done, 3, "model.norm.weight: 3 of ", "from F32 to BF16", "--dtype bf16", "--dtype fp32")


@pytest.mark.parametrize("dtype", ("source", "bf16"))
def test_asked_for_it_is_done_and_counted(dtype, trained, tmp_path):
    done = export(trained, tmp_path / "back", "--dtype", dtype, "--report", tmp_path / "report.json")
    (cast,) = json.loads((tmp_path / "report.json").read_text())["casts"]
    tensors = [tensor for shard in Model(SOURCE).shards.values() for tensor in shard.values()]
    assert (cast["from"], cast["to"], cast["changed"], cast["tensors"]) == ("F32", "BF16", 3, len(tensors))
    assert cast["values"] == sum(len(tensor.data) // 2 for tensor in tensors)
    assert "3 of " in done.out and dtype_of(tmp_path / "back") == "bfloat16"


def test_wider_is_no_loss(trained, tmp_path):
    export(trained, tmp_path / "back", "--dtype", "fp32", "--report", tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["casts"] == []
    assert dtype_of(tmp_path / "back") == "float32"


def test_the_hint_never_names_the_dtype_in_use(tmp_path):
    """70000 is no F16 number. The source was F16 by its own word only where the reference is."""
    convert(SOURCE, tmp_path / "root")
    Checkpoint(tmp_path / "root").edit(TENSOR, lambda payload: payload.__setitem__(slice(0, 2), b"\x89\x47"))
    done = run("export-to-hf", tmp_path / "root", tmp_path / "out", "--dtype", "fp16", expect=3)
    check_message(done, 3, "too large for F16", "--dtype bf16")
    assert "--dtype fp16" not in done.err and "source" not in done.err


def bias_names(model):
    return [name for shard in model.shards.values() for name in shard if name.endswith("e_score_correction_bias")]


@pytest.mark.parametrize("options", ([], ["--dtype", "bf16"], ["--dtype", "fp32"]), ids=" ".join)
@pytest.mark.parametrize("fixture", V3_FIXTURES)
def test_narrow_router_biases(fixture, options, tmp_path):
    """They widen to the F32 that Megatron keeps, and come back byte for byte."""
    model = Model(copy_tree(hf_fixture(fixture), tmp_path / "hf"))
    assert bias_names(model)
    for name in bias_names(model):
        tensor = model.shard_of(name)[name]
        tensor.data = b"".join(tensor.data[i + 2 : i + 4] for i in range(0, len(tensor.data), 4))
        tensor.dtype = "BF16"
    model.save()
    convert(tmp_path / "hf", tmp_path / "root", *options)
    checkpoint = Checkpoint(tmp_path / "root")
    kept = [checkpoint.dtype(key) for key in checkpoint.keys() if key.endswith("expert_bias")]
    assert kept and set(kept) == {"float32"}
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(tmp_path / "hf")
    run("verify", tmp_path / "hf", tmp_path / "root", "--mode", "hash", expect=0)


def test_q_k_v_of_unlike_dtypes(tmp_path):
    model = Model(copy_tree(SOURCE, tmp_path / "hf"))
    name = "model.layers.0.self_attn.q_proj.weight"
    tensor = model.shard_of(name)[name]
    tensor.data = to_f32(tensor.data)
    tensor.data = tensor.data[:1].replace(tensor.data[:1], b"\x07") + tensor.data[1:]  # one value that BF16 has not
    tensor.dtype = "F32"
    model.save()
    done = run("convert-hf", tmp_path / "hf", tmp_path / "root", expect=3)
    check_message(done, 3, "k_proj.weight: BF16 where model.layers.0.self_attn.q_proj.weight is F32", "--dtype")
    for dtype in ("bf16", "fp32"):
        convert(tmp_path / "hf", tmp_path / dtype, "--dtype", dtype)
        export(tmp_path / dtype, tmp_path / f"back {dtype}")
        assert hashes(tmp_path / f"back {dtype}") == hashes(tmp_path / "hf")
        run("verify", tmp_path / "hf", tmp_path / dtype, "--mode", "hash", expect=0)
