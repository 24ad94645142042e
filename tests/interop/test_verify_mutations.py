"""What causeway-verify is for: conversions that are wrong. The run ends with how many of each kind were caught (conftest.py).

S: a table wrong the same way in both directions (mutations.py): hash mode with that table passes, the two views of the two
   checkpoints do not, and say where.
B: bytes of the converted checkpoint that changed after the conversion: hash mode fails, and the tensors verdict (or the reading).
N: another order of the experts that is the same model: the forward verdict passes, the tensors verdict names the order.
"""
import re
import shutil

import pytest
import torch

from interop.mutations import PLACES, REWRITTEN, ROTATED, SETTINGS, WRONG, ops_of
from interop.test_deepseek_v4_trained import save_trained
from interop.test_forward_views import EQUAL, verdicts
from interop.test_table_mistakes import convert_with, read_table
from oracles import dcp, hf_files

# But MiMo's, whose mistakes are in test_mimo.py, and Gemma's, which are tied: no row of theirs could take the embedding's place.
TABLES = ["deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt_oss", "hy_v3", "llama",
          "minimax_m2", "ministral", "mistral", "mixtral", "nemotron", "olmoe", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_5", "qwen3_moe", "qwen3_next",
          "seed_oss", "starcoder2"]


@pytest.fixture(scope="session")
def source_of(sources, v4_sources, qwen_sources):
    """source_of(kind or table, case)"""
    def get(kind, case):
        return (v4_sources if kind in ("v4", "deepseek_v4") else qwen_sources if kind in ("qwen", "qwen3_5", "qwen3_next") else sources)(case)
    return get


@pytest.fixture(scope="session")
def root_of(converted, v4_converted, qwen_converted):
    """root_of(kind, case): what was converted from it."""
    def get(kind, case):
        return converted(case, "te") if kind == "plain" else (v4_converted if kind == "v4" else qwen_converted)(case)
    return get


def differing(done):
    """Names of the first tensors that differ."""
    return re.findall(r"^  (\S+): \d+ of \d+ values differ", done.stdout, re.MULTILINE)


def state_that_shows(tensor):
    """The first state of the forward pass in which a tensor shows."""
    section, *rest = tensor.split(".")
    names = {"embedding": "hidden_embed", "final_norm": "hidden_final", "layers": f"hidden.{rest[0] if rest else ''}", "mtp": f"mtp_hidden.{rest[0] if rest else ''}"}
    return names.get(section)


def first_state(done):
    found = re.search(r"^  first in (\S+): ", done.stdout, re.MULTILINE)
    return found and found[1]


# ---- S ----

def test_every_op_of_every_table_is_in_the_set():
    ops = {(name, entry[1]) for name in TABLES for entry in read_table(name)["rows"]}
    touched = {(mutation.table, op) for mutation in WRONG.values() for op in ops_of(mutation).split(", ")}
    assert ops <= touched


def caught(mutation, causeway, causeway_verify, source, folder):
    hash_mode_passes(mutation.table, mutation.edit, causeway, source, folder)
    # Long enough for the indexer of DeepSeek-V4 to have a choice.
    done = causeway_verify(source.folder, folder / "root", "--prompt-length", 61, expect=1)
    # The forward pass is the text model's.
    forward = "equal" if mutation.shown.startswith(r"vision\.") else "DIFFERENT"
    assert verdicts(done) == EQUAL | {"tensors": "DIFFERENT", "forward": forward}, done.stdout
    names = differing(done)
    assert names and all(re.fullmatch(mutation.shown, name) for name in names), done.stdout
    assert first_state(done) == (mutation.first or state_that_shows(names[0])), done.stdout
    return done


def hash_mode_passes(name, edit, causeway, source, folder):
    table = read_table(name)
    edit(table)
    convert_with(table, source, causeway, folder)
    causeway("verify", "--mode", "hash", source.folder, folder / "root", "--mapping", folder / "table.jsonc")


def of(op, names):
    """Parameters that count under an op in the table of mutations."""
    return [pytest.param(what, marks=pytest.mark.mutation("S", op if isinstance(op, str) else op(what))) for what in names]


@pytest.mark.parametrize("what", of(lambda what: ops_of(WRONG[what]), WRONG))
def test_a_wrong_table_passes_hash_mode_and_is_found_here(what, causeway, causeway_verify, source_of, tmp_path):
    caught(WRONG[what], causeway, causeway_verify, source_of(WRONG[what].table, WRONG[what].case), tmp_path)


@pytest.mark.parametrize("what", of("configuration", SETTINGS))
def test_a_wrong_setting(what, causeway, causeway_verify, source_of, tmp_path):
    name, case, edit, shown = SETTINGS[what]
    source = source_of(name, case)
    hash_mode_passes(name, edit, causeway, source, tmp_path)
    done = causeway_verify(source.folder, tmp_path / "root", "--prompt-length", 61, expect=1)
    assert verdicts(done) == EQUAL | {"configuration": "DIFFERENT", "forward": "DIFFERENT"}, done.stdout
    fields = re.findall(r"^  ([\w.]+): \S+ and \S+$", done.stdout, re.MULTILINE)
    assert fields and all(re.fullmatch(shown, field) for field in fields), done.stdout


@pytest.mark.parametrize("what", of("keys", PLACES))
def test_a_tensor_in_the_wrong_place(what, causeway, causeway_verify, source_of, tmp_path):
    name, case, edit, said = PLACES[what]
    source = source_of(name, case)
    hash_mode_passes(name, edit, causeway, source, tmp_path)
    assert said in causeway_verify(source.folder, tmp_path / "root", expect=3).stderr


@pytest.mark.mutation("S", "concat, copy")
@pytest.mark.parametrize("name", ROTATED)
def test_experts_rotated_without_the_router(name, causeway, causeway_verify, source_of, tmp_path):
    source = source_of(name, ROTATED[name].case)
    done = caught(ROTATED[name], causeway, causeway_verify, source, tmp_path)
    experts = source.config["n_routed_experts"] if name == "deepseek_v4" else source.arch.moe.experts
    moved = ", ".join(f"{i}->{(i - 1) % experts}" for i in range(experts))
    assert f"  experts of layer 0 are permuted: {moved}; the router's rows not alike\n" in done.stdout


def rewritten(folder, target, change):
    shutil.copytree(folder, target)
    state = hf_files.read_safetensors(folder)
    change(state)
    hf_files.write_safetensors(target, state)
    return target


@pytest.mark.parametrize("what", of("no table", REWRITTEN))
def test_what_no_table_can_say(what, causeway, causeway_verify, source_of, tmp_path):
    kind, case, change, expected = REWRITTEN[what]
    wrong = rewritten(source_of(kind, case).folder, tmp_path / "hf", change)
    causeway("convert-hf", wrong, tmp_path / "root")
    causeway("verify", "--mode", "hash", wrong, tmp_path / "root")
    done = causeway_verify(source_of(kind, case).folder, tmp_path / "root", expect=1)
    assert set(differing(done)) == expected
    assert first_state(done) == state_that_shows(sorted(expected)[0]), done.stdout


# ---- B ----


def one_unit(key, *place):
    """The lowest bit of one value."""
    def change(tensors):
        changed = tensors[key].clone()
        bits = changed.view(torch.int16 if changed.element_size() == 2 else torch.int32)
        bits[place] ^= 1
        return {key: changed}
    return change


def through_bf16(key):
    return lambda tensors: {key: tensors[key].to(torch.bfloat16).float()}


def in_bf16(key):
    return lambda tensors: {key: tensors[key].to(torch.bfloat16)}


def other_expert(tensors):
    key = "decoder.layers.1.mlp.router.tid2eid"
    changed = tensors[key].clone()
    changed[5, 0] = (changed[5, 0] + 1) % 4
    return {key: changed}


# {what: (kind, case, change, the tensor that differs)}
CHANGED = {
    "one unit in a stacked norm": ("plain", "qwen3", one_unit("decoder.layers.self_attention.q_layernorm.weight", 1, 3), "layers.1.q_norm"),
    "one unit in queries, keys and values": ("plain", "llama", one_unit("decoder.layers.self_attention.linear_qkv.weight", 2, 0, 5), "layers.2.q"),
    "one unit in fp32": ("plain", "qwen3_moe_tied_fp32", one_unit("embedding.word_embeddings.weight", 156, 71), "embedding"),
    "one unit in eh_proj": ("plain", "deepseek_v3_mtp3", one_unit("mtp.layers.2.eh_proj.weight", 0, 72), "mtp.2.projection"),
    "a bias rounded": ("plain", "deepseek_v3", through_bf16("decoder.layers.2.mlp.router.expert_bias"), "layers.2.router_bias"),
    "a bias in bf16": ("plain", "deepseek_v3", in_bf16("decoder.layers.2.mlp.router.expert_bias"), "layers.2.router_bias"),
    "decays rounded": ("qwen", "dense_text", through_bf16("decoder.layers.0.self_attention.A_log"), "layers.0.decay"),
    "one unit in a convolution": ("qwen", "dense_text", one_unit("decoder.layers.2.self_attention.conv1d.weight.key", 4, 0, 1), "layers.2.k_conv"),
    "one unit in a vision block": ("qwen", "dense", one_unit("vision_model.decoder.layers.self_attention.linear_qkv.bias", 2, 33), "vision.blocks.2.k_bias"),
    "one unit in pixels": ("qwen", "dense", one_unit("vision_model.patch_embed.proj.weight", 23, 2, 1, 3, 3), "vision.patch_embedding"),
    "one unit in alpha": ("v4", "fp8fp4", one_unit("decoder.layers.0.mlp_hyper_connection.alpha_res", 0), "layers.0.mlp_mapping.scale"),
    "another expert of a token": ("v4", "fp8fp4", other_expert, "layers.1.router_table"),
    "one unit in what was fp4": ("v4", "fp8fp4", one_unit("decoder.layers.0.mlp.experts.experts.linear_fc2.weight", 3, 2, 1), "layers.0.experts.3.down"),
}


FLIPPED = ["embedding.word_embeddings.weight", "decoder.layers.self_attention.linear_qkv.weight", "decoder.layers.self_attention.k_layernorm.weight",
           "decoder.layers.mlp.router.weight", "decoder.layers.mlp.experts.experts.linear_fc1.weight", "decoder.final_layernorm.weight"]


def changed_root(root, target, change):
    """The checkpoint with other tensors, written by torch."""
    tensors = dcp.read_tensors(root / "iter_0000000")
    changes = change(tensors)
    save_trained(root, target, changes)
    shutil.copy(root / "iter_0000000" / "run_config.yaml", target / "iter_0000010")
    return target


def hash_fails(causeway, source, root):
    assert "DIFFERENT" in causeway("verify", "--mode", "hash", source.folder, root, expect=1).stdout


@pytest.mark.parametrize("kind, case", sorted({change[:2] for change in CHANGED.values()}))
def test_written_again_without_a_change(kind, case, causeway, causeway_verify, source_of, root_of, tmp_path):
    """The instrument."""
    root = changed_root(root_of(kind, case), tmp_path / "root", lambda tensors: {})
    causeway("verify", "--mode", "hash", source_of(kind, case).folder, root)
    assert verdicts(causeway_verify(source_of(kind, case).folder, root)) == EQUAL


@pytest.mark.mutation("B")
@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_value_is_found(what, causeway, causeway_verify, source_of, root_of, tmp_path):
    kind, case, change, expected = CHANGED[what]
    root = changed_root(root_of(kind, case), tmp_path / "root", change)
    hash_fails(causeway, source_of(kind, case), root)
    done = causeway_verify(source_of(kind, case).folder, root, expect=1)
    assert verdicts(done)["tensors"] == "DIFFERENT" and differing(done) == [expected], done.stdout


@pytest.mark.mutation("B")
@pytest.mark.parametrize("key", FLIPPED)
def test_one_bit_of_the_file(key, causeway, causeway_verify, sources, converted, tmp_path):
    """The checksum that was written with it says so before any value is compared."""
    source = sources("qwen3_moe")
    shutil.copytree(converted("qwen3_moe", "te"), tmp_path / "root", symlinks=True)
    values = dcp.read_tensors(tmp_path / "root" / "iter_0000000")[key].flatten()[-16:].view(torch.uint8).numpy().tobytes()
    path = tmp_path / "root" / "iter_0000000" / "__0_0.distcp"
    raw = bytearray(path.read_bytes())
    assert raw.count(values) == 1
    raw[raw.index(values) + len(values) - 1] ^= 0x40  # of the last value
    path.write_bytes(raw)
    for done in (causeway("verify", "--mode", "hash", source.folder, tmp_path / "root", expect=3), causeway_verify(source.folder, tmp_path / "root", expect=3)):
        assert f"{key}: CRC-32 mismatch" in done.stderr


@pytest.mark.mutation("B")
def test_rows_that_no_token_is_routed_to(causeway, causeway_verify, sources, converted, tmp_path):
    """One token has three of six experts: the forward pass misses a zeroed row of the three others, the tensors verdict none."""
    source, key = sources("qwen3_moe"), "decoder.layers.mlp.experts.experts.linear_fc2.weight"
    unseen = 0
    for expert in range(6):
        def zero_a_row(tensors):
            tensors[key][1, expert, 7] = 0
            return {key: tensors[key]}
        root = changed_root(converted("qwen3_moe", "te"), tmp_path / str(expert), zero_a_row)
        hash_fails(causeway, source, root)
        done = causeway_verify(source.folder, root, "--prompt-length", 1, expect=1)
        assert differing(done) == [f"layers.1.experts.{expert}.down"]
        unseen += verdicts(done)["forward"] == "equal"
    assert unseen == 3


# ---- N ----


def permute(state, layer, order):
    """Expert i becomes expert order[i]."""
    old = dict(state)
    inverse = torch.tensor(order).argsort()
    for name, tensor in old.items():
        if not name.startswith(layer):
            continue
        if found := re.fullmatch(r"(.*\.experts\.)(\d+)(\..*)", name):
            state[f"{found[1]}{order[int(found[2])]}{found[3]}"] = tensor
        elif re.search(r"\.experts\.(gate_up|down)_proj$|\.gate\.(weight|bias|e_score_correction_bias)$", name):
            state[name] = tensor[inverse].contiguous()
        elif name.endswith(".tid2eid"):
            state[name] = torch.tensor(order)[tensor.long()].to(tensor.dtype)


# {what: (kind, case, layer, order, what is said)}; DeepSeek-V3's stay in their groups of two, or whole groups move
SAME_MODEL = {
    "qwen3_moe": ("plain", "qwen3_moe", "model.layers.1.", [2, 0, 1, 3, 5, 4], "layer 1"),
    "mixtral": ("plain", "mixtral", "model.layers.0.", [3, 2, 1, 0], "layer 0"),
    "deepseek_v3": ("plain", "deepseek_v3_mtp2_fp32", "model.layers.2.", [3, 2, 0, 1, 6, 7, 5, 4], "layer 2"),
    "mtp": ("plain", "deepseek_v3_mtp2_fp32", "model.layers.4.", [1, 0, 2, 3, 5, 4, 6, 7], "MTP depth 1"),
    "stacked experts": ("qwen", "moe", "model.language_model.layers.2.", [1, 2, 3, 4, 5, 0], "layer 2"),
    "qwen3_next": ("qwen", "next", "model.layers.0.", [5, 4, 3, 2, 1, 0], "layer 0"),
    "fp4, a bias": ("v4", "fp8fp4", "layers.3.", [1, 2, 3, 0], "layer 3"),
    "fp4, a table": ("v4", "fp8fp4", "layers.1.", [3, 0, 2, 1], "layer 1"),
}


@pytest.mark.mutation("N")
@pytest.mark.parametrize("what", SAME_MODEL)
def test_permuted_experts_are_the_same_model_in_other_tensors(what, causeway, causeway_verify, source_of, tmp_path):
    kind, case, layer, order, where = SAME_MODEL[what]
    source = source_of(kind, case)
    other = rewritten(source.folder, tmp_path / "hf", lambda state: permute(state, layer, order))
    causeway("convert-hf", other, tmp_path / "root")
    done = causeway_verify(source.folder, tmp_path / "root", expect=1)
    assert verdicts(done) == EQUAL | {"tensors": "DIFFERENT"}, done.stdout
    moved = ", ".join(f"{i}->{to}" for i, to in enumerate(order) if i != to)
    table = ", its table alike" if what == "fp4, a table" else ""
    assert [line for line in done.stdout.splitlines() if " are permuted: " in line] == [f"  experts of {where} are permuted: {moved}; the router's rows alike{table}"]


def test_a_table_that_keeps_the_old_numbers_is_another_model(causeway, causeway_verify, v4_sources, tmp_path):
    source, name = v4_sources("fp8fp4"), "layers.1.ffn.gate.tid2eid"

    def change(state):
        table = state[name]
        permute(state, "layers.1.", [3, 0, 2, 1])
        state[name] = table
    other = rewritten(source.folder, tmp_path / "hf", change)
    done = causeway_verify(source.folder, other, expect=1)
    assert "the router's rows alike, its table not" in done.stdout and verdicts(done)["forward"] == "DIFFERENT"
