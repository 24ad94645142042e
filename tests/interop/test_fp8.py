"""Block-quantized checkpoints: untouched they come back file for file, trained they keep every byte training did not concern."""
import hashlib
import shutil

import pytest
import torch

from interop import cases
from interop.conftest import DATA
from oracles import dcp, fp8, hf_files, hf_models, mapping
from oracles.layout import Layout


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def without_weights(folder, copy):
    """A reference that is only a configuration."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    return copy


# ---- untouched ----


HOW = ["root", "sidecar", "reference"]


def export(causeway, how, root, reference, place):
    """Exports the converted iteration to place/hf with the scales of the sidecar in the root, of a sidecar elsewhere, or of the source."""
    if how == "root":
        causeway("export-to-hf", root, place / "hf")
    else:
        bare = shutil.copytree(root / "iter_0000000", place / "bare")
        causeway("export-to-hf", bare, place / "hf", f"--{how}", root / "causeway" if how == "sidecar" else reference)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", cases.FP8)
def test_untouched_checkpoint_gives_back_the_files(name, how, sources, converted, causeway, tmp_path):
    source = sources(name)
    export(causeway, how, converted(name, "te"), source.folder, tmp_path)
    assert digests(tmp_path / "hf") == digests(source.folder)


def test_what_bridge_imported_gives_back_the_files(causeway, tmp_path):
    """Bridge dequantized and kept no scales; the reference has them. It also dropped what multi-token prediction repeats."""
    fixture = DATA / "bridge_written" / "deepseek_v3_fp8"
    causeway("export-to-hf", fixture / "megatron", tmp_path / "hf", "--reference", fixture / "hf")
    assert digests(tmp_path / "hf") == digests(fixture / "hf")


# (layout, vocabulary rows the training padded to)
WRITTEN = {"fp8": (Layout(tp=2), 256), "fp8_bf16_scales": (Layout(tp=2, ep=2), 158), "qwen3_moe_fp8": (Layout(pp=2, ep=2), 157)}


@pytest.mark.parametrize("name", WRITTEN)
def test_written_by_several_ranks_gives_back_the_files(name, sources, pools, causeway, tmp_path):
    """Blocks do not care where megatron-core cut a matrix."""
    source, (layout, rows) = sources(name), WRITTEN[name]
    cases.save_by_ranks(pools["te"], source.arch, mapping.to_megatron(source.arch, source.state), tmp_path / "root", layout, rows, grouped=True)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    assert digests(tmp_path / "hf") == digests(source.folder)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["fp8", "fp8_bf16_scales"])
def test_odd_codes_and_scales_come_back(name, how, sources, causeway, tmp_path):
    """NaN codes, both zeros, and scales no rule makes: zero, a subnormal, one that overflows bf16."""
    source = sources(name)
    stored = hf_files.read_safetensors(source.folder)
    weight, scale = "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.weight" + fp8.SCALE
    stored[weight].view(torch.uint8)[:2, :4] = torch.tensor([[0x7F, 0xFF, 0x80, 0x00], [0x01, 0x81, 0x7E, 0xFE]], dtype=torch.uint8)
    stored[scale][0, 1], stored[scale][1, 0], stored[scale][1, 1] = 0.0, 1e-40, 3e38
    folder = hf_files.copy_with_tensors(source.folder, tmp_path / "odd", stored)
    causeway("convert-hf", folder, tmp_path / "root")
    export(causeway, how, tmp_path / "root", folder, tmp_path)
    assert digests(tmp_path / "hf") == digests(folder)


# ---- trained ----


def _set(tensor, rows, columns, value):
    out = tensor.clone()
    out[rows, columns] = value
    return out


def _swapped(tensor, first, second):
    out = tensor.clone()
    out[first], out[second] = tensor[second], tensor[first]
    return out


def _deepseek(full):
    """A few values of one block of the gate; a whole matrix of an expert of the multi-token prediction layer; two values of one
    block exchanged, which the old scale can say."""
    gate_up = "decoder.layers.0.mlp.linear_fc1.weight"
    down = "mtp.layers.0.transformer_layer.mlp.experts.local_experts.2.linear_fc2.weight"
    latent = "decoder.layers.1.self_attention.linear_kv_down_proj.weight"
    return {gate_up: _set(full[gate_up], slice(3, 5), slice(130, 140), 0.7321), down: full[down] * 1.37,
            latent: _swapped(full[latent], (1, 2), (20, 30))}


def _qwen3_moe(full):
    """One key head; the last block, partial both ways, to below the floor of the rule; the router, which has no codes."""
    qkv, down = "decoder.layers.1.self_attention.linear_qkv.weight", "decoder.layers.0.mlp.experts.local_experts.5.linear_fc2.weight"
    router = "decoder.layers.2.mlp.router.weight"
    # the rows of a group: three query heads, a key head, a value head, of 16 rows each
    return {qkv: _set(full[qkv], slice(48, 64), slice(0, 144), 0.123), down: _set(full[down], slice(128, 144), slice(0, 28), 1e-6),
            router: full[router] + 0.25}


# case: (what training did, {tensor: blocks that get a new scale}, tensors that only get other codes)
LAYER_0, MTP_LAYER = "model.layers.0.", "model.layers.3."
ALL = "all"
TRAINED = {
    "fp8": (_deepseek, {LAYER_0 + "mlp.gate_proj.weight": [(0, 1)], MTP_LAYER + "mlp.experts.2.down_proj.weight": ALL},
            ["model.layers.1.self_attn.kv_a_proj_with_mqa.weight"]),
    "fp8_bf16_scales": (_deepseek, {LAYER_0 + "mlp.gate_proj.weight": [(0, 1)], MTP_LAYER + "mlp.experts.2.down_proj.weight": ALL},
                        ["model.layers.1.self_attn.kv_a_proj_with_mqa.weight"]),
    "qwen3_moe_fp8": (_qwen3_moe, {"model.layers.1.self_attn.k_proj.weight": ALL, LAYER_0 + "mlp.experts.5.down_proj.weight": [(1, 0)]}, []),
}


@pytest.fixture(scope="module", params=TRAINED)
def trained(request, sources, converted, pools, tmp_path_factory):
    """(source, converted root, root of the trained iteration, the tensors an export must hold, their values in bf16)"""
    name = request.param
    source, (train, renewed, recoded) = sources(name), TRAINED[name]
    full = mapping.to_megatron(source.arch, source.state)
    changes = train(full)
    elsewhere = tmp_path_factory.mktemp(name) / "root"
    pools["te"].run("change", arch=source.arch, source=str(converted(name, "te") / "iter_0000000"), directory=str(elsewhere / "iter_0000010"), iteration=10,
                    changes=changes, grouped=True)
    (elsewhere / "latest_checkpointed_iteration.txt").write_text("10")
    new_state = mapping.to_hf(source.arch, {**full, **changes})
    stored = hf_files.read_safetensors(source.folder)
    expected, touched = dict(stored), set()
    for key, tensor in new_state.items():
        if key + fp8.SCALE not in stored:
            expected[key] = tensor
            continue
        q, scales, blocks = fp8.requantized(tensor, stored[key], stored[key + fp8.SCALE], source.fp8.block)
        expected[key], expected[key + fp8.SCALE] = q, scales
        if blocks:  # the expectation itself is as intended
            touched.add(key)
            everywhere = [block[:2] for block in fp8.blocks(tensor.shape, source.fp8.block)]
            assert blocks == (everywhere if renewed[key] == ALL else renewed[key]), key
        elif not torch.equal(q.view(torch.uint8), stored[key].view(torch.uint8)):
            assert key in recoded, key
    assert touched == renewed.keys()
    return source, converted(name, "te"), elsewhere, expected, new_state


@pytest.mark.parametrize("how", HOW)
def test_training_changes_only_the_blocks_it_concerned(trained, how, causeway, tmp_path):
    """Codes and scales are the owner's rule as torch computes it; every other byte is the source's, file by file."""
    source, root, elsewhere, expected, _ = trained
    if how == "root":  # training saved beside the converted iteration, and left its sidecar alone
        shutil.copytree(root / "causeway", tmp_path / "root" / "causeway")
        shutil.copytree(elsewhere / "iter_0000010", tmp_path / "root" / "iter_0000010")
        shutil.copy(elsewhere / "latest_checkpointed_iteration.txt", tmp_path / "root")
        causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    else:
        causeway("export-to-hf", elsewhere, tmp_path / "hf", f"--{how}", root / "causeway" if how == "sidecar" else source.folder)
    assert not dcp.different(expected, hf_files.read_safetensors(tmp_path / "hf"))
    ours, theirs = digests(tmp_path / "hf"), digests(source.folder)
    assert ours.keys() == theirs.keys()
    stored = hf_files.read_safetensors(source.folder)
    for file in theirs:
        same = not file.endswith(".safetensors") or all(
            torch.equal(expected[key].view(torch.uint8), stored[key].view(torch.uint8)) for key in hf_files.names(source.folder / file))
        assert (ours[file] == theirs[file]) == same, file


def _edited(part, generator):
    """One block after one of the things training, or a tool, may do to it."""
    out = part.clone()
    row, column = (int(torch.randint(size, (), generator=generator)) for size in part.shape)
    edits = [
        lambda: None, lambda: out[row, column].fill_(0.0), lambda: out[row, column].fill_(-0.0), lambda: out[row, column].mul_(1.07),
        lambda: out.zero_(), lambda: out[row, column].fill_(3e38), lambda: out[row, column].fill_(1e-40), lambda: out.neg_(), lambda: out.mul_(1e-6),
        lambda: out.copy_(out.flip(0)),
    ]
    edits[int(torch.randint(len(edits), (), generator=generator))]()
    return out


@pytest.mark.parametrize("how", ["sidecar", "reference"])
@pytest.mark.parametrize("name", cases.FP8)
def test_random_edits_of_every_block(name, how, sources, converted, pools, causeway, tmp_path):
    """Zeros of both signs, subnormals, huge values, whole blocks negated, emptied or shrunk below the floor."""
    source, generator = sources(name), torch.Generator().manual_seed(23)
    stored, expected, state = hf_files.read_safetensors(source.folder), {}, dict(source.state)
    renewed = kept = 0
    for key in state:
        if key + fp8.SCALE not in stored:
            continue
        state[key] = state[key].clone()
        for _, _, rows, columns in fp8.blocks(state[key].shape, source.fp8.block):
            state[key][rows, columns] = _edited(state[key][rows, columns], generator)
        expected[key], expected[key + fp8.SCALE], fresh = fp8.requantized(state[key], stored[key], stored[key + fp8.SCALE], source.fp8.block)
        renewed, kept = renewed + len(fresh), kept + stored[key + fp8.SCALE].numel() - len(fresh)
    assert renewed > 10 and kept > 10
    pools["te"].run("save", arch=source.arch, directory=str(tmp_path / "root" / "iter_0000005"), vocab_rows=source.arch.vocab,
                    parameters=[mapping.to_megatron(source.arch, state)], iteration=5)
    where = converted(name, "te") / "causeway" if how == "sidecar" else source.folder
    causeway("export-to-hf", tmp_path / "root" / "iter_0000005", tmp_path / "hf", f"--{how}", where)
    assert not dcp.different({**stored, **expected}, hf_files.read_safetensors(tmp_path / "hf"))


def test_without_scales_the_export_is_refused(trained, causeway, tmp_path):
    """A configuration alone says the model was quantized, not how; the message names the ways out."""
    source, _, elsewhere, _, _ = trained
    reference = without_weights(source.folder, tmp_path / "reference")
    done = causeway("export-to-hf", elsewhere, tmp_path / "hf", "--reference", reference, expect=2)
    for option in ("--sidecar", "--reference", "--dtype"):
        assert option in done.stderr
    assert not (tmp_path / "hf").exists()


def test_it_can_be_exported_in_bf16(trained, causeway, tmp_path):
    """`--dtype bf16`: the values themselves, and a configuration that does not promise codes."""
    source, root, elsewhere, _, new_state = trained
    causeway("export-to-hf", elsewhere, tmp_path / "hf", "--sidecar", root / "causeway", "--dtype", "bf16")
    assert not dcp.different(new_state, hf_files.read_safetensors(tmp_path / "hf"))
    assert "quantization_config" not in (tmp_path / "hf" / "config.json").read_text()
    plain = hf_files.copy_with_tensors(source.plain, tmp_path / "plain", new_state)
    ids = cases.tokens(source.arch)
    ours, theirs = (hf_models.logits_with_mtp(source.arch, folder, ids) for folder in (tmp_path / "hf", plain))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
