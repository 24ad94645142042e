"""Which device `causeway-verify` chooses, and what it says of it, where there is no GPU: without a driver, and with one that
libcuda_stub.c plays."""
import json
import subprocess
import sys

import pytest

from interop.conftest import DATA, TESTS

FOLDER = DATA / "bridge_written" / "qwen3_dense" / "hf"


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", TESTS / "interop" / "libcuda_stub.c",
                    "-o", folder / "libcuda.so.1"], check=True)
    return folder


@pytest.fixture
def driver(stub, monkeypatch):
    """driver(STUB_DEVICES=0): the driver of the programs that are started next."""

    def use(**answers):
        monkeypatch.setenv("LD_LIBRARY_PATH", str(stub))
        monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)  # whose torch has all that it links
        for name, value in answers.items():
            monkeypatch.setenv(name, str(value))

    return use


def prompt_line(done):
    return next(line for line in done.stdout.splitlines() if line.startswith("prompt "))


@pytest.mark.parametrize("options", [[], ["--device", "auto"]])
def test_auto_is_the_default_and_says_why(options, causeway, driver, tmp_path):
    """The line, the report, and nothing on standard error."""
    driver(STUB_DEVICES=0)
    done = causeway("verify", "--mode", "logits", FOLDER, FOLDER, "--report", tmp_path / "report.json", *options)
    assert prompt_line(done).endswith("fp32 on cpu (the NVIDIA driver finds no GPU)") and done.stderr == ""
    found = json.loads((tmp_path / "report.json").read_text())["logits"]
    assert (found["device"], found["device_what"]) == ("cpu", "the NVIDIA driver finds no GPU")


def test_a_cpu_that_was_asked_for_needs_no_reason(causeway_verify):
    assert prompt_line(causeway_verify(FOLDER, FOLDER, "--device", "cpu")).endswith("fp32 on cpu")


def test_a_device_that_cannot_be_used(causeway_verify, driver):
    """LibTorch's CUDA is loaded with all that it links, and fails at the driver."""
    driver()
    done = causeway_verify(FOLDER, FOLDER)
    assert "fp32 on cpu (not on Stub GPU: LibTorch finds no GPU" in prompt_line(done) and done.stderr == ""
    done = causeway_verify(FOLDER, FOLDER, "--device", "cuda", expect=5)
    assert done.stderr.startswith("causeway-verify: --device cuda: LibTorch finds no GPU") and len(done.stderr.splitlines()) == 2


DRIVERS = {
    "none": (dict(STUB_INIT=100), 5, "--device cuda: no CUDA device: the NVIDIA driver finds no GPU"),
    "no_start": (dict(STUB_INIT=803), 5, "--device cuda: no CUDA device: the NVIDIA driver does not start: the stub does not start"),
    "old": (dict(STUB_VERSION=11040), 5, "--device cuda: the NVIDIA driver is too old: it knows CUDA 11.4, LibTorch is built with "),
}


@pytest.mark.parametrize("name", DRIVERS)
def test_no_gpu_is_one_line(name, causeway_verify, driver):
    answers, status, message = DRIVERS[name]
    driver(**answers)
    done = causeway_verify(FOLDER, FOLDER, "--device", "cuda", expect=status)
    assert done.stderr.startswith(f"causeway-verify: {message}") and len(done.stderr.splitlines()) == 2 and done.stdout == ""


def test_a_number_that_no_device_has(causeway_verify, driver):
    driver(STUB_DEVICES=2)
    done = causeway_verify(FOLDER, FOLDER, "--device", "cuda:2", expect=2)
    assert done.stderr == "causeway-verify: --device cuda:2: there are 2 CUDA devices, the first is cuda:0\n"


def test_a_training_step_runs_on_the_cpu(causeway_verify, driver):
    driver()
    done = causeway_verify(FOLDER, "--mode", "train-step")
    assert prompt_line(done).endswith("fp32 on cpu") and done.stderr == ""
    assert "--mode train-step runs on the CPU" in causeway_verify(FOLDER, "--mode", "train-step", "--device", "cuda", expect=5).stderr


@pytest.mark.parametrize("how", ["--cuda-libraries", "CAUSEWAY_CUDA_LIBRARIES"])
def test_a_folder_of_another_torch(how, causeway_verify, tmp_path, monkeypatch):
    """Named wrongly, it is refused on every machine."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("__version__ = '1.2.3+cu130'\n")
    option = [how, tmp_path] if how.startswith("--") else []
    if not option:
        monkeypatch.setenv(how, str(tmp_path))
    done = causeway_verify(FOLDER, FOLDER, *option, expect=2)
    assert done.stderr.startswith(f"causeway-verify: {how}: {tmp_path} has torch 1.2.3+cu130, and this program is linked with ")
    assert len(done.stderr.splitlines()) == 2 and done.stdout == ""
    causeway_verify(FOLDER, FOLDER, "--device", "cpu")  # which looks for no libraries


def test_a_folder_without_libraries(causeway, causeway_verify, tmp_path):
    done = causeway("verify", "--mode", "logits", FOLDER, FOLDER, "--cuda-libraries", tmp_path, expect=2)
    assert done.stderr.startswith(f"causeway-verify: --cuda-libraries {tmp_path}: neither torch nor nvidia is in there\n")
    done = causeway_verify(FOLDER, FOLDER, "--cuda-libraries", tmp_path, "--device", "cpu", expect=2)
    assert done.stderr.startswith("causeway-verify: --cuda-libraries with --device cpu\n")


def test_a_cap_on_a_device_that_is_not_used(causeway, causeway_verify, driver):
    """Refused where it could do nothing; with auto it holds on a machine without a GPU."""
    driver(STUB_DEVICES=0)
    done = causeway_verify(FOLDER, FOLDER, "--device-memory", "8GiB", "--device", "cpu", expect=2)
    assert done.stderr.startswith("causeway-verify: --device-memory with --device cpu: ") and len(done.stderr.splitlines()) == 2 and done.stdout == ""
    done = causeway_verify(FOLDER, "--mode", "train-step", "--device-memory", "8GiB", expect=2)
    assert done.stderr.startswith("causeway-verify: --device-memory with --mode train-step\n")
    assert prompt_line(causeway_verify(FOLDER, FOLDER, "--device-memory", "8GiB")).endswith("fp32 on cpu (the NVIDIA driver finds no GPU)")
    done = causeway("verify", "--mode", "logits", FOLDER, FOLDER, "--device-memory", "many", expect=2)
    assert done.stderr.startswith("causeway: --device-memory: 'many' is not a size") and len(done.stderr.splitlines()) == 2


def test_libtorch_knows_the_setting_of_a_cap():
    """In the form of tests/models/verify/device_test.cpp; no GPU is needed to read it."""
    script = "import sys, torch; torch._C._accelerator_setAllocatorSettings(sys.argv[1])"
    for settings, status in (("per_process_memory_fraction:0.100000000", 0), ("max_split_size_mb:64,per_process_memory_fraction:0.000012345", 0),
                             ("per_process_memory_fraction:1.5", 1), ("memory_fraction:0.5", 1)):
        assert subprocess.run([sys.executable, "-c", script, settings], capture_output=True).returncode == status, settings
