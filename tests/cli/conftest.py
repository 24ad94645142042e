"""Nothing here skips: a missing CAUSEWAY fails."""
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import helpers  # noqa: E402  (needs the path above)

subprocess.run([sys.executable, helpers.DATA.parent / "scripts" / "packed_data.py"], check=True)


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """converted(name) -> what convert-hf made of a fixture, once. Not to be changed: copy it."""
    made = {}

    def get(name):
        if name not in made:
            root = tmp_path_factory.mktemp(f"converted-{name}") / "root"
            helpers.convert(helpers.hf_fixture(name), root)
            made[name] = root
        return made[name]

    return get


def pytest_configure(config):
    helpers.work_in_memory(config)
