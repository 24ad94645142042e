"""MiMo-7B, which transformers does not have: its main model is Qwen2's (renamed.py, oracles/mimo.py). The names and the order of the
projected columns are those of MiMo's own modeling file."""
import pytest

from interop import cases, renamed
from oracles import mimo as mimo_files
from oracles.arch import awkward

ARCH = awkward("qwen2", tied=False, dtype="bfloat16", mtp=2)


@pytest.fixture(scope="module")
def mimo(tmp_path_factory):
    return renamed.make(mimo_files.make, ARCH, tmp_path_factory.mktemp("mimo") / "model", seed=80)


@pytest.mark.parametrize("spec", cases.SPECS)
def test_there_and_back(spec, mimo, causeway, forward, pools, tmp_path):
    renamed.check_there_and_back(mimo, spec, causeway, forward, pools, tmp_path)
    config = renamed.config_from_megatron_alone(mimo, "mimo", causeway, tmp_path)
    assert (config["architectures"], config["num_nextn_predict_layers"]) == (["MiMoForCausalLM"], ARCH.mtp)


def test_without_mtp(mimo, causeway, tmp_path):
    renamed.check_without_mtp(mimo, lambda name: ".mtp_layers." in name, causeway, tmp_path)


def test_columns_that_are_not_exchanged(mimo, causeway, causeway_verify, tmp_path):
    """A table without the exchange."""
    renamed.check_wrong_table(mimo, "mimo", lambda text: text.replace('"swap_columns"', '"copy"'), "mtp.0.projection", causeway, causeway_verify, tmp_path)
