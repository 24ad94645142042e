"""Training steps against the second, newer megatron-core, which can what 0.16.1 cannot: recompute multi-token prediction of packed rows, and
padding masks."""
import shutil

import pytest
import torch
import yaml

from interop.test_train_step import PACKED, batch, compare_with_megatron, step, write_batch  # noqa: F401 (a fixture)

NAME = "deepseek_v3_mtp2_fp32"
ROUTER_LOSS = ("seq_aux_loss", 0.1)


@pytest.fixture
def with_router_loss(converted, tmp_path):
    """The checkpoint, whose configuration asks for a loss of routers: without one no padding mask shows."""
    root = shutil.copytree(converted(NAME, "te"), tmp_path / "root", symlinks=True)
    path = root / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"].update(moe_router_load_balancing_type=ROUTER_LOSS[0], moe_aux_loss_coeff=ROUTER_LOSS[1])
    path.write_text(yaml.safe_dump(config))
    return root


def padded(vocab):
    """The last five tokens are padding, which no loss counts."""
    given = batch(vocab)
    given["padding"] = torch.arange(len(given["ids"])) >= len(given["ids"]) - 5
    given["mask"][given["padding"]] = 0
    return given


@pytest.mark.parametrize("method, layers, mode", [("uniform", 1, "full"), ("block", 2, "block:2")])
def test_packed_rows_recompute(method, layers, mode, step, sources, converted, core, tmp_path):  # noqa: F811
    """Pull request 4593 of Megatron-LM, mended: both recompute the depths of a packed row."""
    arch = sources(NAME).arch
    result = compare_with_megatron(step, core, arch, converted(NAME, "te"), batch(arch.vocab, PACKED), tmp_path, arguments=["--recompute", mode],
                                   recompute=(method, layers))
    assert result["recompute"]["against_none"]["equal"]


@pytest.mark.parametrize("method, layers, mode", [(None, None, "none"), ("uniform", 1, "full"), ("block", 2, "block:2")])
def test_padding_masks(method, layers, mode, step, sources, with_router_loss, core, tmp_path):  # noqa: F811
    """Its follow-up: the mask arrives in every mode, in recomputed depths too."""
    arch = sources(NAME).arch
    compare_with_megatron(step, core, arch, with_router_loss, padded(arch.vocab), tmp_path, arguments=["--aux-loss", "--recompute", mode],
                          recompute=method and (method, layers), router_loss=ROUTER_LOSS)


def test_a_padding_mask_that_is_lost_is_another_step(step, sources, with_router_loss, tmp_path):  # noqa: F811
    given = padded(sources(NAME).arch.vocab)
    _, dump = step(with_router_loss, "--aux-loss", "--tokens", write_batch(tmp_path / "a.safetensors", given))
    del given["padding"]
    _, lost = step(with_router_loss, "--aux-loss", "--tokens", write_batch(tmp_path / "b.safetensors", given))
    (router,) = [name for name in dump if name.startswith("grad.mtp.layers.1.") and name.endswith("router.weight")]
    assert torch.equal(dump["loss.main"], lost["loss.main"])
    assert float((dump[router] - lost[router]).norm()) > 1e-2 * float(dump[router].norm())
