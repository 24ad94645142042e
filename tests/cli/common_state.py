"""common.pt of a checkpoint: the pickle in the archive that torch.save writes, read and written with Python's own pickle."""
import argparse
import io
import json
import pathlib
import pickle
import zipfile

from helpers import DATA


class CommonState:
    def __init__(self, root):
        self.path = pathlib.Path(root) / "iter_0000000" / "common.pt"
        with zipfile.ZipFile(self.path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            self.state = pickle.load(io.BytesIO(archive.read(name)))

    def save(self):
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("common/data.pkl", pickle.dumps(self.state, protocol=2))
            archive.writestr("common/byteorder", "little")
            archive.writestr("common/version", "3\n")


def speak_as_megatron(root, **changes):
    """Leaves the iteration the arguments that a save of Megatron-LM leaves: all that its parser has (data/megatron_args), with those
    of the model; and no run_config.yaml."""
    common = CommonState(root)
    defaults = json.loads((DATA / "megatron_args" / "defaults.json").read_text())
    common.state["args"] = argparse.Namespace(**{**defaults, **vars(common.state["args"]), **changes})
    common.save()
    (pathlib.Path(root) / "iter_0000000" / "run_config.yaml").unlink()
