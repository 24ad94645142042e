"""Same input, same options: the same bytes, for any number of threads, wherever the output lies."""
import pytest

from helpers import HF_FIXTURES, convert, export, hashes, hf_fixture


@pytest.mark.parametrize("options", ([], ["--layer-keys", "per-layer", "--dtype", "fp16", "--vocab-rows", "1024", "--file-size", "100KB"]), ids=("plain", "all kinds"))
@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_convert(fixture, options, tmp_path):
    (tmp_path / "another folder").mkdir()
    runs = {"a": [], "b": [], "another folder/c": ["--threads", "1"], "d": ["--threads", "4"], "e": ["--threads", "4", "--memory", "64MiB", "--progress", "always"]}
    for name, how in runs.items():
        convert(hf_fixture(fixture), tmp_path / name, *options, *how)
    first = hashes(tmp_path / "a")
    assert len(first) > 8
    for name in runs:
        assert hashes(tmp_path / name) == first, name


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_export(fixture, tmp_path, converted):
    runs = {"a": [], "b": ["--threads", "1"], "c": ["--threads", "4"], "d": ["--threads", "4", "--memory", "4MiB"]}
    for name, how in runs.items():
        export(converted(fixture), tmp_path / name, "--max-shard-size", "100KB", *how)
    first = hashes(tmp_path / "a")
    assert sum(name.endswith(".safetensors") for name in first) > 2
    for name in runs:
        assert hashes(tmp_path / name) == first, name
