"""What the unit tests take for the defaults of transformers' configuration classes is what the classes say."""
import json

from interop.conftest import DATA
from oracles import hf_defaults


def test_defaults_are_those_on_record():
    assert json.loads((DATA / "hf_defaults.json").read_text()) == hf_defaults.all_of_them()
