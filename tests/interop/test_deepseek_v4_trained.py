"""DeepSeek-V4 after training: only what training concerned changes, codes and scales by the owner's rule as torch computes it.
Training is torch's distributed checkpoint read, values changed, and written again."""
import shutil

import pytest
import torch
import torch.distributed.checkpoint as torch_dcp

from interop import deepseek_v4_cases as v4_cases
from interop.test_fp8 import digests
from oracles import dcp, deepseek_v4, deepseek_v4_model, hf_files


def save_trained(checkpoint, root, changes):
    """A later iteration in which `changes` {key: tensor} replace what is in the checkpoint."""
    source = checkpoint / "iter_0000000"
    tensors = dcp.read_tensors(source)
    assert changes.keys() <= tensors.keys()
    directory = root / "iter_0000010"
    torch_dcp.save({**tensors, **changes}, storage_writer=torch_dcp.FileSystemWriter(directory), no_dist=True,
                   planner=torch_dcp.DefaultSavePlanner(flatten_state_dict=False))
    for file in ("common.pt", "metadata.json"):
        if (source / file).exists():
            shutil.copy(source / file, directory)
    (root / "latest_checkpointed_iteration.txt").write_text("10")


def train(source, edits):
    """({key: tensor} that training changed, the tensors an export must hold, {name: blocks with a new scale}).
    edits: {name: new tensor, in what Megatron holds of it}"""
    before = deepseek_v4.plain(source.state)
    assert all(before[name].dtype == tensor.dtype and before[name].shape == tensor.shape for name, tensor in edits.items())
    old, new = (deepseek_v4.to_dist(state, source.config) for state in (before, {**before, **edits}))
    changed = {key: new[key] for key in new if not torch.equal(old[key].view(torch.uint8), new[key].view(torch.uint8))}
    expected, renewed = {**source.state, **edits}, {}
    for name, tensor in edits.items():
        scale = deepseek_v4.scale_name(name)
        if scale != name and scale in source.state:
            expected[name], expected[scale], renewed[name] = deepseek_v4_model.requantized(tensor, source.state[name], source.state[scale])
    return changed, expected, renewed


def check_export(source, converted, root, how, expected, causeway, folder):
    if how == "root":
        shutil.copytree(converted / "causeway", root / "causeway", dirs_exist_ok=True)
        causeway("export-to-hf", root, folder)
    else:
        causeway("export-to-hf", root / "iter_0000010", folder, f"--{how}", converted / "causeway" if how == "sidecar" else source.folder)
    assert not dcp.different(expected, hf_files.read_safetensors(folder))
    ours, theirs = digests(folder), digests(source.folder)
    assert ours.keys() == theirs.keys()
    changed = {name for name in expected if not torch.equal(expected[name].view(torch.uint8), source.state[name].view(torch.uint8))}
    for file in theirs:
        same = not file.endswith(".safetensors") or not changed & set(hf_files.names(source.folder / file))
        assert (ours[file] == theirs[file]) == same, file


# ---- chosen changes ----


def edited(tensor, *places):
    """places: (rows, columns, value)"""
    out = tensor.clone()
    for rows, columns, value in places:
        out[rows, columns] = value
    return out


def chosen(plain, layer, last):
    """One change of each kind; {name: (tensor, blocks with a new scale where the experts are FP4)}"""
    w1, w2, w3 = (f"{layer}.ffn.experts.1.{part}.weight" for part in ("w1", "w2", "w3"))
    wq_b, wo_a, alphas, ids = f"{layer}.attn.wq_b.weight", f"{layer}.attn.wo_a.weight", f"{layer}.hc_ffn_scale", "layers.0.ffn.gate.tid2eid"
    tied = edited(plain[w3], (5, slice(0, 32), 0.0))
    # 2^3 * (6, ties between codes, zeros of both signs)
    tied[5, :12] = 8 * torch.tensor([6.0, -5.0, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25, -0.25, -0.0, 0.0, -0.2578125])
    return {
        w1: (edited(plain[w1], (slice(3, 5), slice(30, 34), 0.7321)), 4),
        # nothing but zeros, and values far below the floor 6 * 2^-126
        w2: (edited(plain[w2], (0, slice(0, 32), 1e-39), (1, slice(32, 64), -1e-40)), 2),
        w3: (tied, 1),
        wq_b: (edited(plain[wq_b], (2, 7, 3.3)), 1),
        wo_a: (edited(plain[wo_a], (slice(0, 128), slice(0, 128), 1e-7)), 1),
        alphas: (torch.stack([plain[alphas][0], plain[alphas][1] + 0.5, plain[alphas][2]]), 0),
        ids: (plain[ids].roll(1, 0), 0),
        f"{last}.ffn.experts.0.w2.weight": (plain[f"{last}.ffn.experts.0.w2.weight"] * 1.37, None),
    }


@pytest.mark.parametrize("how", ["root", "sidecar", "reference"])
@pytest.mark.parametrize("name, layer, last", [("fixture", "layers.1", "mtp.0"), ("fp8fp4_odd_mtp2", "layers.1", "mtp.1"), ("fp8fp4_spare_zeros", "layers.2", "layers.0"),
                                               ("base_odd", "layers.3", "mtp.1"), ("base_e8m0", "layers.1", "layers.3")])
def test_training_changes_only_what_it_concerned(name, layer, last, how, v4_sources, v4_converted, causeway, tmp_path):
    source = v4_sources(name)
    wanted = chosen(deepseek_v4.plain(source.state), layer, last)
    changed, expected, renewed = train(source, {key: tensor for key, (tensor, _) in wanted.items()})
    if name.startswith("fp8fp4"):  # the expectation itself is as intended
        assert all(renewed[key] == blocks for key, (_, blocks) in wanted.items() if blocks)
    save_trained(v4_converted(name), tmp_path / "root", changed)
    check_export(source, v4_converted(name), tmp_path / "root", how, expected, causeway, tmp_path / "hf")


def test_values_of_the_old_scale_keep_it(v4_sources, v4_converted, causeway, tmp_path):
    """Two values of one block exchanged: their codes change places, in different nibbles too, and the scale stays."""
    source = v4_sources("fixture")
    plain = deepseek_v4.plain(source.state)
    edits = {}
    for name in ("layers.3.ffn.experts.3.w1.weight", "layers.2.attn.wkv.weight"):
        edits[name] = plain[name].clone()
        edits[name][7, 2], edits[name][7, 5] = plain[name][7, 5], plain[name][7, 2]
    changed, expected, renewed = train(source, edits)
    assert set(renewed.values()) == {0} and len(changed) == 2
    save_trained(v4_converted("fixture"), tmp_path / "root", changed)
    check_export(source, v4_converted("fixture"), tmp_path / "root", "sidecar", expected, causeway, tmp_path / "hf")


def test_what_megatron_wrote_and_trained(v4_sources, causeway, tmp_path):
    """No sidecar there at all."""
    source = v4_sources("fixture")
    wanted = chosen(deepseek_v4.plain(source.state), "layers.3", "mtp.0")
    changed, expected, _ = train(source, {key: tensor for key, (tensor, _) in wanted.items()})
    save_trained(v4_cases.DEV, tmp_path / "root", changed)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    assert not dcp.different(expected, hf_files.read_safetensors(tmp_path / "hf"))


@pytest.mark.parametrize("part", ["pre", "post", "res"])
@pytest.mark.parametrize("wrong", [torch.zeros(2), torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, 1)], ids=["two values", "bf16", "a matrix"])
def test_parts_must_be_equal(part, wrong, v4_sources, v4_converted, causeway, tmp_path):
    """The three scales of a hyper-connection are one tensor of the release."""
    key = f"decoder.layers.2.mlp_hyper_connection.alpha_{part}"
    save_trained(v4_converted("fixture"), tmp_path / "root", {key: wrong})
    done = causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", v4_sources("fixture").folder, expect=3)
    assert "decoder.layers.2.mlp_hyper_connection.alpha" in done.stderr and "beside the other parts it should be" in done.stderr
    assert not (tmp_path / "hf").exists()


# ---- changes anywhere ----


def somewhere(tensor, generator):
    """A few stretches of a row get values of another size, values of their own, or nothing."""
    out = tensor.clone()
    for _ in range(4):
        row = int(torch.randint(tensor.shape[0], (1,), generator=generator))
        column = int(torch.randint(tensor.shape[1], (1,), generator=generator))
        stretch = out[row, column : column + 40]
        kind = int(torch.randint(4, (1,), generator=generator))
        if kind == 0:
            stretch *= 2.0 ** int(torch.randint(-30, 10, (1,), generator=generator))
        elif kind == 1:
            stretch.copy_(torch.randn(stretch.shape, generator=generator))
        elif kind == 2:
            stretch.copy_(-stretch.flip(0))
        else:
            stretch.zero_()
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", v4_cases.QUANTIZED)
def test_random_changes(name, seed, v4_sources, v4_converted, causeway, tmp_path):
    """In half of all matrices that have scales."""
    source, generator = v4_sources(name), torch.Generator().manual_seed(seed)
    plain = deepseek_v4.plain(source.state)
    scaled = [key for key in plain if key.endswith(".weight") and deepseek_v4.scale_name(key) in source.state]
    edits = {key: somewhere(plain[key], generator) for key in scaled if torch.rand(1, generator=generator) < 0.5}
    changed, expected, renewed = train(source, edits)
    assert sum(renewed.values()) > len(edits) / 2
    save_trained(v4_converted(name), tmp_path / "root", changed)
    check_export(source, v4_converted(name), tmp_path / "root", "sidecar", expected, causeway, tmp_path / "hf")
