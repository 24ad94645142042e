"""scripts/packed_data.py, which makes the checkpoints the other tests read."""
import io
import shutil
import subprocess
import sys
import tarfile

import pytest
from helpers import DATA, hashes

FILES = {"hf/config.json": b"{}", "hf/a.safetensors": bytes(range(256)) * 40, "megatron/iter_0/.metadata": b"\x80\x04", "megatron/empty": b""}


class Repository:
    """One with nothing but data/written/one and the script."""

    def __init__(self, root):
        (root / "scripts").mkdir()
        self.script = shutil.copy(DATA.parent / "scripts" / "packed_data.py", root / "scripts")
        self.folder = root / "data" / "written" / "one"
        self.archive = root / "data" / "packed" / "written" / "one.tar.xz"
        for name, content in FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
        self.run("pack", "written/one")

    def run(self, *arguments, expect=0):
        done = subprocess.run([sys.executable, self.script, *arguments], capture_output=True, text=True)
        assert done.returncode == expect, done.stderr
        return done

    def content(self):
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def test_every_byte_comes_back(repository):
    before = repository.archive.read_bytes()
    shutil.rmtree(repository.folder)
    repository.run()
    assert repository.content() == FILES
    repository.run("pack", "written/one")
    assert repository.archive.read_bytes() == before


def test_what_is_there_stays_until_the_archive_changes(repository):
    repository.run()
    inode = repository.folder.stat().st_ino
    repository.run()
    assert repository.folder.stat().st_ino == inode
    older = repository.archive.read_bytes()
    (repository.folder / "hf" / "config.json").write_bytes(b'{"a": 1}')
    repository.run("pack", "written/one")
    repository.archive.write_bytes(older)
    repository.run()
    assert repository.content() == FILES


@pytest.mark.parametrize("name, kind", [("../one/x", tarfile.REGTYPE), ("two/x", tarfile.REGTYPE), ("/one/x", tarfile.REGTYPE), ("one/../x", tarfile.REGTYPE),
                                        ("one", tarfile.REGTYPE), ("one/x", tarfile.SYMTYPE)])
def test_nothing_is_written_elsewhere(name, kind, repository):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "../../../scripts"
    with tarfile.open(repository.archive, "w:xz") as archive:
        archive.addfile(member, io.BytesIO())
    root = repository.archive.parents[3]
    before = hashes(root)
    assert name in repository.run(expect=1).stderr
    assert hashes(root) == before
