"""The static binary (scripts/build.sh static) asks for a Linux kernel and nothing else."""
import hashlib
import os
import re
import shutil
import subprocess

import pytest
from helpers import DATA, binary, copy_tree, hashes

FP8 = DATA / "deepseek_v3_fp8" / "hf"


def elf(*options):
    """What readelf says of the binary."""
    return subprocess.run(["readelf", "-W", *options, binary()], env={**os.environ, "LC_ALL": "C"}, check=True, capture_output=True, text=True).stdout


def test_it_needs_no_interpreter_and_no_library():
    segments = elf("--program-headers")
    assert "LOAD" in segments and "INTERP" not in segments, segments
    assert "NEEDED" not in elf("--dynamic")


def test_its_oldest_kernel():
    """glibc's configure takes the oldest kernel (--enable-kernel) and writes it into the note NT_GNU_ABI_TAG."""
    (version,) = re.findall(r"OS: Linux, ABI: (\d+)\.(\d+)\.\d+", elf("--notes"))
    assert tuple(map(int, version)) <= (3, 10), "RHEL 7 is the oldest system that anybody still runs"


@pytest.fixture
def jail(tmp_path):
    """A folder that becomes the root folder: the binary, a checkpoint, its hashes. No /dev, no /proc, no /etc, no /tmp."""
    shutil.copy(binary(), tmp_path / "causeway")
    copy_tree(FP8, tmp_path / "hf")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(FP8.glob("*.safetensors"))]
    (tmp_path / "sums").write_text("".join(sums))
    return tmp_path


def inside(jail, *arguments):
    """Runs the binary with jail as the root folder; without root's rights, in a user namespace."""
    change_root = ["chroot"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "chroot"]
    done = subprocess.run([*change_root, jail, "/causeway", *arguments], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_it_runs_where_there_is_nothing_else(jail):
    inside(jail, "--version")
    inside(jail, "convert-hf", "/hf", "/megatron", "--expect", "/sums")
    inside(jail, "verify", "/hf", "/megatron", "--mode", "hash")
    inside(jail, "inspect", "/megatron")
    inside(jail, "export-to-hf", "/megatron", "/back")
    assert hashes(jail / "back") == hashes(FP8)
    assert sorted(os.listdir(jail)) == ["back", "causeway", "hf", "megatron", "sums"]
