"""Full-size checkpoints that are holes but for a few tensors, written to the end: on a disk that keeps what is not zero."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))


@pytest.fixture(scope="module")
def thin_disk(tmp_path_factory):
    """CAUSEWAY is the binary with thin_disk.c under it."""
    folder = tmp_path_factory.mktemp("thin")
    library, program = folder / "thin_disk.so", folder / "causeway"
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", HERE / "thin_disk.c", "-o", library, "-ldl"], check=True)
    program.write_text(f'#!/bin/sh\nexec env LD_PRELOAD="{library}" "{os.path.abspath(os.environ["CAUSEWAY"])}" "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSEWAY", str(program))
        yield
