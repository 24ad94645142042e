"""What `causeway mappings list`, and the README with it, says that an architecture was checked against is what these suites run: it is
computed from the cases of their tests, and a test or a case that is taken away is missed here."""
import json
import re

import pytest

from interop import (cases, qwen3_5_cases, test_added_mtp, test_convert, test_convert_moe, test_convert_more, test_deepseek_v4, test_dsa_next_core,
                     test_export, test_export_moe, test_forward, test_forward_deepseek_v4, test_forward_qwen3_5, test_gpt_oss, test_ling, test_llama4, test_mimo,
                     test_nemotron_h, test_nemotron_h_next_core, test_next_core, test_qwen3_5, test_qwen_vl, test_token_index)
from interop.conftest import DATA, TESTS
from oracles.pool import CORE, NEXT_CORE


def values(test):
    """Those of the parameter `name` of a test."""
    for mark in test.pytestmark:
        if mark.name == "parametrize" and "name" in (parameters := re.split(r",\s*", mark.args[0])):
            return [value if len(parameters) == 1 else value[parameters.index("name")] for value in mark.args[1]]
    raise AssertionError(f"{test.__name__} has no parameter `name`")


def of_archs(test, archs):
    """{(model type, whether it has multi-token prediction)} of a test whose cases are names in archs."""
    return {(archs[name].family, archs[name].mtp > 0) for name in values(test)}


def decoders(*tests):
    archs = {name: case.arch for name, case in (cases.CASES | cases.FORWARD | cases.INDEXED).items()}
    return set().union(*(of_archs(test, archs) for test in tests))


def qwen3_5(*tests):
    archs = {name: case.arch for name, case in qwen3_5_cases.CASES.items()}
    return set().union(*(of_archs(test, archs) for test in tests))


def bundled(*tests):
    """Of tests whose cases are folders of data/bridge_written."""
    folders = [DATA / "bridge_written" / name / "hf" / "config.json" for test in tests for name in values(test)]
    return {(json.loads(folder.read_text())["model_type"], False) for folder in folders}


def qwen_vl(test):
    return {(test_qwen_vl.CASES[name].model, False) for name in values(test)}


def alone(test, model_type, mtp=False):
    """Of a test of one architecture."""
    assert callable(test)
    return {(model_type, mtp)}


def names_of_bridge():
    """The registries of Megatron-Bridge that the unit tests of the tables read; Mixtral's is by hand, and Qwen3.5's has forms."""
    text = "".join(path.read_text() for path in (TESTS / "mappings" / "table").glob("*.cpp") if '"tests/mappings/table/reference.h"' in path.read_text())
    names = {path.stem for path in (DATA / "reference_mappings").glob("*.tsv")} - {"mixtral"}
    return {(re.sub(r"^(qwen3_5)_.*", r"\1", name), False) for name in names if f'"{name}"' in text}


_HF_VIEW = decoders(test_forward.test_hugging_face_view, test_token_index.test_both_views) | qwen3_5(test_forward_qwen3_5.test_hugging_face_view)
_MEGATRON_VIEW = decoders(test_forward.test_megatron_view_of_what_was_converted, test_token_index.test_both_views) | qwen3_5(
    test_forward_qwen3_5.test_megatron_view_of_what_was_converted)
_BRIDGES_FILES = bundled(test_export.test_bridge_fixture, test_export_moe.test_bridge_fixture, test_qwen3_5.test_bridge_writes_the_same)

# {what the list says: {(model type, whether with multi-token prediction)}}, in the order of the list
RUN = {
    # Logits, from both views. Where transformers has no MTP of a class, the test's docstring says what computes it.
    "transformers": (_HF_VIEW & _MEGATRON_VIEW) | alone(test_forward_deepseek_v4.test_both_views, "deepseek_v4", mtp=True) | alone(
        test_mimo.test_there_and_back, "mimo") | alone(test_nemotron_h.test_both_views, "nemotron_h", mtp=True) | qwen_vl(test_qwen_vl.test_both_views),
    # A load of what convert-hf wrote, and its logits.
    f"megatron-core {CORE}": decoders(test_convert.test_logits, test_convert.test_layer_norms_and_mlps_without_a_gate, test_convert_moe.test_logits,
                                      test_convert_more.test_logits) | of_archs(test_added_mtp.test_keep, test_added_mtp.ARCHITECTURES) | qwen3_5(
        test_qwen3_5.test_logits) | alone(test_gpt_oss.test_megatron_computes_the_same, "gpt_oss") | alone(test_mimo.test_there_and_back, "mimo", mtp=True) | alone(
        test_ling.test_there_and_back, "bailing_moe_v2", mtp=True) | alone(test_llama4.test_megatron_computes_the_same, "llama4_text") | qwen_vl(
        test_qwen_vl.test_megatron_computes_the_same),
    f"megatron-core {NEXT_CORE}": decoders(test_next_core.test_logits, test_dsa_next_core.test_every_parameter_and_the_logits) | alone(
        test_nemotron_h_next_core.test_every_parameter_and_the_logits, "nemotron_h", mtp=True),
    "Megatron-LM dev's files": alone(test_deepseek_v4.test_what_megatron_wrote_has_the_same_keys, "deepseek_v4"),
    "Bridge's files": _BRIDGES_FILES,
    "Bridge's names": names_of_bridge() - _BRIDGES_FILES,
}


def checked(model_types):
    """What the list must say of a table that serves these."""
    out = []
    for what, run in RUN.items():
        mtp = {with_mtp for model_type, with_mtp in run if model_type in model_types}
        if mtp:
            out.append(f"{what} with MTP" if True in mtp else what)
    return out


@pytest.fixture(scope="module")
def tables(causeway):
    return json.loads(causeway("mappings", "list", "--json").stdout)


def test_the_list_says_what_was_run(tables):
    assert {table["table"]: table["checked"] for table in tables} == {table["table"]: checked(table["model_types"]) for table in tables}


def test_everything_that_was_run_is_in_the_list(tables):
    served = {model_type for table in tables for model_type in table["model_types"]}
    assert {model_type for run in RUN.values() for model_type, _ in run} <= served
