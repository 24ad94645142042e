"""The second megatron-core (oracles/pool.py, NEXT_CORE): it loads what convert-hf writes, and what it saves exports."""
import pytest

from interop import cases
from interop.test_export import check_folder
from oracles import mapping
from oracles.pool import NEXT_CORE, Pool

DENSE = ["llama", "qwen2", "qwen3", "mistral"]
MOE = ["qwen3_moe", "mixtral", "deepseek_v3"]


@pytest.fixture(scope="module")
def pools():
    made = {spec: Pool(spec, NEXT_CORE) for spec in ("te", "local")}
    yield made
    for pool in made.values():
        pool.close()


@pytest.mark.parametrize("spec", cases.SPECS)
@pytest.mark.parametrize("name", DENSE + MOE)
def test_logits(name, spec, sources, converted, pools):
    source = sources(name)
    ids = cases.tokens(source.arch)
    ((_, logits),) = pools[spec].run("load_and_run", arch=source.arch, directory=str(converted(name, spec) / "iter_0000000"), tokens=ids)
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("name", DENSE + ["qwen3_moe", "mixtral"])
def test_loads_with_every_strictness(name, sources, converted, pools):
    pools["te"].run("load_strictly", arch=sources(name).arch, directory=str(converted(name, "te") / "iter_0000000"))


@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_trained(name, sources, converted, pools, causeway, tmp_path):
    """Loaded, changed and saved, with optimizer state."""
    source = sources(name)
    causeway("convert-hf", source.folder, tmp_path / "root")
    (new,) = pools["te"].run("train_step", arch=source.arch, source=str(tmp_path / "root" / "iter_0000000"),
                             directory=str(tmp_path / "root" / "iter_0000010"), iteration=10)
    (tmp_path / "root" / "latest_checkpointed_iteration.txt").write_text("10")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    check_folder(tmp_path / "hf", source.arch, mapping.to_hf(source.arch, new))


def test_common_state(converted, pools):
    (state,) = pools["te"].run("common_state", directory=str(converted("qwen3", "te") / "iter_0000000"))
    assert state["iteration"] == 0 and state["args"].num_layers == 3
