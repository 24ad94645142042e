"""Hugging Face -> Megatron -> Hugging Face gives back the same files, and `verify` agrees; it does not when one weight differs."""
import json
import random

import pytest

from helpers import HF_FIXTURES, check_message, convert, copy_tree, export, hashes, hf_fixture, run
from safetensors_raw import Model, Tensor


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
    ["--layer-keys", "per-layer", "--spec", "local", "--vocab-rows", "600", "--dtype", "fp16", "--file-size", "1MB"],
), ids=" ".join)
@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_options(fixture, options, tmp_path):
    """Whatever the Megatron side is made to look like, the sidecar brings the same files back."""
    round_trip(hf_fixture(fixture), tmp_path, *options)


@pytest.mark.parametrize("count", (2, 5))
def test_shards(count, tmp_path):
    folder = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")
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
    check_message(run("verify", hf_fixture("qwen3_dense"), converted("qwen3_dense"), "--mode", "logits"), 5, "causeway-verify")
