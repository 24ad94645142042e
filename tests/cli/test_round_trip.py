"""Hugging Face -> Megatron -> Hugging Face gives back the same files, and `verify` agrees; it does not when one weight differs."""
import json
import random
import shutil

import pytest

from helpers import HF_FIXTURES, V3_FIXTURES, check_message, convert, copy_tree, export, hashes, hf_fixture, refused, run
from safetensors_raw import INDEX, Model, Tensor
from torch_dist_raw import Checkpoint


def round_trip(source, folder, *options):
    convert(source, folder / "megatron", *options)
    export(folder / "megatron", folder / "back")
    assert hashes(folder / "back") == hashes(source)
    for pair in ((source, folder / "megatron"), (folder / "megatron", source), (folder / "back", folder / "megatron")):
        run("verify", *pair, "--mode", "hash", expect=0)


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_fixture(fixture, tmp_path):
    round_trip(hf_fixture(fixture), tmp_path)


@pytest.mark.parametrize("options", (
    ["--layer-keys", "per-layer"],
    ["--spec", "local"],
    ["--name-prefix", "language_model."],
    ["--vocab-rows", "768"],
    ["--file-size", "50KB"],
    ["--dtype", "fp32"],
    ["--dtype", "fp16"],
    ["--dtype", "bf16"],
    ["--mtp", "keep", "--threads", "4", "--memory", "4MiB"],
    ["--layer-keys", "per-layer", "--spec", "local", "--vocab-rows", "600", "--dtype", "fp16", "--file-size", "1MB"],
), ids=" ".join)
@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_options(fixture, options, tmp_path):
    """Whatever the Megatron side is made to look like, the sidecar brings the same files back."""
    round_trip(hf_fixture(fixture), tmp_path, *options)


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_what_options_do(fixture, tmp_path):
    """The Megatron side really is as asked."""
    source = hf_fixture(fixture)

    def keys(*options):
        convert(source, tmp_path / "root", "--overwrite", *options)
        return Checkpoint(tmp_path / "root")

    usual = keys()
    stacked = fixture not in V3_FIXTURES
    fc2 = "decoder.layers.{}.mlp.linear_fc2.weight" if "moe" not in fixture else "decoder.layers.{}.mlp.experts.experts.linear_fc2.weight"
    assert (fc2.replace(".{}", "") in usual.keys()) == stacked and (fc2.format(0) in usual.keys()) != stacked
    per_layer = keys("--layer-keys", "per-layer")
    assert fc2.format(0) in per_layer.keys() and per_layer.bytes() == usual.bytes()
    prefixed = keys("--name-prefix", "language_model.")
    assert prefixed.keys() == sorted("language_model." + key for key in usual.keys())
    assert keys("--vocab-rows", "777").shape("output_layer.weight" if "tied" not in fixture else "embedding.word_embeddings.weight")[0] == 777
    wide = keys("--dtype", "fp32")
    assert {wide.dtype(key) for key in wide.keys()} == {"float32"}
    half = keys("--dtype", "fp16")
    assert {key for key in half.keys() if half.dtype(key) != "float16"} == {key for key in usual.keys() if key.endswith("expert_bias")}
    assert len(list((keys("--file-size", "50KB").folder).glob("*.distcp"))) > 3
    if stacked:
        assert keys("--layer-keys", "stacked").keys() == usual.keys()
        round_trip(source, tmp_path / "stacked", "--layer-keys", "stacked")
    else:
        options = ("--layer-keys", "stacked")
        refused("convert-hf", source, tmp_path, 2, "linear_fc1.weight", "not every layer", "use --layer-keys per-layer", options=options)


@pytest.mark.parametrize("name,dtype", (("bf16", "BF16"), ("fp16", "F16"), ("fp32", "F32")))
@pytest.mark.parametrize("fixture", ("qwen3_dense", "qwen3_moe", "deepseek_v3"))
def test_export_in_another_dtype(fixture, name, dtype, tmp_path, converted):
    """All weights but the router's bias, and config.json says so; back in BF16 they are the source's."""
    source = hf_fixture(fixture)
    export(converted(fixture), tmp_path / "out", "--dtype", name)
    found, before = Model(tmp_path / "out"), Model(source)
    assert found.names() == before.names()
    for tensor_name in found.names():
        tensor, original = found.shard_of(tensor_name)[tensor_name], before.shard_of(tensor_name)[tensor_name]
        assert tensor.dtype == ("F32" if tensor_name.endswith("e_score_correction_bias") else dtype)
        if dtype == "F32" and original.dtype == "BF16":
            assert tensor.data == b"".join(b"\0\0" + original.data[i : i + 2] for i in range(0, len(original.data), 2)), tensor_name
    configs = [json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "out")]
    assert configs[1] == {**configs[0], "torch_dtype": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[name]}
    if name != "fp16":
        convert(tmp_path / "out", tmp_path / "again", "--dtype", "bf16")
        export(tmp_path / "again", tmp_path / "back", "--dtype", "bf16")
        assert hashes(tmp_path / "back").items() >= {k: v for k, v in hashes(source).items() if k.endswith(".safetensors")}.items()


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_shards_of_another_size(fixture, tmp_path, converted):
    source = hf_fixture(fixture)
    export(converted(fixture), tmp_path / "out", "--max-shard-size", "100KB")
    before, after = Model(source), Model(tmp_path / "out")
    assert len(after.shards) > 2 and after.names() == before.names()
    for name in before.names():
        assert after.shard_of(name)[name] == before.shard_of(name)[name], name
    assert all(sum(len(t.data) for t in shard.values()) <= 100_000 for shard in after.shards.values())
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["weight_map"] == {name: shard for shard, tensors in after.shards.items() for name in tensors}
    round_trip(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_report_and_dry_run(fixture, tmp_path, converted):
    """A dry run writes nothing and reports what the run then does; the numbers are those of the files."""
    source, path = hf_fixture(fixture), tmp_path / "report.json"
    model, megatron = Model(source), Checkpoint(converted(fixture))

    def report(*command, writes):
        found = []
        for options in (["--dry-run"], []):
            run(*command, *options, "--report", path, expect=0)
            assert (tmp_path / "out").exists() == bool(writes and not options)
            found.append(json.loads(path.read_text()))
        assert [each["dry_run"] for each in found] == [True, False]
        differing = {key for key in found[1] if found[0].get(key) != found[1][key]}
        assert differing <= {"dry_run", "seconds", "peak_rss_bytes", "witness_bytes", "sidecar_bytes", "blocks", "casts", "witnesses", "identical", "forward", "inverse"}
        return found[1]

    tensors = [tensor for shard in model.shards.values() for tensor in shard.values()]
    scales = [tensor for shard in model.shards.values() for name, tensor in shard.items() if name.endswith("_scale_inv")]
    made = report("convert-hf", source, tmp_path / "out", writes=True)
    assert (made["source_tensors"], made["source_bytes"]) == (len(tensors), sum(len(t.data) for t in tensors))
    assert (made["target_tensors"], made["quantized_tensors"]) == (len(megatron.keys()), len(scales))
    assert len(made["dropped"]) == 2 * {"deepseek_v3_mtp2": 2}.get(fixture, 1) * (fixture in V3_FIXTURES)
    shutil.rmtree(tmp_path / "out")
    made = report("export-to-hf", converted(fixture), tmp_path / "out", writes=True)
    assert (made["target_tensors"], made["target_bytes"]) == (len(tensors), sum(len(t.data) for t in tensors))
    assert (made["target_shards"], made["verbatim_headers"], made["left_out"]) == (len(model.shards), len(model.shards), [])
    assert made["blocks"] == {"kept": sum(len(t.data) // 4 for t in scales), "new": 0, "clipped": 0}
    shutil.rmtree(tmp_path / "out")
    made = report("verify", source, converted(fixture), "--mode", "hash", writes=False)
    assert made["identical"] is True and made["forward"]["different"] == made["inverse"]["different"] == 0


@pytest.mark.parametrize("count", (2, 5))
@pytest.mark.parametrize("fixture", ("qwen3_dense", "qwen3_moe", "deepseek_v3_fp8"))
def test_shards(fixture, count, tmp_path):
    folder = copy_tree(hf_fixture(fixture), tmp_path / "hf")
    Model(folder).split(count).save()
    round_trip(folder, tmp_path)


def test_side_files(tmp_path):
    """Names, folders and content that no tool should touch."""
    folder = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "README.md").write_bytes(b"\r\n\xff\x00 not text")
    (folder / "empty").write_bytes(b"")
    (folder / "größe und leer.txt").write_text("x")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("{", '{"unbekannt": "ä\\u00e4", ', 1) + "\n\n")
    round_trip(folder, tmp_path)


def test_header_as_it_was(tmp_path):
    """Metadata, order of keys, blanks: the header comes back verbatim."""
    folder = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header = {"__metadata__": {"format": "pt", "note": "ünï"}, **dict(sorted(header.items(), reverse=True))}
    header["__metadata__"]["note"] = "ünï"
    text = json.dumps(header, indent=1).encode() + b"   "
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    round_trip(folder, tmp_path)


def test_dropped_tensors_come_back(tmp_path):
    """A tied head saved all the same, and rotary tables of old releases."""
    folder = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    model = Model(folder)
    shard = model.shards["model.safetensors"]
    shard["lm_head.weight"] = shard["model.embed_tokens.weight"]
    shard["model.layers.1.self_attn.rotary_emb.inv_freq"] = Tensor("F32", [8], bytes(range(32)))
    model.save()
    round_trip(folder, tmp_path)


def test_types_mixed(tmp_path):
    """Norms in F32, one weight in F16, as fine-tuning scripts leave them."""
    folder = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")
    model = Model(folder)
    for shard in model.shards.values():
        for name, tensor in shard.items():
            if "norm" in name:
                tensor.dtype, tensor.data = "F32", b"".join(b"\0\0" + tensor.data[i : i + 2] for i in range(0, len(tensor.data), 2))
    model.save()
    round_trip(folder, tmp_path)


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_verify_finds_one_changed_weight(fixture, tmp_path, converted):
    dice = random.Random(fixture)
    for number in range(4):
        folder = copy_tree(hf_fixture(fixture), tmp_path / f"hf{number}")
        model = Model(folder)
        name = dice.choice(model.names())
        tensor = model.shard_of(name)[name]
        changed = bytearray(tensor.data)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        tensor.data = bytes(changed)
        model.save()
        for pair in ((folder, converted(fixture)), (converted(fixture), folder)):
            done = run("verify", *pair, "--mode", "hash", expect=1)
            assert done.out.count("\n") and ("differ" in done.out or "differ" in done.err), done


def test_verify_names_what_differs(tmp_path, converted):
    folder = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")
    model = Model(folder)
    tensor = model.shard_of("model.layers.1.mlp.down_proj.weight")["model.layers.1.mlp.down_proj.weight"]
    tensor.data = tensor.data[:-2] + bytes([tensor.data[-2] ^ 1, tensor.data[-1]])
    model.save()
    done = run("verify", folder, converted("qwen3_dense"), "--mode", "hash", "--report", tmp_path / "report.json", expect=1)
    assert "decoder.layers.1.mlp.linear_fc2.weight" in done.out or "model.layers.1.mlp.down_proj.weight" in done.out, done
    assert "down_proj" in (tmp_path / "report.json").read_text() or "linear_fc2" in (tmp_path / "report.json").read_text()


def test_verify_sees_side_files(tmp_path, converted):
    folder = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")
    (folder / "tokenizer.json").write_text("{}")
    done = run("verify", folder, converted("qwen3_dense"), "--mode", "hash", expect=1)
    assert "tokenizer.json" in done.out + done.err, done


def test_verify_cannot_compare(tmp_path, converted):
    check_message(run("verify", hf_fixture("qwen3_dense"), hf_fixture("qwen3_dense"), "--mode", "hash"), 2)
    check_message(run("verify", converted("qwen3_dense"), converted("qwen3_dense"), "--mode", "hash"), 2)
    other_model = run("verify", hf_fixture("llama_tied"), converted("qwen3_dense"), "--mode", "hash", expect=1)
    assert "stacked over 2 layers where the configuration has 3" in other_model.out
    check_message(run("verify", hf_fixture("qwen3_dense"), tmp_path / "nothing", "--mode", "hash"), (3, 4), "nothing")
    check_message(run("verify", hf_fixture("qwen3_dense"), converted("qwen3_dense"), "--mode", "gradients"), 2, "gradients")
