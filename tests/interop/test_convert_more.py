"""Architectures that share their modules in Megatron-Core with others, or whose attention it has not: converted once each and
exported again."""
import pytest

from interop import cases
from oracles import dcp, mapping, sharding

# The norm of all heads' channels together is a module of Megatron-Bridge's alone. The stand-in for TransformerEngine has no windows.
BUILT = {name: "local" if case.arch.sliding else "te" for name, case in cases.MORE.items() if not case.arch.whole_qk_norm}


@pytest.mark.parametrize("name", cases.MORE)
def test_torch_reads_every_tensor(name, sources, converted):
    source = sources(name)
    expected = sharding.dist_keys(source.arch, mapping.to_megatron(source.arch, source.state))
    assert not dcp.different(expected, dcp.read_tensors(converted(name, "te") / "iter_0000000"))


@pytest.mark.parametrize("name", BUILT)
def test_logits(name, sources, converted, pools):
    """After a default-strict load: every parameter bit for bit, and what the model requires beside them."""
    spec, source = BUILT[name], sources(name)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = pools[spec].run("load_and_run", arch=source.arch, directory=str(converted(name, spec) / "iter_0000000"), tokens=ids)
    full = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different({key: value.float() for key, value in full.items()}, loaded)
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("name", cases.MORE)
def test_untouched_round_trip_gives_back_the_files(name, sources, converted, causeway, tmp_path):
    causeway("export-to-hf", converted(name, "te"), tmp_path / "hf")
    original = {path.name: path.read_bytes() for path in sources(name).folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()} == original
