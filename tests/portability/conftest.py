"""CAUSEWAY is the static binary here. Nothing skips."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
