"""A stand-in for mamba_ssm and causal_conv1d, whose kernels need a GPU, and for einops, which nothing else here needs.

megatron-core's MambaMixer (megatron/core/ssm/mamba_mixer.py) is run as it is: names, shapes, sharding, the order of the parts of
in_proj and of the convolution are its own. Below it lie the two functions that a training step calls, in plain torch and fp32, from
the definition of Mamba-2 (Dao and Gu, "Transformers are SSMs", section 6; mamba_ssm/ops/triton/ssd_combined.py has the arguments):

    x, B, C = silu(conv(x, B, C))                     a causal convolution of each channel alone
    dt      = softplus(dt + dt_bias)                  one a head
    h[t]    = exp(dt[t] A) h[t - 1] + dt[t] x[t] B[t]^T    a head's state [channels, states]; heads share the B and C of their group
    y[t]    = h[t] C[t] + D x[t]
    y       = y silu(z)                               gated before the norm, which is RMS over the channels of a group

The state goes from token to token, in no chunks: a second opinion of the sums that transformers computes by chunks.
Inference with a cache, packed sequences and context parallelism are not modelled: what they call is None here and fails.

Call install() after fake_te.install() and before anything of megatron is imported.
"""
import torch
import torch.nn.functional as F
from functorch.einops import rearrange  # torch's own implementation of it

from oracles.fake_te import make_module


def _causal_convolution(x, weight, bias):
    """x [batch, tokens, channels], weight [channels, taps]: each channel sees itself at this token and the ones before."""
    taps = weight.shape[1]
    return F.conv1d(F.pad(x.transpose(1, 2), (taps - 1, 0)), weight[:, None], bias, groups=weight.shape[0]).transpose(1, 2)


def _scan(x, dt, A, B, C, D):
    """x [batch, tokens, heads, channels], dt [batch, tokens, heads], A and D [heads], B and C [batch, tokens, heads, states]"""
    state, out = torch.zeros(*x[:, 0].shape, B.shape[-1]), []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        state = decay * state + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None, :]
        out.append((state * C[:, t, :, None, :]).sum(-1) + D[:, None] * x[:, t])
    return torch.stack(out, dim=1)


def mamba_split_conv1d_scan_combined(zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D, chunk_size, *, activation, headdim, ngroups, norm_before_gate,
                                     seq_idx=None):
    """What lies between in_proj and the norm. zxbcdt [batch, tokens, z x B C dt] -> [batch, tokens, heads * headdim]"""
    assert activation == "silu" and not norm_before_gate and seq_idx is None
    heads = len(A)
    inner = heads * headdim
    states = (zxbcdt.shape[-1] - 2 * inner - heads) // (2 * ngroups)
    z, xbc, dt = zxbcdt.float().split([inner, inner + 2 * ngroups * states, heads], dim=-1)
    xbc = F.silu(_causal_convolution(xbc, conv1d_weight.float(), conv1d_bias.float()))
    x, B, C = xbc.split([inner, ngroups * states, ngroups * states], dim=-1)
    B, C = (part.unflatten(-1, (ngroups, states)).repeat_interleave(heads // ngroups, dim=2) for part in (B, C))
    y = _scan(x.unflatten(-1, (heads, headdim)), F.softplus(dt + dt_bias), A, B, C, D.float())
    return (y.flatten(2) * F.silu(z)).to(zxbcdt.dtype)


class RMSNorm(torch.nn.Module):
    """Over the channels of each group; what is given is gated already."""

    def __init__(self, hidden_size, eps, group_size, norm_before_gate, device, dtype):
        super().__init__()
        self.eps, self.group_size = eps, group_size
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))

    def forward(self, x):
        groups = x.float().unflatten(-1, (-1, self.group_size))
        return ((groups * torch.rsqrt(groups.pow(2).mean(-1, keepdim=True) + self.eps)).flatten(-2) * self.weight.float()).to(x.dtype)


def install():
    make_module("einops", rearrange=rearrange, repeat=None)
    make_module("causal_conv1d", True, causal_conv1d_fn=None)
    make_module("causal_conv1d.causal_conv1d_varlen", causal_conv1d_varlen_states=None)
    for package in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        make_module(package, True)
    make_module("mamba_ssm.ops.triton.layernorm_gated", RMSNorm=RMSNorm)

    def mamba_chunk_scan_combined():
        """Of inference alone; megatron-core looks at its arguments."""

    make_module("mamba_ssm.ops.triton.ssd_combined", mamba_chunk_scan_combined=mamba_chunk_scan_combined,
                mamba_split_conv1d_scan_combined=mamba_split_conv1d_scan_combined)
