"""Mixtures of experts, latent attention and multi-token prediction: checkpoints of megatron-core or Megatron-Bridge ->
`causeway export-to-hf` -> transformers."""
import pytest
import torch

from interop import cases
from interop.conftest import DATA
from oracles import dcp, hf_files, hf_models, mapping
from oracles.layout import Layout


def check_folder(folder, arch, expected, plain_of_expected):
    """The files hold exactly `expected`; transformers finds every tensor, none too many but those of the MTP layers its model does
    not have, and both it and its MtpModel compute the logits of `expected` bit for bit."""
    assert not dcp.different(expected, hf_files.read_safetensors(folder))
    report = hf_models.loading_report(arch, folder)
    for kind in ("missing_keys", "mismatched_keys", "error_msgs"):
        assert not report[kind], report
    mtp = tuple(f"model.layers.{arch.layers + depth}." for depth in range(arch.mtp))
    assert all(name.startswith(mtp) for name in report["unexpected_keys"]) and bool(report["unexpected_keys"]) == bool(mtp), report
    ids = cases.tokens(arch)
    for ours, theirs in zip(hf_models.logits_with_mtp(arch, folder, ids), hf_models.logits_with_mtp(arch, plain_of_expected, ids), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["qwen3_moe", "deepseek_v3", "deepseek_v3_mtp2"])
def test_bridge_fixture(name, causeway, tmp_path):
    """The tensors multi-token prediction repeats, which Bridge does not export, are made again."""
    fixture = DATA / "bridge_written" / name
    _, state = cases.bridge_source(fixture / "hf")
    causeway("export-to-hf", fixture / "megatron", tmp_path / "hf", "--reference", fixture / "hf")
    assert not dcp.different(state, hf_files.read_safetensors(tmp_path / "hf"))
    for file in (fixture / "hf").iterdir():
        assert (tmp_path / "hf" / file.name).read_bytes() == file.read_bytes(), file.name


# (case, spec, layout, vocabulary rows the training padded to, TEGroupedMLP)
WRITTEN = {
    "qwen3_moe-te-tp2": ("qwen3_moe", "te", Layout(tp=2), 256, False), "qwen3_moe-local-ep2": ("qwen3_moe", "local", Layout(ep=2), 157, False),
    "qwen3_moe_tied_fp32-te-pp2": ("qwen3_moe_tied_fp32", "te", Layout(pp=2), 157, False),
    "mixtral-te-tp2_ep2": ("mixtral", "te", Layout(tp=2, ep=2), 158, False), "mixtral-grouped-ep2": ("mixtral", "te", Layout(ep=2), 157, True),
    "deepseek_v3-te-tp2": ("deepseek_v3", "te", Layout(tp=2), 256, False), "deepseek_v3_mtp3-grouped-ep2": ("deepseek_v3_mtp3", "te", Layout(ep=2), 157, True),
    "deepseek_v3_mtp3-te-tp2_ep2": ("deepseek_v3_mtp3", "te", Layout(tp=2, ep=2), 256, False),
    "deepseek_v3_mtp2_fp32-te-pp2": ("deepseek_v3_mtp2_fp32", "te", Layout(pp=2), 157, False),
    "deepseek_v3-local-tp2": ("deepseek_v3", "local", Layout(tp=2), 158, False),
    # One of each kind that came later, dense ones among them.
    "qwen2_moe-grouped-ep2": ("qwen2_moe", "te", Layout(ep=2), 157, True), "glm4_moe-te-tp2_ep2": ("glm4_moe", "te", Layout(tp=2, ep=2), 256, False),
    "glm4_moe_lite-te-pp2": ("glm4_moe_lite", "te", Layout(pp=2), 157, False), "deepseek_v2-te-tp2": ("deepseek_v2", "te", Layout(tp=2), 256, False),
    "hy_v3-grouped-ep2": ("hy_v3", "te", Layout(ep=2), 157, True), "phi3-te-tp2": ("phi3", "te", Layout(tp=2), 256, False),
    "starcoder2-te-pp2": ("starcoder2", "te", Layout(pp=2), 157, False), "gpt_oss-local-ep2": ("gpt_oss", "local", Layout(ep=2), 157, False),
}


@pytest.mark.parametrize("which", WRITTEN)
def test_written_by_several_ranks(which, sources, pools, causeway, tmp_path):
    """Padding rows, which training fills with whatever it likes, do not come back."""
    name, spec, layout, rows, grouped = WRITTEN[which]
    source = sources(name)
    full = mapping.to_megatron(source.arch, source.state)
    cases.save_by_ranks(pools[spec], source.arch, full, tmp_path / "root", layout, rows, spec, grouped=grouped)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    check_folder(tmp_path / "hf", source.arch, source.state, source.folder)


@pytest.mark.parametrize("name", ["qwen3_moe", "deepseek_v3_mtp3"])
def test_singleton_local_shards(name, sources, pools, causeway, tmp_path):
    """Every expert, gate and up under a key of its own; the checkpoint's content metadata says so."""
    source = sources(name)
    full = mapping.to_megatron(source.arch, source.state)
    pools["te"].run("save", layout=Layout(ep=2), arch=source.arch, directory=str(tmp_path / "root" / "iter_0000005"), vocab_rows=source.arch.vocab,
                    parameters=[full, full], iteration=5, singleton=True)
    keys = dcp.read_tensors(tmp_path / "root" / "iter_0000005").keys()
    assert any(".experts.experts.3.linear_fc1.weight_w" in key for key in keys)
    causeway("export-to-hf", tmp_path / "root" / "iter_0000005", tmp_path / "hf", "--reference", source.folder)
    assert not dcp.different(source.state, hf_files.read_safetensors(tmp_path / "hf"))


CHANGED = {
    "qwen3_moe": ["decoder.layers.1.mlp.experts.local_experts.4.linear_fc1.weight", "decoder.layers.0.self_attention.linear_qkv.weight",
                  "decoder.layers.2.mlp.router.weight"],
    "deepseek_v3_mtp3": ["embedding.word_embeddings.weight", "mtp.layers.1.eh_proj.weight", "decoder.layers.2.mlp.router.expert_bias"],
}


@pytest.mark.parametrize("name", CHANGED)
def test_trained(name, sources, converted, pools, causeway, tmp_path):
    """Real megatron-core loads, changes three tensors and saves, optimizer state and all. A changed embedding is also the changed
    copy of every depth."""
    source = sources(name)
    arch, full = source.arch, mapping.to_megatron(source.arch, source.state)
    changes = {key: full[key] + 0.25 for key in CHANGED[name]}
    root = converted(name, "te")
    pools["te"].run("change", arch=arch, source=str(root / "iter_0000000"), directory=str(tmp_path / "elsewhere" / "iter_0000010"), iteration=10,
                    changes=changes, grouped=True)
    (tmp_path / "elsewhere" / "latest_checkpointed_iteration.txt").write_text("10")
    expected = mapping.to_hf(arch, {**full, **changes})
    plain = hf_files.copy_with_tensors(source.folder, tmp_path / "plain", expected)
    for how, where in (("sidecar", root / "causeway"), ("reference", source.folder)):
        causeway("export-to-hf", tmp_path / "elsewhere", tmp_path / how, f"--{how}", where)
        check_folder(tmp_path / how, arch, expected, plain)


def test_multi_token_prediction_can_be_left_out(sources, converted, causeway, tmp_path):
    """`--mtp drop` on export: the other tensors alone, and a configuration that promises no more."""
    source = sources("deepseek_v3_mtp3")
    causeway("export-to-hf", converted("deepseek_v3_mtp3", "te"), tmp_path / "hf", "--mtp", "drop")
    depths = tuple(f"model.layers.{source.arch.layers + depth}." for depth in range(source.arch.mtp))
    expected = {name: tensor for name, tensor in source.state.items() if not name.startswith(depths)}
    assert not dcp.different(expected, hf_files.read_safetensors(tmp_path / "hf"))
