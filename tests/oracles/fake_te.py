"""A stand-in for TransformerEngine 2.x on a CPU, in plain torch.

megatron-core's own wrappers (`megatron.core.extensions.transformer_engine`: TELinear, TELayerNormColumnParallelLinear,
TENorm, TEDotProductAttention, ...) subclass these, so names, shapes, sharding and the `_extra_state` objects a
TransformerEngine model asks a checkpoint for come from megatron-core itself. Every linear and every norm has extra state,
as in TransformerEngine >= 2. The arithmetic is TransformerEngine's definition: norms in fp32, causal attention with
grouped keys. No communication: forward is for one tensor-parallel rank.

FLA, which megatron-core's GatedDeltaNet imports, is stood in for as well: of it only l2norm is ever called.

Call install() before anything of megatron is imported.
"""
import contextlib
import importlib.machinery
import sys
import types

import torch
import torch.nn.functional as F

# Below 2.7, where megatron-core starts to import router kernels.
VERSION = "2.6.0"


class _Module(torch.nn.Module):
    def get_extra_state(self):
        return torch.empty(0, dtype=torch.uint8)  # what TransformerEngine >= 2 returns without FP8

    def set_extra_state(self, state):
        pass


def _rms(x, weight, eps, zero_centered):
    x32 = x.float()
    gain = weight.float() + 1 if zero_centered else weight.float()
    return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps) * gain).to(x.dtype)


def _layer(x, weight, bias, eps, zero_centered):
    gain = weight.float() + 1 if zero_centered else weight.float()
    return F.layer_norm(x.float(), (x.shape[-1],), gain, bias.float(), eps).to(x.dtype)


class Linear(_Module):
    """`return_bias`: the bias is returned beside the result, without being added."""

    def __init__(self, in_features, out_features, *, tp_size=1, init_method=None, bias=True, return_bias=False, parallel_mode=None, params_dtype=None,
                 device="cpu", **_):
        super().__init__()
        self.return_bias = return_bias
        if parallel_mode == "column":
            out_features //= tp_size
        if parallel_mode == "row":
            in_features //= tp_size
        self.in_features, self.out_features = in_features, out_features
        self.tp_size, self.parallel_mode, self.use_bias = tp_size, parallel_mode, bias
        self.weight = torch.nn.Parameter(torch.empty(out_features, in_features, dtype=params_dtype, device=device))
        init_method(self.weight)
        self.register_parameter("bias", torch.nn.Parameter(torch.zeros(out_features, dtype=params_dtype, device=device)) if bias else None)

    def forward(self, x, is_first_microbatch=None):
        if self.return_bias:
            return F.linear(x, self.weight), self.bias
        return F.linear(x, self.weight, self.bias)


class LayerNormLinear(Linear):
    def __init__(self, in_features, out_features, *, eps, zero_centered_gamma=False, normalization="LayerNorm", **kw):
        super().__init__(in_features, out_features, **kw)
        self.eps, self.zero_centered = eps, zero_centered_gamma
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(in_features, dtype=kw["params_dtype"], device=kw["device"]))
        self.layer_norm_bias = None
        if normalization == "LayerNorm":
            self.layer_norm_bias = torch.nn.Parameter(torch.zeros_like(self.layer_norm_weight))

    def forward(self, x, is_first_microbatch=None):
        if self.layer_norm_bias is None:
            return super().forward(_rms(x, self.layer_norm_weight, self.eps, self.zero_centered))
        return super().forward(_layer(x, self.layer_norm_weight, self.layer_norm_bias, self.eps, self.zero_centered))


class GroupedLinear(_Module):
    """One linear for each expert of a rank; the rows of x belong to the experts in turn, m_splits rows to each."""

    def __init__(self, num_gemms, in_features, out_features, *, tp_size=1, init_method=None, bias=True, parallel_mode=None, params_dtype=None, device="cpu", **_):
        super().__init__()
        assert not bias and parallel_mode is None or tp_size == 1, "megatron-core itself splits the experts it gives to a rank"
        self.num_gemms, self.use_bias = num_gemms, bias
        # what megatron-core looks at to split the extra state of the experts
        self.fp8, self.fp8_calibration, self.fp8_meta = False, False, {"fp8_checkpoint": False}
        for index in range(num_gemms):
            weight = torch.nn.Parameter(torch.empty(out_features, in_features, dtype=params_dtype, device=device))
            init_method(weight)
            self.register_parameter(f"weight{index}", weight)

    def init_fp8_metadata(self, num_gemms=1):
        pass

    def forward(self, x, m_splits, is_first_microbatch=None):
        parts = torch.split(x, m_splits)
        return torch.cat([F.linear(part, getattr(self, f"weight{index}")) for index, part in enumerate(parts)])


class RMSNorm(_Module):
    def __init__(self, hidden_size=None, eps=1e-5, zero_centered_gamma=False, params_dtype=None, device="cpu", normalized_shape=None, **_):
        super().__init__()
        hidden_size = normalized_shape if hidden_size is None else hidden_size  # its name since megatron-core 0.17
        self.eps, self.zero_centered = eps, zero_centered_gamma
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=params_dtype, device=device))

    def forward(self, x):
        return _rms(x, self.weight, self.eps, self.zero_centered)


class LayerNorm(RMSNorm):
    def __init__(self, hidden_size=None, eps=1e-5, **kw):
        super().__init__(hidden_size, eps, **kw)
        self.bias = torch.nn.Parameter(torch.zeros_like(self.weight))

    def forward(self, x):
        return _layer(x, self.weight, self.bias, self.eps, self.zero_centered)


class DotProductAttention(_Module):
    """[sequence, batch, heads, channels] in, [sequence, batch, heads*channels] out; or, in the layout THD, [tokens, heads, channels]
    of sequences one after the other, each of which attends to itself alone."""

    def __init__(self, num_attention_heads, kv_channels, *, softmax_scale=None, **_):
        super().__init__()
        self.softmax_scale = softmax_scale

    def _causal(self, query, key, value):
        q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.softmax_scale, enable_gqa=True)
        return out.permute(2, 0, 1, 3).flatten(2)

    def forward(self, query, key, value, attention_mask, attn_mask_type, qkv_format="sbhd", cu_seqlens_q=None, cu_seqlens_q_padded=None, **_):
        assert attention_mask is None
        if qkv_format != "thd":
            assert attn_mask_type == "causal"
            return self._causal(query, key, value)
        assert attn_mask_type == "padding_causal"
        starts = (cu_seqlens_q if cu_seqlens_q_padded is None else cu_seqlens_q_padded).tolist()
        parts = [self._causal(query[a:b, None], key[a:b, None], value[a:b, None])[:, 0] for a, b in zip(starts, starts[1:]) if b > a]
        return torch.cat(parts)


class _NotModelled:
    """Classes megatron-core subclasses when it is imported, but no model of these tests makes."""

    def __init__(self, *_, **__):
        raise NotImplementedError("the stand-in transformer_engine has no " + type(self).__mro__[1].__name__)


def make_module(name, package=False, **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=package)
    if package:
        module.__path__ = []
    sys.modules[name] = module
    if "." in name:
        parent, leaf = name.rsplit(".", 1)
        setattr(sys.modules[parent], leaf, module)


def install():
    absent = {name: type(name, (_NotModelled,), {}) for name in ("DelayedScaling", "CudaRNGStatesTracker", "QuantizedTensor")}
    autocast = lambda *_, **__: contextlib.nullcontext()
    manager = type("FP8GlobalStateManager", (), {"is_fp8_enabled": staticmethod(lambda: False)})
    top = "transformer_engine"
    make_module(top, True, __version__=VERSION)
    make_module(top + ".common", True)
    make_module(top + ".common.recipe", DelayedScaling=absent["DelayedScaling"])
    make_module(top + ".pytorch", True, Linear=Linear, LayerNormLinear=LayerNormLinear, RMSNorm=RMSNorm, DotProductAttention=DotProductAttention,
            GroupedLinear=GroupedLinear, LayerNorm=LayerNorm, fp8_autocast=autocast)
    make_module(top + ".pytorch.ops", Sequential=None, FusibleOperation=None)  # named in annotations
    make_module(top + ".pytorch.fp8", FP8GlobalStateManager=manager, fp8_autocast=autocast, fp8_model_init=autocast)
    make_module(top + ".pytorch.distributed", CudaRNGStatesTracker=absent["CudaRNGStatesTracker"], activation_recompute_forward=None,
            is_fp8_activation_recompute_enabled=lambda: False)
    make_module("fla", True)
    make_module("fla.modules", True)
    make_module("fla.modules.l2norm", l2norm=lambda x: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6))
    make_module("fla.ops", True)
    make_module("fla.ops.gated_delta_rule", chunk_gated_delta_rule=None)
    make_module(top + ".pytorch.tensor", QuantizedTensor=absent["QuantizedTensor"])
