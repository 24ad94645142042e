"""A bundled Hugging Face checkpoint in every other spelling that its architecture's table knows.

    python3 tests/oracles/respell.py HF_DIR PLAIN_HF_DIR OUT

1. Writes a folder OUT/N for each spelling and prints a line for it: folder, what it is, options that convert-hf and export-to-hf
   need, tab-separated. PLAIN_HF_DIR: the same weights without quantization, for spellings that stack experts.
2. Every architecture: without `model.` before the names, as a bare model is saved. DeepSeek-V4: deepseek_v4_names.
3. Every mixture of experts: the experts of the decoder and of MTP in one tensor or one by one, each as it likes; Hy3 and MiniMax-M2 under
   the names of transformers' modules, which have them in one; Qwen3-VL's also as [in, out].
4. Qwen2.5-VL and Qwen3-VL: the text model below another prefix than the tower, or alone. Nemotron-H: transformers' prefix and modules.
5. Qwen2 and Mixtral have no bundled checkpoint: made of Qwen3's tensors by their names, biases being the first elements of the weights.

Needs nothing but Python.
"""
import functools
import json
import math
import pathlib
import re
import shutil
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "cli")]

from oracles import deepseek_v4_names  # noqa: E402  (needs the path above)
from safetensors_raw import INDEX, SIZES, Model, Tensor  # noqa: E402


class Joins:
    """How deepseek_v4_names puts raw tensors together."""

    @staticmethod
    def stack(tensors):
        return Tensor(tensors[0].dtype, [len(tensors), *tensors[0].shape], b"".join(tensor.data for tensor in tensors))

    @staticmethod
    def rows(tensors):
        rows = sum(tensor.shape[0] for tensor in tensors)
        return Tensor(tensors[0].dtype, [rows, *tensors[0].shape[1:]], b"".join(tensor.data for tensor in tensors))

    @staticmethod
    def columns(tensors):
        rows = tensors[0].shape[0]
        widths = [len(tensor.data) // rows for tensor in tensors]
        data = b"".join(tensor.data[row * width : (row + 1) * width] for row in range(rows) for tensor, width in zip(tensors, widths))
        return Tensor(tensors[0].dtype, [rows, sum(tensor.shape[1] for tensor in tensors)], data)


def read_folder(folder):
    """(config.json, {name: Tensor})"""
    tensors = {name: tensor for shard in Model(folder).shards.values() for name, tensor in shard.items()}
    return json.loads((pathlib.Path(folder) / "config.json").read_text()), tensors


def write_folder(source, folder, config, tensors):
    """In two shards, with the side files of source."""
    folder.mkdir(parents=True)
    for file in pathlib.Path(source).iterdir():
        if file.suffix != ".safetensors" and file.name not in (INDEX, "config.json"):
            shutil.copyfile(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    model = Model(folder)
    model.shards = {}
    for index in range(2):
        model.shards[f"model-{index + 1:05}-of-00002.safetensors"] = dict(list(tensors.items())[index::2])
    model.save()


def deepseek_v4(source, plain):
    """(what, config, tensors, options)"""
    (config, tensors), (plain_config, values) = source, plain
    layers, experts = config["num_hidden_layers"], config["n_routed_experts"]
    yield "scorer of the indexer", config, deepseek_v4_names.scorer(tensors), ""
    for what, how in deepseek_v4_names.OLDER.items():
        yield what, config, deepseek_v4_names.older(tensors, layers, Joins, **how), ""
    # transformers has no MTP, whatever its configuration promises.
    yield "modules of transformers", plain_config, deepseek_v4_names.modules(values, experts, Joins), "--mtp drop"
    yield "modules as transformers saves them", plain_config, deepseek_v4_names.saved_modules(values, experts, Joins), "--mtp drop"
    yield "the release's names as transformers saves them", plain_config, deepseek_v4_names.saved(values), "--mtp drop"


_PACKED = re.compile(r"(.*\.mlp\.experts\.)(gate_up_proj|down_proj)")
_SEPARATE = re.compile(r"(.*\.mlp\.experts\.)(\d+)\.(gate|up|down)_proj\.weight")


def one_by_one(name, tensor):
    """{name: Tensor} of each expert in a packed tensor; gate's rows are before those of up."""
    prefix, which = _PACKED.fullmatch(name).groups()
    experts, rows, columns = tensor.shape
    parts = ("gate", "up") if which == "gate_up_proj" else ("down",)
    size = len(tensor.data) // (experts * len(parts))
    return {f"{prefix}{at // len(parts)}.{parts[at % len(parts)]}_proj.weight":
            Tensor(tensor.dtype, [rows // len(parts), columns], tensor.data[at * size : (at + 1) * size]) for at in range(experts * len(parts))}


def in_one(prefix, tensors):
    """{name: Tensor}: the inverse, of all experts under a prefix."""
    experts = range(sum(name.endswith(".down_proj.weight") for name in tensors))
    gate, up, down = ([tensors[f"{prefix}{expert}.{x}_proj.weight"] for expert in experts] for x in ("gate", "up", "down"))
    return {prefix + "gate_up_proj": Joins.stack([Joins.rows(pair) for pair in zip(gate, up)]), prefix + "down_proj": Joins.stack(down)}


def with_experts(tensors, packed, mtp_packed, is_mtp):
    """The same weights, the experts of the decoder and of MTP packed or not; None if they are so already."""
    out, collected, changed = {}, {}, False
    for name, tensor in tensors.items():
        wanted, separate = mtp_packed if is_mtp(name) else packed, _SEPARATE.fullmatch(name)
        if _PACKED.fullmatch(name) and not wanted:
            out.update(one_by_one(name, tensor))
            changed = True
        elif separate and wanted:
            collected.setdefault(separate[1], {})[name] = tensor
        else:
            out[name] = tensor
    for prefix, each in collected.items():
        out.update(in_one(prefix, each))
    return out if changed or collected else None


def is_mtp_of(config):
    """Whether a name is of multi-token prediction: below mtp, or in DeepSeek-V3, GLM and Hy3 in the layers after the last."""
    if not config["architectures"][0].startswith(("DeepseekV3", "Glm4Moe", "GlmMoe", "HYV3")):
        return lambda name: name.startswith("mtp.")
    layer = re.compile(r"(?:model\.)?layers\.(\d+)\.")
    return lambda name: (match := layer.match(name)) is not None and int(match[1]) >= config["num_hidden_layers"]


def mixtures(source, plain):
    """(what, config, tensors, options): every way to hold the experts, with and without model."""
    if "quantization_config" in source[0]:  # a packed tensor has no scales
        yield bare(*source)
        source = plain
    words, is_mtp = {True: "in one tensor", False: "one by one"}, is_mtp_of(source[0])
    has_mtp = any(map(is_mtp, source[1]))
    for packed in (True, False):
        for mtp_packed in (True, False) if has_mtp else (packed,):
            tensors = with_experts(source[1], packed, mtp_packed, is_mtp)
            what = f"experts {words[packed]}" + (f", of MTP {words[mtp_packed]}" if has_mtp else "")
            if tensors:
                yield what, source[0], tensors, ""
            _, config, tensors, options = bare(source[0], tensors or source[1])
            yield f"{what}, without model.", config, tensors, options


def bare(config, tensors):
    return "names without model.", config, {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, ""


def as_qwen2(config, tensors):
    out = {}
    for name, tensor in tensors.items():
        if re.search(r"\.[qk]_norm\.", name):
            continue
        out[name] = tensor
        if re.search(r"\.[qkv]_proj\.weight$", name):
            rows = tensor.shape[0]
            out[name.replace(".weight", ".bias")] = Tensor(tensor.dtype, [rows], tensor.data[: rows * SIZES[tensor.dtype]])
    config = {key: value for key, value in config.items() if key != "attention_bias"}
    return "Qwen3's tensors as a Qwen2", {**config, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, out, ""


def as_mixtral(config, tensors):
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    out = {}
    for name, tensor in tensors.items():
        if not re.search(r"\.[qk]_norm\.", name):
            name = name.replace(".mlp.", ".block_sparse_moe.")
            out[re.sub(r"(experts\.\d+\.)(\w+)", lambda match: match[1] + names[match[2]], name)] = tensor
    config = {**config, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": config["num_experts"],
              "intermediate_size": config["moe_intermediate_size"]}
    for key in ("num_experts", "moe_intermediate_size", "decoder_sparse_step", "mlp_only_layers", "norm_topk_prob"):
        del config[key]
    return "Qwen3's tensors as a Mixtral", config, out, ""


def as_mixtral_modules(config, tensors):
    """As the modules of transformers 5 have it: under mlp, with the experts in one tensor."""
    _, config, _, options = as_mixtral(config, tensors)
    kept = {name: tensor for name, tensor in tensors.items() if not re.search(r"\.[qk]_norm\.", name)}
    return "Qwen3's tensors as a Mixtral with experts in one tensor", config, with_experts(kept, True, True, lambda name: False), options


def as_hy_v3_modules(config, tensors):
    names = {".mlp.router.gate.": ".mlp.gate.", ".mlp.expert_bias": ".mlp.e_score_correction_bias", ".mlp.shared_mlp.": ".mlp.shared_experts."}
    renamed = {}
    for name, tensor in tensors.items():
        renamed[functools.reduce(lambda text, old: text.replace(old, names[old]), names, name)] = tensor
    return "modules of transformers", config, with_experts(renamed, True, True, lambda name: False), ""


def as_minimax_m2_modules(config, tensors):
    parts = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"(experts\.\d+\.)(w\d)", lambda match: match[1] + parts[match[2]], name.replace(".block_sparse_moe.", ".mlp."))
        renamed[name] = tensor
    return "modules of transformers", config, with_experts(renamed, True, True, lambda name: False), ""


def transposed(tensor):
    """[experts, columns, rows]"""
    experts, rows, columns = tensor.shape
    size = SIZES[tensor.dtype]
    places = (size * ((expert * rows + row) * columns + column) for expert in range(experts) for column in range(columns) for row in range(rows))
    return Tensor(tensor.dtype, [experts, columns, rows], b"".join(tensor.data[place : place + size] for place in places))


def forms_of_experts(tensors):
    """(what, tensors) of each: as they are, and where there are experts, as [in, out] and one by one."""
    yield "", tensors
    if any(map(_PACKED.fullmatch, tensors)):
        yield ", experts as [in, out]", {name: transposed(tensor) if _PACKED.fullmatch(name) else tensor for name, tensor in tensors.items()}
        yield ", experts one by one", with_experts(tensors, False, False, lambda name: False)


def qwen3_vl(config, tensors):
    alone = {**config["text_config"], "architectures": config["architectures"], "tie_word_embeddings": config["tie_word_embeddings"]}
    for what, spelled in forms_of_experts(tensors):
        if what:
            yield what.removeprefix(", "), config, spelled, ""
        yield "names without model." + what, *bare(config, spelled)[1:]
        text = {name.replace("model.language_model.", "model."): tensor for name, tensor in spelled.items() if ".visual." not in name}
        yield "the text model alone" + what, alone, text, ""


def qwen2_5_vl(config, tensors):
    prefixes = {"modules of transformers": ("model.language_model.", "model.visual."), "names without model.": ("language_model.", "visual.")}
    for what, (text, tower) in prefixes.items():
        yield what, config, {re.sub("^visual[.]", tower, re.sub("^model[.]", text, name)): tensor for name, tensor in tensors.items()}, ""


def nemotron_h(config, tensors):
    expert = re.compile(r"(.*\.mixer\.experts\.)(\d+)\.(up_proj|down_proj)\.weight")
    renamed = {re.sub("^backbone[.]", "model.", name): tensor for name, tensor in tensors.items()}
    modules, parts = {}, {}
    for name, tensor in renamed.items():
        if match := expert.fullmatch(name):
            parts.setdefault(match[1] + match[3], []).append((int(match[2]), tensor))
        else:
            modules[name] = tensor
    modules |= {name: Joins.stack([tensor for _, tensor in sorted(each, key=lambda pair: pair[0])]) for name, each in parts.items()}
    yield "names below model.", config, renamed, ""
    yield "modules of transformers", config, modules, ""
    yield bare(config, renamed)


def with_bare(what, config, tensors, options):
    yield what, config, tensors, options
    _, _, tensors, options = bare(config, tensors)
    yield f"{what}, without model.", config, tensors, options


# {architecture: its spellings}, of architectures that share none with others
OWN = {"Qwen2_5_VLForConditionalGeneration": qwen2_5_vl, "Qwen3VLForConditionalGeneration": qwen3_vl, "Qwen3VLMoeForConditionalGeneration": qwen3_vl,
       "NemotronHForCausalLM": nemotron_h}


def spellings(source, plain):
    """(what, config, tensors, options) of each"""
    architecture = source[0]["architectures"][0]
    if architecture == "DeepseekV4ForCausalLM":
        yield from deepseek_v4(source, plain)
    elif architecture in OWN:
        yield from OWN[architecture](*source)
    elif architecture.startswith(("Qwen3_5Moe", "Qwen3Next", "Qwen3Moe", "Qwen2Moe", "Olmoe", "DeepseekV2", "DeepseekV3", "Glm4Moe", "GlmMoe")):
        yield from mixtures(source, plain)
    else:
        yield bare(*source)
    if architecture == "HYV3ForCausalLM":
        yield from with_bare(*as_hy_v3_modules(*source))
    if architecture == "MiniMaxM2ForCausalLM":
        yield from with_bare(*as_minimax_m2_modules(*source))
    if architecture == "Qwen3ForCausalLM":
        yield from with_bare(*as_qwen2(*source))
    if architecture == "Qwen3MoeForCausalLM":
        yield from with_bare(*as_mixtral(*source))
        yield from with_bare(*as_mixtral_modules(*source))


def main(hf, plain, out):
    for number, (what, config, tensors, options) in enumerate(spellings(read_folder(hf), read_folder(plain))):
        assert all(len(tensor.data) == SIZES[tensor.dtype] * math.prod(tensor.shape) for tensor in tensors.values())
        folder = pathlib.Path(out) / str(number)
        write_folder(hf, folder, config, tensors)
        print(folder, what, options, sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
