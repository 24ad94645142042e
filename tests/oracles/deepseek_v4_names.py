"""The other spellings of a DeepSeek-V4 checkpoint, from the names of the release.

1. `modules`: what transformers/models/deepseek_v4 calls its modules, gate and up of all experts in one tensor, no MTP.
2. `saved_modules`, `saved`: what its save_pretrained makes of modules and of the release's names: kv_norm is cut to norm.
3. `scorer`: the release's names, with the indexer's scorer as Megatron-Bridge calls it.
4. `older`: the multi-token prediction as the first adapters had it (NeMo Automodel, pull request 2191): a depth's tensors at
   layers.{N + depth}, with or without `model.`, and e_proj beside h_proj in one eh_proj.

Tensors are of any kind: `joins` puts them together (stack, rows, columns). Nothing but Python is needed.
"""
import re

_TOP = {"embed.weight": "model.embed_tokens.weight", "head.weight": "lm_head.weight", "norm.weight": "model.norm.weight"}
_SUBLAYER = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_ATTENTION = {"wq_a": "q_a_proj", "q_norm": "q_a_norm", "wq_b": "q_b_proj", "wkv": "kv_proj", "kv_norm": "kv_norm", "wo_a": "o_a_proj", "wo_b": "o_b_proj",
              "attn_sink": "sinks"}
_COMPRESSOR = {"ape": "position_bias", "wkv": "kv_proj", "wgate": "gate_proj", "norm": "kv_norm"}
_SHARED = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def _module(path):
    """'attn.indexer.compressor.wkv.weight' -> the same below a layer of transformers"""
    parts = path.split(".")
    if parts[0] in _SUBLAYER:
        return ".".join([_SUBLAYER[parts[0]], *parts[1:]])
    hyper = re.fullmatch(r"hc_(attn|ffn)_(fn|base|scale)", path)
    if hyper:
        return f"{hyper[1]}_hc.{hyper[2]}"
    if parts[0] == "attn":
        indexer, compressor = "indexer" in parts, "compressor" in parts
        owner = ["self_attn"] + ["compressor"] * (indexer or compressor) + ["indexer"] * indexer
        name = parts[3 if indexer and compressor else 2 if indexer or compressor else 1]
        if name == "weights_proj":
            return ".".join([*owner, "scorer.weights_proj.weight"])
        return ".".join([*owner, (_COMPRESSOR if compressor else _ATTENTION)[name]] + ["weight"] * (parts[-1] == "weight"))
    if parts[1] == "gate":
        return "mlp.gate." + {"weight": "weight", "tid2eid": "tid2eid", "bias": "e_score_correction_bias"}[parts[2]]
    return f"mlp.shared_experts.{_SHARED[parts[2]]}.weight"


def modules(plain, experts, joins):
    """The plain weights of a release under transformers' names."""
    out, routed = {}, {}
    for name, tensor in plain.items():
        layer = re.fullmatch(r"layers\.(\d+)\.(.*)", name)
        expert = re.fullmatch(r"layers\.(\d+)\.ffn\.experts\.(\d+)\.(w[123])\.weight", name)
        if expert:
            routed.setdefault(expert[1], {})[expert[3], int(expert[2])] = tensor
        elif layer:
            out[f"model.layers.{layer[1]}.{_module(layer[2])}"] = tensor
        elif not name.startswith("mtp."):
            out[_TOP.get(name, "model.hc_head." + name.removeprefix("hc_head_"))] = tensor
            assert name in _TOP or name.startswith("hc_head_")
    out = {name.replace("model.hc_head.", "model.hc_head.hc_"): tensor for name, tensor in out.items()}
    for layer, tensors in routed.items():
        prefix = f"model.layers.{layer}.mlp.experts."
        out[prefix + "gate_up_proj"] = joins.stack([joins.rows([tensors["w1", e], tensors["w3", e]]) for e in range(experts)])
        out[prefix + "down_proj"] = joins.stack([tensors["w2", e] for e in range(experts)])
    return out


def saved_modules(plain, experts, joins):
    return {name.replace("kv_norm.", "norm."): tensor for name, tensor in modules(plain, experts, joins).items()}


def saved(plain):
    """transformers reads the release's names and writes these; it has no MTP."""
    top = {"embed.weight": "model.embed_tokens.weight", "head.weight": "head.weight"}
    out = {}
    for name, tensor in plain.items():
        if not name.startswith("mtp."):
            name = top.get(name) or "model." + name.replace("kv_norm.", "norm.").replace("hc_head_", "hc_head.hc_")
            out[name] = tensor
    return out


def scorer(state):
    return {name.replace("indexer.weights_proj.", "indexer.scorer.weights_proj."): tensor for name, tensor in state.items()}


_FRAME = re.compile(r"(e_proj|h_proj|enorm|hnorm|norm|hc_head_fn|hc_head_base|hc_head_scale)(\.|$)")


def older(state, layers, joins, prefix="", block="layers", frame="layers", joined=False, norm="norm"):
    """prefix: of everything but the head and MTP; block, frame: of what a depth shares with a layer, and of what it has besides."""
    out = {}
    for name, tensor in state.items():
        depth = re.fullmatch(r"mtp\.(\d+)\.(.*)", name)
        if not depth:
            out[name if name.startswith("head.") else prefix + name] = tensor
            continue
        own = _FRAME.match(depth[2])
        below = depth[2].replace("norm.", norm + ".", 1) if depth[2] == "norm.weight" else depth[2]
        out[f"{frame if own else block}.{layers + int(depth[1])}.{below}"] = tensor
    if joined:
        for name in [name for name in out if ".e_proj." in name]:
            out[name.replace(".e_proj.", ".eh_proj.")] = joins.columns([out.pop(name), out.pop(name.replace(".e_proj.", ".h_proj."))])
    return out


_PLACES = {
    "in layers": {},
    "in model.layers": dict(block="model.layers", frame="model.layers"),
    "in both": dict(block="model.layers"),
    "in model.layers, all in model": dict(prefix="model.", block="model.layers", frame="model.layers"),
    "in both, all in model": dict(prefix="model.", block="model.layers"),
}
_LINEARS = {"": {}, ", joined": dict(joined=True), ", joined, final_layernorm": dict(joined=True, norm="final_layernorm")}
# {what: arguments of `older`}
OLDER = {f"MTP {place}{linears}": {**where, **how} for place, where in _PLACES.items() for linears, how in _LINEARS.items()}
