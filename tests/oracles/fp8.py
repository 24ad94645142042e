"""Block-quantized weights, computed with torch alone.

1. A block of rows x columns (the last ones partial) of a weight has one scale; the value of a code q is float(q) * scale.
2. What a reader uses is that product, in fp32, rounded once to bf16.
3. The owner's rule makes scale and codes of a block w: scale = max(amax(|w|), 1e-4) / 448, in fp32 or rounded to bf16;
   q = e4m3(clamp(w / scale, -448, 448)).
"""
import torch

SCALE = "_scale_inv"

# Linears that releases leave alone, and the multi-token prediction's own.
KEPT = ("embed_tokens", "lm_head", "norm", "mlp.gate.", "eh_proj", "shared_head")


def _per_element(scales, shape, block):
    return scales.float().repeat_interleave(block[0], 0)[: shape[0]].repeat_interleave(block[1], 1)[:, : shape[1]]


def owner_scales(weight, block, dtype):
    padded = torch.zeros(-(-weight.shape[0] // block[0]) * block[0], -(-weight.shape[1] // block[1]) * block[1])
    padded[: weight.shape[0], : weight.shape[1]] = weight.float().abs()
    amax = padded.view(padded.shape[0] // block[0], block[0], padded.shape[1] // block[1], block[1]).amax(dim=(1, 3))
    return (amax.clamp(min=1e-4) / 448.0).to(dtype)


def codes(weight, scales, block):
    return (weight.float() / _per_element(scales, weight.shape, block)).clamp(-448, 448).to(torch.float8_e4m3fn)


def dequantize(q, scales, block, dtype=torch.bfloat16):
    return (q.float() * _per_element(scales, q.shape, block)).to(dtype)


def quantized(state, block, scale_dtype, kept=KEPT):
    """A released state dict: weights whose name holds none of `kept` are codes, followed by their scales. The scales are those
    of the rule times a number in [1.05, 1.6): a release need not have used the rule, and these bytes are to come back."""
    out, generator = {}, torch.Generator().manual_seed(11)
    for name, tensor in state.items():
        if tensor.ndim != 2 or any(part in name for part in kept):
            out[name] = tensor
            continue
        scales = owner_scales(tensor, block, torch.float32)
        scales = (scales * (1.05 + 0.55 * torch.rand(scales.shape, generator=generator))).to(scale_dtype)
        out[name], out[name + SCALE] = codes(tensor, scales, block), scales
    return out


def plain(state, block, dtype=torch.bfloat16):
    """The state dict a quantized one stands for."""
    return {name: dequantize(tensor, state[name + SCALE], block, dtype) if name + SCALE in state else tensor
            for name, tensor in state.items() if not name.endswith(SCALE)}


def blocks(shape, block):
    """The slices of every block of a matrix, row by row."""
    return [(row // block[0], column // block[1], slice(row, row + block[0]), slice(column, column + block[1]))
            for row in range(0, shape[0], block[0]) for column in range(0, shape[1], block[1])]


def requantized(weight, q, scales, block):
    """(codes, scales, [blocks that got a new scale]) of a weight whose codes and scales were (q, scales). A block in which every
    value is that of some code under the old scale keeps the scale, and the code of each value that did not change."""
    q, scales, renewed = q.clone(), scales.clone(), []
    for row, column, rows, columns in blocks(weight.shape, block):
        part, old = weight[rows, columns], scales[row : row + 1, column : column + 1]
        whole = part.shape
        kept = codes(part, old, whole)
        if torch.equal(dequantize(kept, old, whole), part):
            unchanged = dequantize(q[rows, columns], old, whole).view(torch.int16) == part.view(torch.int16)
            q[rows, columns] = torch.where(unchanged, q[rows, columns].view(torch.uint8), kept.view(torch.uint8)).view(q.dtype)
            continue
        scales[row, column] = owner_scales(part, whole, scales.dtype)[0, 0]
        q[rows, columns] = codes(part, scales[row : row + 1, column : column + 1], whole)
        renewed.append((row, column))
    return q, scales, renewed
