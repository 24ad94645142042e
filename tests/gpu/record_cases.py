"""Writes checkpoints with recorded logits for check_cases.py, which needs no Python packages: one of every architecture, those of quantized
releases, linear attention by chunks.

    .venv/bin/python tests/gpu/record_cases.py OUT

OUT/NAME/hf is a Hugging Face folder, OUT/NAME/reference.safetensors what transformers computes on it (as the interop tests record it), and
OUT/cases.json lists the names with the number of views: two where Megatron-Core computes the same function.
"""
import functools
import json
import pathlib
import shutil
import sys
import tempfile

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

import torch  # noqa: E402  (needs the path above)

from interop import cases, qwen3_5_cases  # noqa: E402
from interop import test_forward_deepseek_v4 as deepseek_v4  # noqa: E402
from interop.test_forward import CONVERTED, write_reference  # noqa: E402

MORE = ["deepseek_v3_mtp3", "qwen3_fp8", "deepseek_v32_released"]
DEEPSEEK_V4 = ["fp8fp4", "base", "base_e8m0", "bf16"]
QWEN3_5 = {"dense_text": 24, "moe_3_6": 130, "next": 130, "moe_fp8": 24}  # name: tokens
V4_TOKENS = 61


def one_of_each():
    """The names of the first case of every architecture, and MORE."""
    known = cases.CASES | cases.FORWARD | cases.INDEXED
    names = {}
    for name, case in known.items():
        names.setdefault(case.arch.family, name)
    return {name: known[name] for name in [*names.values(), *MORE]}


def write(out, folder, record):
    """A copy of `folder`; record(path) writes its logits."""
    out.mkdir()
    shutil.copytree(folder, out / "hf")
    record(out / "reference.safetensors")


def record_of(source, tokens):
    return lambda path: write_reference(path, tokens, source.logits(tokens))


def main(out):
    torch.set_num_threads(1)
    out.mkdir(parents=True)
    views = {}
    with tempfile.TemporaryDirectory() as work:
        for name, case in one_of_each().items():
            source = cases.make(case, pathlib.Path(tempfile.mkdtemp(dir=work)))
            write(out / name, source.folder, record_of(source, cases.tokens(source.arch)))
            views[name] = 2 if name in CONVERTED or name in cases.INDEXED else 1
        for name, length in QWEN3_5.items():
            source = qwen3_5_cases.make(qwen3_5_cases.CASES[name], pathlib.Path(tempfile.mkdtemp(dir=work)))
            tokens = (cases.tokens(source.arch) * (length // 24 + 1))[:length]
            write(out / f"qwen3_5_{name}", source.folder, record_of(source, tokens))
            views[f"qwen3_5_{name}"] = 2
        for name in DEEPSEEK_V4:
            source = deepseek_v4.Source(pathlib.Path(tempfile.mkdtemp(dir=work)), *deepseek_v4.MODELS[name])
            write(out / f"deepseek_v4_{name}", source.folder, functools.partial(deepseek_v4.recorded, source, V4_TOKENS))
            views[f"deepseek_v4_{name}"] = 2
    (out / "cases.json").write_text(json.dumps(views, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
