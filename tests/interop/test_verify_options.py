"""`causeway verify` with the forward pass: modes, exit status, report, and the options of causeway-verify."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop import cases
from interop.test_table_mistakes import add_options, convert_with, read_table, row


@pytest.fixture
def report(causeway, tmp_path):
    """report(..., expect=0) runs `causeway verify` with --report and gives what was written."""

    def run(*arguments, expect=0):
        causeway("verify", *arguments, "--report", tmp_path / "report.json", expect=expect)
        assert sorted(path.name for path in tmp_path.glob("report*")) == ["report.json"]
        return json.loads((tmp_path / "report.json").read_text())

    return run


def changed_copy(source, target, name, change):
    """The folder, one tensor changed in place."""
    shutil.copytree(source.folder, target)
    for path in target.glob("*.safetensors"):
        state = load_file(path)
        if name in state:
            change(state[name])
            save_file(state, path, metadata={"format": "pt"})
    return target


def other_rotary_base(root, target):
    """What no tensor shows."""
    shutil.copytree(root, target, symlinks=True)
    path = target / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["rotary_base"] = 1e5
    path.write_text(yaml.safe_dump(config))
    return target


# ---- modes ----


def test_both_is_the_default_and_reports_both(report, sources, converted):
    found = report(sources("qwen3").folder, converted("qwen3", "te"))
    assert found["mode"] == "both" and found["identical"] and found["logits"]["equal"]
    assert found["logits"]["forward"]["identical"] and found["logits"]["tensors"]["differences"] == []
    assert [head["name"] for head in found["logits"]["forward"]["heads"]] == ["logits"]
    assert [state["name"] for state in found["logits"]["forward"]["states"]] == ["hidden_embed", "hidden.0", "hidden.1", "hidden.2", "hidden_final"]


@pytest.mark.parametrize(
    "options, status, named",
    [
        (("--device", "cuda:99"), 5, "--device cuda:99: "),
        (("--tokens", "1,2,x"), 2, "--tokens 1,2,x: "),
        (("--reference-logits", "missing.safetensors"), 4, "missing.safetensors: "),
        (("--prompt-length", "5", "--tokens", "1,2"), 2, "--prompt-length with --tokens: "),
    ],
)
def test_what_the_forward_pass_refuses_does_not_wait_for_the_bytes(causeway, sources, converted, options, status, named):
    done = causeway("verify", sources("qwen3").folder, converted("qwen3", "te"), *options, expect=status)
    assert done.stderr.startswith(f"causeway-verify: {named}")
    assert done.stdout == "" and len(done.stderr.splitlines()) <= 2


def test_what_no_tensor_shows_is_the_status_of_all_modes(report, sources, converted, tmp_path):
    root = other_rotary_base(converted("qwen3", "te"), tmp_path / "root")
    hashed = report(sources("qwen3").folder, root, "--mode", "hash", expect=1)  # no tensor differs, and the statement does
    assert [each["name"] for each in hashed["differences"]] == ["rotary_base"]
    found = report(sources("qwen3").folder, root, "--mode", "both", expect=1)
    assert not found["identical"] and not found["logits"]["equal"]
    assert found["logits"]["forward"]["first_diverging"] == {"state": "hidden.0", "tensors": []}
    assert not report(root, sources("qwen3").folder, "--mode", "logits", expect=1)["logits"]["configuration"]["equal"]


def test_the_first_diverging_layer_and_its_tensors(report, causeway, sources, converted, tmp_path):
    hf = changed_copy(sources("qwen3"), tmp_path / "hf", "model.layers.1.mlp.up_proj.weight", lambda t: t.mul_(2))
    found = report(hf, converted("qwen3", "te"), expect=1)
    assert not found["identical"]
    assert found["logits"]["forward"]["first_diverging"] == {"state": "hidden.1", "tensors": ["layers.1.up"]}
    done = causeway("verify", "--mode", "logits", hf, converted("qwen3", "te"), expect=1)
    assert "  first in hidden.1: " in done.stdout and "  its tensors that differ: layers.1.up\n" in done.stdout


def test_errors_of_the_forward_pass_are_the_status(causeway, sources, converted, tmp_path):
    done = causeway("verify", sources("qwen3").folder, converted("qwen3", "te"), "--tokens", "1,157", expect=3)
    assert "result   identical" in done.stdout
    assert done.stderr == "causeway-verify: --tokens: token 157 of the prompt is not in the vocabulary of 157\n  tokens are numbers from 0 to 156\n"


@pytest.fixture
def alone(tmp_path):
    """causeway in a folder without causeway-verify."""
    shutil.copy(os.environ["CAUSEWAY"], tmp_path / "causeway")
    return lambda *arguments: subprocess.run([tmp_path / "causeway", "verify", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_without_causeway_verify(alone, sources, converted):
    pair = sources("qwen3").folder, converted("qwen3", "te")
    done = alone(*pair, "--mode", "logits")
    assert done.returncode == 5 and done.stdout == "" and "scripts/libtorch.sh" in done.stderr and len(done.stderr.splitlines()) == 2
    done = alone(*pair)
    assert done.returncode == 0 and "result   identical" in done.stdout and done.stderr.startswith("notice: comparing bytes only")
    done = alone(*pair, "--mode", "hash")
    assert done.returncode == 0 and done.stderr == ""


def test_ctrl_c_reaches_the_second_program(sources, converted):
    command = [os.environ["CAUSEWAY"], "verify", "--mode", "logits", sources("qwen3").folder, converted("qwen3", "te"), "--prompt-length", "6000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 20
        while not (child := children.read_text().strip()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.stdout.readline()  # it has begun
        process.send_signal(signal.SIGINT)  # to the first program alone
        assert process.wait(timeout=20) == 130
    assert not pathlib.Path(f"/proc/{child}").exists()


def test_a_reader_that_has_gone(sources, converted):
    """As with any program in front of `head`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([os.environ["CAUSEWAY"], "verify", "--mode", "logits", sources("qwen3").folder, converted("qwen3", "te")], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_quiet_says_nothing(causeway, sources, converted):
    done = causeway("verify", "--quiet", sources("qwen3").folder, converted("qwen3", "te"))
    assert done.stdout == "" and done.stderr == ""


def test_without_a_report_no_file_goes(causeway, sources, converted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".partial").write_text("somebody's")
    causeway("verify", "--mode", "logits", sources("qwen3").folder, converted("qwen3", "te"))
    assert [path.name for path in tmp_path.iterdir()] == [".partial"]


def test_dropped_mtp_is_not_compared(causeway, report, sources, tmp_path):
    source = sources("deepseek_v3")
    causeway("convert-hf", source.folder, tmp_path / "root", "--mtp", "drop")
    for mode in "both", "logits":
        found = report("--mode", mode, source.folder, tmp_path / "root")
        assert [head["name"] for head in found["logits"]["forward"]["heads"]] == ["logits"]


# ---- prompts ----


def test_prompts_of_a_file(report, sources, converted, tmp_path):
    (tmp_path / "tokens").write_text("3, 1 4\n\n1,5,9\n")
    pair = "--mode", "logits", sources("deepseek_v3").folder, converted("deepseek_v3", "te")
    found = report(*pair, "--tokens", tmp_path / "tokens")["logits"]
    assert (found["prompts"], found["tokens"]) == (2, 3)
    assert found["forward"]["coverage"]["embedding_rows"] == 5 and found["forward"]["heads"][0]["rows"] == 6
    assert report(*pair, "--tokens", "7,7,7,7")["logits"]["forward"]["coverage"]["embedding_rows"] == 1


def test_one_token_goes_to_as_many_experts_as_the_router_chooses(report, sources, converted):
    source = sources("deepseek_v3")
    config = json.loads((source.folder / "config.json").read_text())
    found = report("--mode", "logits", source.folder, converted("deepseek_v3", "te"), "--tokens", "5")
    experts = found["logits"]["forward"]["coverage"]["experts"]
    dense = config["first_k_dense_replace"]
    assert [layer["layer"] for layer in experts] == [f"layers.{i}" for i in range(dense, config["num_hidden_layers"])] + ["mtp.0"]
    for layer in experts:
        assert (layer["routed"], layer["experts"]) == (config["num_experts_per_tok"], config["n_routed_experts"])


REFUSED = {
    "unequal_lines": ("1 2 3\n4 5\n", 3, "line 2: 2 tokens, those before have 3"),
    "words": ("1 two 3\n", 3, "line 1: 'two' is no token's number"),
    "too_large_for_a_number": ("1\n99999999999999999999\n", 3, "line 2: '99999999999999999999' is no token's number"),
    "nothing": ("\n \n", 3, "no tokens"),
    "negative": ("-1\n", 3, "token -1 of the prompt is not in the vocabulary"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_prompts(name, causeway, sources, converted, tmp_path):
    text, status, message = REFUSED[name]
    (tmp_path / "tokens").write_text(text)
    done = causeway("verify", "--mode", "logits", sources("qwen3").folder, converted("qwen3", "te"), "--tokens", tmp_path / "tokens", expect=status)
    assert message in done.stderr and done.stdout == "" and len(done.stderr.splitlines()) <= 2


OPTIONS = {
    "no_file": (["--tokens", "nowhere.txt"], 2, "--tokens nowhere.txt: neither a file nor numbers"),
    "no_layers": (["--layers", "2:2"], 2, "--layers 2:2: not A:B with 0 <= A < B <= 3"),
    "too_many_layers": (["--layers", "0:4"], 2, "not A:B with 0 <= A < B <= 3"),
    "layers_in_words": (["--layers", "all"], 2, "--layers all"),
    "no_such_device": (["--device", "tpu"], 2, "--device tpu: no such device"),
    "no_device_number": (["--device", "cuda:x"], 2, "--device cuda:x: no such device"),
    "layers_and_reference": (["--layers", "0:1", "--reference-logits", "x"], 2, "--layers with --reference-logits"),
    "no_reference": (["--reference-logits", "nowhere"], 4, "nowhere"),
    "dry": (["--dry-run"], 2, "use --mode hash"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_cannot_be(name, causeway, sources, converted):
    options, status, message = OPTIONS[name]
    done = causeway("verify", "--mode", "logits", sources("qwen3").folder, converted("qwen3", "te"), *options, expect=status)
    assert message in done.stderr and done.stdout == "" and len(done.stderr.splitlines()) <= 2


# ---- some layers ----


def test_some_layers(report, causeway, sources, converted, tmp_path):
    hf = changed_copy(sources("qwen3"), tmp_path / "hf", "model.layers.1.self_attn.q_proj.weight", lambda t: t.mul_(2))
    root = converted("qwen3", "te")
    for layers, expect in ("0:1", 0), ("1:2", 1), ("2:3", 0):
        found = report("--mode", "logits", hf, root, "--layers", layers, expect=expect)["logits"]
        first, end = map(int, layers.split(":"))
        assert found["partial"] == {"first_layer": first, "end_layer": end}
        assert [state["name"] for state in found["forward"]["states"]] == ["hidden_embed"] + [f"hidden.{i}" for i in range(first, end)]
        assert [difference["name"] for difference in found["tensors"]["differences"]] == (["layers.1.q"] if expect else [])
    done = causeway("verify", "--mode", "logits", hf, root, "--layers", "0:1")
    assert done.stdout.count("(PARTIAL: layers 0:1)") == 3


# ---- rounded and double tensors ----


@pytest.mark.parametrize("name", ["qwen3_tied_fp32", "deepseek_v3_mtp2_fp32"])
def test_a_cast_is_listed_and_is_no_difference(name, report, causeway, sources, tmp_path):
    source = sources(name)
    causeway("convert-hf", source.folder, tmp_path / "root", "--dtype", "bf16")
    found = report("--mode", "logits", source.folder, tmp_path / "root")["logits"]
    names = [tensor["name"] for tensor in found["tensors"]["rounded"]]
    assert "layers.1.o" in names and "embedding" in names and not any("router_bias" in name for name in names)
    assert found["equal"] and found["forward"]["identical"] and found["tensors"]["differences"] == []
    tensor, row = "model.layers.1.self_attn.o_proj.weight", 3
    hf = changed_copy(source, tmp_path / "hf", tensor, lambda t: t[row].mul_(1 + 2**-7))
    found = report("--mode", "logits", hf, tmp_path / "root", expect=1)["logits"]
    assert [tensor["name"] for tensor in found["tensors"]["differences"]] == ["layers.1.o"]


def test_a_cast_that_nobody_asked_for_is_a_difference(report, causeway, causeway_verify, sources, tmp_path):
    """A table that keeps one tensor in a type too narrow: hash mode passes, as the sidecar has the bits. It also has what --dtype was."""
    source, table = sources("qwen3_tied_fp32"), read_table("qwen3")
    add_options(row(table, "linear_proj.weight"), keep="BF16")
    convert_with(table, source, causeway, tmp_path)
    assert report("--mode", "hash", "--mapping", tmp_path / "table.jsonc", source.folder, tmp_path / "root")["identical"]
    outputs = [f"layers.{layer}.o" for layer in range(3)]
    for sides in ((source.folder, tmp_path / "root"), (tmp_path / "root", source.folder)):
        found = report("--mode", "logits", *sides, expect=1)["logits"]["tensors"]
        assert [tensor["name"] for tensor in found["differences"]] == outputs and not found["rounded"]
    for dtype, expect in {None: 0, "bf16": 0, "source": 1}.items():
        done = causeway_verify(source.folder, tmp_path / "root", *(["--dtype", dtype] if dtype else []), expect=expect)
        assert (f"tensors        equal: 0 of 35 differ, {len(outputs)} rounded" in done.stdout) == (expect == 0)
    manifest = tmp_path / "root" / "causeway" / "manifest.json"
    content = json.loads(manifest.read_text())
    content.pop("manifest_crc32")
    content["choices"]["dtype"] = "none that there is"
    manifest.write_text(json.dumps(content))
    assert len(report("--mode", "logits", source.folder, tmp_path / "root")["logits"]["tensors"]["rounded"]) == len(outputs)


def test_what_the_sidecar_says_counts_for_its_own_source_alone(report, causeway, sources, tmp_path):
    """Exported with a cast: the sidecar is of another folder."""
    source = sources("qwen3_tied_fp32")
    causeway("convert-hf", source.folder, tmp_path / "root")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--dtype", "bf16")
    found = report("--mode", "logits", tmp_path / "hf", tmp_path / "root")["logits"]
    assert found["equal"] and len(found["tensors"]["rounded"]) == 35


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_fp8_in_other_types(dtype, report, causeway, sources, tmp_path):
    """Code times scale, rounded to that type once; a code that changed shows."""
    source = sources("qwen3_fp8")
    causeway("convert-hf", source.folder, tmp_path / "root", "--dtype", dtype)
    found = report(source.folder, tmp_path / "root")["logits"]
    assert found["equal"] and found["forward"]["identical"] and found["tensors"]["rounded"] and found["tensors"]["differences"] == []
    tensor = "model.layers.1.self_attn.o_proj.weight"
    hf = changed_copy(source, tmp_path / "hf", tensor, lambda t: t.view(torch.uint8)[5, 3].bitwise_xor_(1))
    found = report("--mode", "logits", hf, tmp_path / "root", expect=1)["logits"]
    assert [each["name"] for each in found["tensors"]["differences"]] == ["layers.1.o"]


def test_what_runtimes_keep_in_fp32_may_not_be_rounded(causeway_verify, sources, tmp_path):
    source = sources("deepseek_v3_mtp2_fp32")
    shutil.copytree(source.folder, tmp_path / "hf")
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    for path in (tmp_path / "hf").glob("*.safetensors"):
        state = load_file(path)
        if name in state:
            state[name] = state[name].to(torch.bfloat16)
            save_file(state, path, metadata={"format": "pt"})
    done = causeway_verify(source.folder, tmp_path / "hf", expect=1)
    assert "tensors        DIFFERENT: 1 of " in done.stdout and "layers.1.router_bias" in done.stdout


def test_a_tied_head_that_is_no_copy(causeway_verify, sources, tmp_path):
    """transformers does not read it; whoever unties the model would."""
    source = sources("qwen3_tied_fp32")
    shutil.copytree(source.folder, tmp_path / "hf")
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    embedding = load_file(tmp_path / "hf" / index["weight_map"]["model.embed_tokens.weight"])["model.embed_tokens.weight"]
    for row, expect in (None, 0), (7, 1):
        copy = embedding.clone()
        if row is not None:
            copy[row, 2] += 1
        save_file({"lm_head.weight": copy}, tmp_path / "hf" / "head.safetensors")
        index["weight_map"]["lm_head.weight"] = "head.safetensors"
        (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
        done = causeway_verify(source.folder, tmp_path / "hf", expect=expect)
        assert ("lm_head.weight: no copy of embedding: 1 of " in done.stdout) == (expect == 1)


# ---- numbers and devices ----


@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3"])
def test_bf16_is_bit_for_bit_too(name, causeway, sources, converted):
    done = causeway("verify", "--mode", "logits", "--compute", "bf16", sources(name).folder, converted(name, "te"))
    assert "equal, bit for bit" in done.stdout


@pytest.mark.parametrize("name", ["dense_text_witnesses", "moe_3_6_witnesses"])
def test_norms_kept_around_zero_are_rounded(name, report, qwen_sources, qwen_converted):
    """BF16 has not the bits of w - 1: the conversion has witnesses, and the Megatron side computes with what it holds."""
    found = report(qwen_sources(name).folder, qwen_converted(name))
    assert found["identical"] and found["logits"]["equal"] and found["logits"]["forward"]["identical"]
    rounded = found["logits"]["tensors"]["rounded"]
    assert rounded and all(tensor["name"].endswith(".head_norm") and " around zero in the second: " in tensor["what"] for tensor in rounded), rounded
