"""`verify --mode train-step`: losses and gradients of checkpoints, against one step of real megatron-core on them; what a step refuses; and
two checkpoints of one model against each other."""
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop import cases
from interop import test_forward_deepseek_v4 as v4
from oracles import dcp, deepseek_v4_reference, qwen3_5_reference
from oracles.pool import JobError

BUFFERS = ("expert_bias", "tid2eid")


def batch(vocab, lengths=None):
    """29 tokens with labels, of which two do not count; or packed sequences, whose last tokens do not."""
    tokens = sum(lengths) if lengths else 29
    ids, mask = (torch.arange(tokens) * 13 + 5) % vocab, torch.ones(tokens)
    if not lengths:
        mask[-1] = mask[7] = 0
        return {"ids": ids, "labels": ids.roll(-1), "mask": mask, "cu_seqlens": None}
    labels, at = ids.clone(), 0
    for length in lengths:
        labels[at:at + length] = torch.cat([ids[at + 1:at + length], torch.zeros(min(length, 1), dtype=ids.dtype)])
        at += length
        if length:
            mask[at - 1] = 0
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return {"ids": ids, "labels": labels, "mask": mask, "cu_seqlens": starts}


def counts(given, depths):
    """How many tokens count, for the main head and each depth: by hand, token by token."""
    starts = [0, len(given["ids"])] if given["cu_seqlens"] is None else given["cu_seqlens"].tolist()
    ends = {token: end for begin, end in zip(starts, starts[1:]) for token in range(begin, end)}
    mask = given["mask"].tolist()
    return [sum(mask[token + depth] for token in range(len(mask)) if token + depth < ends[token]) for depth in range(depths + 1)]


def write_batch(path, given):
    tensors = {"input_ids": given["ids"][None], "labels": given["labels"][None], "loss_mask": given["mask"][None]}
    if given["cu_seqlens"] is not None:
        tensors["cu_seqlens"] = given["cu_seqlens"]
    if "padding" in given:
        tensors["padding_mask"] = given["padding"][None]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


@pytest.fixture
def step(causeway_verify, tmp_path):
    """step(folder, *arguments) -> (the report's train_step, {name: tensor} of the dump)"""

    def run(*arguments, expect=0):
        report, dump = tmp_path / "report.json", tmp_path / "dump.safetensors"
        causeway_verify(*arguments, "--mode", "train-step", "--report", report, "--dump", dump, expect=expect)
        return json.loads(report.read_text())["train_step"], load_file(dump)

    return run


def compare(found, expected, part):
    assert found.keys() == expected.keys()
    wrong = [f"{name}: {float((found[name] - want).norm()):.3g} of {float(want.norm()):.3g}" for name, want in expected.items()
             if found[name].shape != want.shape or float((found[name] - want).norm()) > part * float(want.norm()) + 1e-7]
    assert not wrong, wrong


def compare_with_megatron(step, pool, arch, root, given, tmp_path, part=1e-4, arguments=(), **how):
    batch_file = write_batch(tmp_path / "batch.safetensors", given)
    result, dump = step(root, "--tokens", batch_file, *arguments)
    ((main, depths),) = pool.run("gradients", arch=arch, source=str(root / "iter_0000000"), directory=str(tmp_path / "gradients"), batch=given, **how)
    expected = {key: tensor for key, tensor in dcp.read_tensors(str(tmp_path / "gradients")).items() if not key.endswith(BUFFERS)}
    heads = [result["main"], *result["mtp"]]
    assert [head["count"] for head in heads] == counts(given, arch.mtp)
    assert [head["loss"] for head in heads] == pytest.approx([main, *depths], rel=1e-5)
    assert dump["loss.main"].tolist() == pytest.approx([result["main"]["sum"], result["main"]["count"]])
    compare({name.removeprefix("grad."): tensor for name, tensor in dump.items() if name.startswith("grad.")}, expected, part)
    without = {entry["name"]: entry["reason"] for entry in result["gradients"]["without_gradient"]}
    assert all(name.endswith(BUFFERS) for name in without)
    assert result["gradients"]["tensors"] == len(expected)
    return result


PACKED = [11, 1, 17]


@pytest.mark.parametrize("name, lengths", [("qwen3", None), ("qwen3", PACKED), ("qwen3_tied_fp32", PACKED), ("deepseek_v3", None), ("deepseek_v3_mtp2_fp32", PACKED),
                                           ("deepseek_v3_mtp3", None), ("deepseek_v3_mtp3", PACKED), ("qwen3_moe", None), ("nemotron", None), ("starcoder2", PACKED)])
def test_megatron_core(name, lengths, step, sources, converted, pools, tmp_path):
    arch = sources(name).arch
    compare_with_megatron(step, pools["te"], arch, converted(name, "te"), batch(arch.vocab, lengths), tmp_path)


@pytest.mark.parametrize("name", ["moe_text", "dense_text"])
def test_megatron_core_linear_attention(name, step, qwen_sources, qwen_converted, pools, tmp_path):
    """Real gradients of linear attention in fp32 are themselves 1e-4 from those in float64."""
    arch = qwen_sources(name).arch
    compare_with_megatron(step, pools["te"], arch, qwen_converted(name), batch(arch.vocab), tmp_path, part=5e-4)


@pytest.mark.parametrize("name, lengths, method, layers", [("qwen3", PACKED, "uniform", 3), ("qwen3", PACKED, "block", 1), ("deepseek_v3_mtp2_fp32", None, "uniform", 1),
                                                           ("deepseek_v3_mtp2_fp32", None, "block", 1), ("deepseek_v3_mtp2_fp32", PACKED, "block", 1)])
def test_megatron_core_recomputes(name, lengths, method, layers, step, sources, converted, pools, tmp_path):
    """Both recompute, each in its own way; packed too, where megatron-core 0.16.1 can."""
    arch = sources(name).arch
    mode = f"{'full' if method == 'uniform' else 'block'}:{layers}"
    result = compare_with_megatron(step, pools["te"], arch, converted(name, "te"), batch(arch.vocab, lengths), tmp_path, arguments=["--recompute", mode],
                                   recompute=(method, layers))
    recomputed = result["recompute"]
    assert recomputed["mode"] == mode and recomputed["against_none"]["equal"] and recomputed["against_none"]["largest_loss_difference"] == 0
    assert ("note" in recomputed) == (method == "block" and arch.mtp > 0)


def test_packed_multi_token_prediction_recomputes(step, sources, converted, pools, tmp_path):
    """What pull request 4593 of Megatron-LM mended: 0.16.1 saves the offsets of a packed row as if they were a tensor, and ends. Ours are the
    gradients that it has without recomputation."""
    name = "deepseek_v3_mtp2_fp32"
    arch, root, given = sources(name).arch, converted(name, "te"), batch(sources(name).arch.vocab, PACKED)
    with pytest.raises(JobError, match="PackedSeqParams"):
        pools["te"].run("gradients", arch=arch, source=str(root / "iter_0000000"), directory=str(tmp_path / "none"), batch=given, recompute=("uniform", 1))
    result = compare_with_megatron(step, pools["te"], arch, root, given, tmp_path, arguments=["--recompute", "full"])
    assert result["recompute"]["against_none"]["equal"]


@pytest.mark.parametrize("mode", ["full", "block:1", "selective", "selective:core_attn,mlp,moe,shared_experts"])
def test_recomputation_keeps_less(mode, step, qwen_converted, v4_converted, converted, tmp_path):
    for root in (qwen_converted("moe_text"), v4_converted("bf16"), converted("deepseek_v3_mtp2_fp32", "te")):
        none, kept = step(root, "--prompt-length", 96, "--recompute", "none")
        result, dump = step(root, "--prompt-length", 96, "--recompute", mode)
        assert none["recompute"]["mode"] == "none" and "against_none" not in none["recompute"]
        assert result["recompute"]["against_none"]["equal"] and result["main"] == none["main"] and result["mtp"] == none["mtp"]
        assert dump.keys() == kept.keys() and all(torch.equal(dump[name], kept[name]) for name in kept)
        if mode == "full":
            assert result["recompute"]["peak_activation_bytes"] < none["recompute"]["peak_activation_bytes"]


@pytest.mark.parametrize("recipe", ["delayed", "current", "block"])
def test_emulated_fp8(recipe, step, causeway_verify, qwen_converted, v4_converted, converted, tmp_path):
    for root in (qwen_converted("moe_text"), v4_converted("bf16"), converted("deepseek_v3_mtp2_fp32", "te")):
        plain, _ = step(root)
        result, _ = step(root, "--fp8", recipe, "--recompute", "full")
        assert result["fp8"] == {"recipe": recipe, "numbers": "emulated"} and "fp8" not in plain
        assert result["main"]["loss"] != plain["main"]["loss"] and result["main"]["loss"] == pytest.approx(plain["main"]["loss"], rel=0.2)
        against = result["recompute"]["against_none"]
        assert against["equal"] and against["bit_for_bit"]
    assert "emulated" in causeway_verify(root, "--mode", "train-step", "--fp8", recipe).stdout


def test_what_recomputation_refuses(causeway_verify, converted):
    root = converted("deepseek_v3_mtp2_fp32", "te")
    for mode, status, text in [("full:2", 2, "multi-token prediction"), ("uniform", 2, "--recompute uniform"), ("selective:layernorm", 5, "layernorm"),
                               ("selective:attention", 2, "attention")]:
        assert text in causeway_verify(root, "--mode", "train-step", "--recompute", mode, expect=status).stderr
    causeway_verify(root, "--mode", "train-step", "--recompute", "full:2", "--mtp", "drop")
    for options in (["--recompute", "full"], ["--fp8", "delayed"]):
        assert "--mode train-step" in causeway_verify(root, root, *options, expect=2).stderr


def test_transformers_deepseek_v4(step, tmp_path):
    """The main head, all that transformers has of DeepSeek-V4. Gradients of hyper-connections are small sums of large numbers: two real
    implementations of them differ by 7e-5 of their norm."""
    source = v4.Source(tmp_path, *v4.MODELS["bf16"])
    tokens, _, _ = source.reference.prompt(61, seed=9)
    model, ids = source.reference.model, torch.tensor([tokens])
    loss = torch.nn.functional.cross_entropy(model(ids, use_cache=False).logits[0, :-1].float(), ids[0, 1:])
    loss.backward()
    result, dump = step(source.folder, "--tokens", ",".join(map(str, tokens)), "--mtp", "drop")
    assert result["main"]["count"] == 60 and result["main"]["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    names = {"embed.weight": "model.embed_tokens.weight", "head.weight": "lm_head.weight", "norm.weight": "model.norm.weight",
             **{f"hc_head_{part}": f"model.hc_head.hc_{part}" for part in ("fn", "base", "scale")}}
    for layer in range(source.config["num_hidden_layers"]):
        names |= {f"layers.{layer}.{ours}": f"model.layers.{layer}.{theirs}" for ours, theirs in deepseek_v4_reference._LAYER.items() if ours != "ffn.gate.bias"}
    parameters, wrong = dict(model.named_parameters()), []
    for ours, theirs in names.items():
        found, want = dump[f"grad.{ours}"], parameters[theirs].grad
        allowed = 5e-4 * float(want.norm()) + 1e-6 if "hc_" in ours else 1e-4 * float(want.norm()) + 1e-7
        if found.shape != want.shape or float((found - want).norm()) > allowed:
            wrong.append(f"{ours}: {float((found - want).norm()):.3g} of {float(want.norm()):.3g}")
    for layer in range(source.config["num_hidden_layers"]):
        for part, theirs in (("w1", "gate_up_proj"), ("w3", "gate_up_proj"), ("w2", "down_proj")):
            found = torch.stack([dump[f"grad.layers.{layer}.ffn.experts.{expert}.{part}.weight"] for expert in range(source.config["n_routed_experts"])])
            want = parameters[f"model.layers.{layer}.mlp.experts.{theirs}"].grad
            if part != "w2":
                want = want.chunk(2, dim=1)[0 if part == "w1" else 1]
            if float((found - want).norm()) > 1e-4 * float(want.norm()) + 1e-7:
                wrong.append(f"layer {layer}, {part} of the experts")
    assert not wrong, wrong


def test_packed_is_what_its_sequences_are(step, qwen_sources, qwen_converted, v4_sources, v4_converted, converted, tmp_path):
    """Linear attention and DeepSeek-V4 have no real implementation that packs on a CPU: the sequences alone are the measure."""
    given = batch(100, [8, 0, 1, 70, 21])
    file = write_batch(tmp_path / "batch.safetensors", given)
    for root in (qwen_converted("moe_text"), converted("deepseek_v3_mtp2_fp32", "te"), v4_converted("bf16")):
        result, _ = step(root, "--tokens", file)
        assert result["packed"]["equal"] and result["equal"]
        assert result["packed"]["largest_loss_difference"] < 1e-5


def places_of_an_image(tokens):
    """[3, 1, T]: text, an image of rows of five tokens in the middle, and text after it; time, height and width."""
    at, first, last = torch.arange(tokens), tokens // 4, 3 * tokens // 4
    inside = (at >= first) & (at < last)
    after = first + (last - first + 4) // 5
    plain = torch.where(at < first, at, at - last + after)
    rows, columns = first + (at - first) // 5, first + (at - first) % 5
    return torch.stack([torch.where(inside, first, plain), torch.where(inside, rows, plain), torch.where(inside, columns, plain)])[:, None]


@pytest.mark.parametrize("name", ["dense", "moe"])
def test_three_positions_of_a_token(name, step, qwen_sources, qwen_converted, tmp_path):
    """Multi-section rope, in the order of sections that transformers has. A depth turns by the decoder's positions, which do not move with the ids."""
    source = qwen_sources(name)
    given, positions = batch(source.arch.vocab), places_of_an_image(29)
    ids = given["ids"]

    def file(places, **more):
        save_file({"input_ids": ids[None], "position_ids": places.contiguous(), **more}, tmp_path / "batch.safetensors")
        return tmp_path / "batch.safetensors"

    result, _ = step(source.folder, "--tokens", file(positions))
    for head, ahead, logits in zip([result["main"], *result["mtp"]], (1, 2), qwen3_5_reference.logits(source.plain, ids.tolist(), positions), strict=True):
        assert head["sum"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits[:-ahead], ids[ahead:], reduction="sum")), rel=1e-5)
    model = qwen3_5_reference.loaded(source.plain)
    torch.nn.functional.cross_entropy(model(input_ids=ids[None], position_ids=positions, use_cache=False).logits[0, :-1].float(), ids[1:]).backward()
    _, dump = step(source.folder, "--tokens", file(positions), "--mtp", "drop")
    expected = {f"grad.{name}": parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None and f"grad.{name}" in dump}
    assert sum("self_attn.q_proj" in name for name in expected) == sum(not linear for linear in source.arch.gdn.linear)
    compare({name: dump[name] for name in expected}, expected, 5e-4)
    both, _ = step(source.folder, qwen_converted(name), "--tokens", file(positions))
    assert both["equal"] and both["main"]["sum"] == pytest.approx(result["main"]["sum"], rel=1e-6)
    other, _ = step(source.folder, "--tokens", file(positions[[1, 0, 2]]))
    assert abs(other["main"]["sum"] - result["main"]["sum"]) > 1e-4 * result["main"]["sum"]
    packed, _ = step(source.folder, "--tokens", file(positions, cu_seqlens=torch.tensor([0, 11, 12, 29])))
    assert packed["packed"]["equal"]


def test_three_positions_need_sections(causeway_verify, qwen_sources, converted, tmp_path):
    save_file({"input_ids": batch(90)["ids"][None], "position_ids": places_of_an_image(29).contiguous()}, tmp_path / "batch.safetensors")
    for root in (converted("qwen3", "te"), qwen_sources("next").folder):
        assert "mrope_section" in causeway_verify(root, "--mode", "train-step", "--tokens", tmp_path / "batch.safetensors", expect=5).stderr


def test_the_shift_of_the_whole_row_is_another_step(step, converted, tmp_path):
    """What pull request 2043 of Megatron-LM mended: without offsets, tokens are shifted across the ends of sequences."""
    given = batch(157, PACKED)
    packed, _ = step(converted("deepseek_v3_mtp2_fp32", "te"), "--tokens", write_batch(tmp_path / "a.safetensors", given))
    whole, _ = step(converted("deepseek_v3_mtp2_fp32", "te"), "--tokens", write_batch(tmp_path / "b.safetensors", {**given, "cu_seqlens": None}))
    assert packed["mtp"][0]["count"] == 10 - 1 + 17 - 2 and whole["mtp"][0]["count"] == 25
    assert abs(packed["mtp"][0]["loss"] - whole["mtp"][0]["loss"]) > 1e-3


@pytest.mark.parametrize("ranks", [2, 4])
def test_context_parallel(ranks, step, converted, tmp_path):
    file = write_batch(tmp_path / "batch.safetensors", batch(157, [8, 16, 0, 24]))
    one, gradients = step(converted("deepseek_v3_mtp2_fp32", "te"), "--tokens", file)
    several, of_several = step(converted("deepseek_v3_mtp2_fp32", "te"), "--tokens", file, "--context-parallel", ranks)
    assert [part["rank"] for part in several["context_parallel"]] == list(range(ranks))
    for head in range(3):
        parts = [[part["main"], *part["mtp"]][head] for part in several["context_parallel"]]
        whole = [one["main"], *one["mtp"]][head]
        assert sum(part["count"] for part in parts) == whole["count"]
        assert sum(part["sum"] for part in parts) == pytest.approx(whole["sum"], rel=1e-5)
    compare(of_several, gradients, 1e-4)


def test_context_parallel_that_cannot_be_cut(causeway_verify, converted, qwen_converted, v4_converted, tmp_path):
    file = write_batch(tmp_path / "batch.safetensors", batch(100, [8, 6]))
    done = causeway_verify(converted("qwen3", "te"), "--mode", "train-step", "--tokens", file, "--context-parallel", 2, expect=3)
    assert "sequence 1 has 6 tokens" in done.stderr
    for root, what in ((qwen_converted("moe_text"), "linear attention"), (v4_converted("bf16"), "compressed attention")):
        assert what in causeway_verify(root, "--mode", "train-step", "--tokens", file, "--context-parallel", 2, expect=5).stderr


def test_two_checkpoints(causeway, step, sources, converted, tmp_path):
    folder, root = sources("deepseek_v3_mtp2_fp32").folder, converted("deepseek_v3_mtp2_fp32", "te")
    result, dump = step(folder, root)
    assert result["equal"] and result["sides"]["bit_for_bit"] and result["sides"]["largest_gradient_difference"] == 0
    first = load_file(tmp_path / "dump.safetensors.first")
    assert torch.equal(first["loss.main"], dump["loss.main"])
    assert torch.equal(first["grad.model.embed_tokens.weight"], dump["grad.embedding.word_embeddings.weight"])
    assert torch.equal(first["grad.model.layers.0.self_attn.o_proj.weight"], dump["grad.decoder.layers.0.self_attention.linear_proj.weight"])
    done = causeway("verify", folder, root, "--mode", "train-step", "--report", tmp_path / "both.json")
    assert "train step     equal" in done.stdout
    assert json.loads((tmp_path / "both.json").read_text())["train_step"]["equal"]


def test_a_weight_that_differs(step, sources, converted, tmp_path):
    folder = shutil.copytree(sources("qwen3_tied_fp32").folder, tmp_path / "changed")
    name = "model.layers.1.mlp.down_proj.weight"
    (shard,) = [path for path in folder.glob("*.safetensors") if name in load_file(path)]
    tensors = load_file(shard)
    tensors[name][0, 0] += 0.5
    save_file(tensors, shard, metadata={"format": "pt"})
    result, _ = step(folder, converted("qwen3_tied_fp32", "te"), expect=1)
    assert not result["equal"] and "loss.main" in result["sides"]["different"] and "layers.1.down" in result["sides"]["different"]


def test_every_tensor_is_accounted_for(step, v4_sources, v4_converted, qwen_sources, sources):
    """A weight is in the dump or listed with a reason: quantized ones under their names, scales, towers, copies and buffers listed."""
    for folder in (sources("fp8").folder, qwen_sources("moe").folder, v4_sources("bf16").folder):
        result, dump = step(folder, "--prompt-length", 64)
        listed = {entry["name"]: entry["reason"] for entry in result["gradients"]["without_gradient"]}
        names = {name for path in folder.glob("*.safetensors") for name in load_file(path)}
        given = {name.removeprefix("grad.") for name in dump if name.startswith("grad.")}
        assert given | listed.keys() == names and not given & listed.keys()
    result, dump = step(v4_converted("bf16"), "--prompt-length", 64)
    listed = {entry["name"]: entry["reason"] for entry in result["gradients"]["without_gradient"]}
    root = v4_converted("bf16") / "iter_0000000"
    assert {name.removeprefix("grad.") for name in dump if name.startswith("grad.")} | listed.keys() == dcp.read_tensors(str(root)).keys()
    assert {reason for name, reason in listed.items() if ".indexer." in name} == {"the index only chooses"}
    assert all(".indexer." in name or ".compressor." in name or name.endswith(BUFFERS) for name in listed)


def test_quantized_weights_have_the_shape_of_their_values(step, sources):
    folder = sources("fp8").folder
    result, dump = step(folder)
    stored = {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
    listed = {entry["name"]: entry["reason"] for entry in result["gradients"]["without_gradient"]}
    for name, tensor in stored.items():
        if name.endswith("_scale_inv"):
            assert listed[name] in ("scales of a quantized tensor", "a copy that the model does not read", "not read by the model")
        elif name not in listed:
            assert dump[f"grad.{name}"].shape == tensor.shape


def test_formats_of_tokens(step, causeway_verify, converted, tmp_path):
    root, given = converted("deepseek_v3_mtp2_fp32", "te"), batch(157, PACKED)
    _, binary = step(root, "--tokens", write_batch(tmp_path / "batch.safetensors", given))
    (tmp_path / "batch.json").write_text(json.dumps({"input_ids": [given["ids"].tolist()], "labels": given["labels"].tolist(),
                                                     "loss_mask": given["mask"].tolist(), "cu_seqlens": given["cu_seqlens"].tolist()}))
    _, text = step(root, "--tokens", tmp_path / "batch.json")
    assert binary.keys() == text.keys() and all(torch.equal(binary[name], text[name]) for name in binary)
    # without labels: the next token of each sequence, whose last does not count
    (tmp_path / "derived.json").write_text(json.dumps({"input_ids": given["ids"].tolist(), "cu_seqlens": given["cu_seqlens"].tolist()}))
    _, derived = step(root, "--tokens", tmp_path / "derived.json")
    assert all(torch.equal(binary[name], derived[name]) for name in binary)
    # today's forms
    numbers = ",".join(map(str, given["ids"].tolist()))
    one, _ = step(root, "--tokens", numbers)
    (tmp_path / "numbers.txt").write_text(numbers + "\n")
    other, _ = step(root, "--tokens", tmp_path / "numbers.txt")
    assert one["main"] == other["main"] and one["main"]["count"] == 28
    (tmp_path / "numbers.txt").write_text("1,2\n3,4\n")
    assert "2 prompts" in causeway_verify(root, "--mode", "train-step", "--tokens", tmp_path / "numbers.txt", expect=2).stderr


def test_labels_that_do_not_count(step, converted, tmp_path):
    """-100, or a mask of 0, and a depth that no token counts for: its loss is 0."""
    root, given = converted("deepseek_v3_mtp2_fp32", "te"), batch(157)
    given["labels"][3] = -100
    masked = batch(157)
    masked["mask"][3] = 0
    first, a = step(root, "--tokens", write_batch(tmp_path / "a.safetensors", given))
    second, b = step(root, "--tokens", write_batch(tmp_path / "b.safetensors", masked))
    assert first["main"] == second["main"] and all(torch.equal(a[name], b[name]) for name in a)
    masked["mask"].zero_()
    masked["mask"][0] = 1
    nothing, _ = step(root, "--tokens", write_batch(tmp_path / "c.safetensors", masked))
    assert nothing["main"]["count"] == 1 and [depth["count"] for depth in nothing["mtp"]] == [0, 0]
    assert [depth["loss"] for depth in nothing["mtp"]] == [0, 0]


def test_without_mtp(step, converted, sources):
    for checkpoint in (converted("deepseek_v3_mtp2_fp32", "te"), sources("deepseek_v3_mtp2_fp32").folder):
        result, dump = step(checkpoint, "--mtp", "drop")
        assert result["mtp"] == [] and not any(name.startswith("loss.mtp") for name in dump)
        listed = {entry["name"]: entry["reason"] for entry in result["gradients"]["without_gradient"]}
        assert any(reason.startswith("not run") for reason in listed.values())


def test_the_loss_scale_is_the_checkpoints(step, converted, tmp_path):
    """Neither a default of ours nor 1 depth: the gradient of the projection grows with mtp_loss_scaling_factor."""
    root = shutil.copytree(converted("deepseek_v3_mtp2_fp32", "te"), tmp_path / "root", symlinks=True)
    path = root / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    _, usual = step(root)
    config["model"]["mtp_loss_scaling_factor"] = 0.3
    path.write_text(yaml.safe_dump(config))
    result, thrice = step(root)
    assert result["mtp_loss_scale"]["value"] == 0.3
    key = "grad.mtp.layers.0.eh_proj.weight"
    assert float((thrice[key] - 3 * usual[key]).norm()) <= 1e-5 * float(thrice[key].norm())


def test_the_depth_is_the_checkpoints(step, causeway_verify, converted, qwen_converted, tmp_path):
    """Megatron-Bridge's recipes for Qwen3.5 once wrote one depth over what the checkpoint has: tensors of another depth are then refused."""
    result, dump = step(qwen_converted("moe_text"))
    assert len(result["mtp"]) == 1
    assert all(float(tensor.norm()) > 0 for name, tensor in dump.items() if name.startswith("grad.mtp.") and ".experts." not in name)
    root = shutil.copytree(converted("deepseek_v3_mtp2_fp32", "te"), tmp_path / "root", symlinks=True)
    path = root / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["mtp_num_layers"] = 1
    path.write_text(yaml.safe_dump(config))
    assert "mtp.layers.1." in causeway_verify(root, "--mode", "train-step", expect=3).stderr


def test_auxiliary_losses(step, causeway_verify, converted, sources, tmp_path):
    root = shutil.copytree(converted("deepseek_v3", "te"), tmp_path / "root", symlinks=True)
    path = root / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"].update(moe_router_load_balancing_type="seq_aux_loss", moe_aux_loss_coeff=0.1)
    path.write_text(yaml.safe_dump(config))
    off, without = step(root)
    on, with_loss = step(root, "--aux-loss")
    assert "aux_loss" not in off and on["aux_loss"] > 0 and on["main"] == off["main"]
    (router,) = [name for name in without if name.startswith("grad.mtp.") and name.endswith("router.weight")]
    assert not torch.equal(without[router], with_loss[router])
    done = causeway_verify(sources("deepseek_v3").folder, "--mode", "train-step", "--aux-loss", expect=5)
    assert "--aux-loss" in done.stderr


def test_what_a_step_refuses(causeway_verify, converted, tmp_path):
    root = converted("qwen3", "te")
    done = causeway_verify(root, "--mode", "train-step", "--prompt-length", 4000, expect=2)
    assert "a training step" in done.stderr and "--memory" in done.stderr
    for options in (["--reference-logits", "x.safetensors"], ["--layers", "0:1"], ["--compute", "bf16"]):
        assert "train-step" in causeway_verify(root, "--mode", "train-step", *options, expect=2).stderr
    for options in (["--dump", tmp_path / "x"], ["--context-parallel", 2], ["--aux-loss"]):
        assert "--mode train-step" in causeway_verify(root, root, *options, expect=2).stderr
    changed = shutil.copytree(root, tmp_path / "root", symlinks=True)
    path = changed / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["hidden_dropout"] = 0.1
    path.write_text(yaml.safe_dump(config))
    assert "hidden_dropout" in causeway_verify(changed, "--mode", "train-step", expect=5).stderr
    (tmp_path / "beyond.json").write_text(json.dumps({"input_ids": [1, 2, 3], "cu_seqlens": [0, 2]}))
    done = causeway_verify(root, "--mode", "train-step", "--tokens", tmp_path / "beyond.json", expect=3)
    assert "ends at 2, but there are 3 tokens" in done.stderr
    (tmp_path / "beyond.json").write_text(json.dumps({"input_ids": [1, cases.awkward("qwen3", tied=False, dtype="bfloat16").vocab]}))
    assert "not in the vocabulary" in causeway_verify(root, "--mode", "train-step", "--tokens", tmp_path / "beyond.json", expect=3).stderr
