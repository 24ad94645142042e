"""The shape of a dense decoder, in neither Hugging Face's nor Megatron's words.

Both sides of every comparison (the transformers model and the Megatron model) are built from one of these, so the tests
never read a configuration that Causeway wrote.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Arch:
    family: str            # "llama", "qwen2" (bias on q, k, v) or "qwen3" (norm of each q and k head)
    layers: int
    hidden: int
    heads: int
    groups: int            # key/value heads
    head_dim: int
    ffn: int
    vocab: int
    tied: bool
    dtype: str             # "bfloat16" or "float32": what the checkpoint stores
    eps: float = 1e-5
    rope_base: float = 10000.0
    positions: int = 128

    @property
    def qkv_bias(self):
        return self.family == "qwen2"

    @property
    def qk_norm(self):
        return self.family == "qwen3"


# Awkward on purpose: heads*head_dim != hidden, an odd vocabulary, nothing a power of two, three layers (two pipeline
# stages are then unequal).
def awkward(family, *, tied, dtype, **other):
    sizes = dict(layers=3, hidden=72, heads=6, groups=2, head_dim=16, ffn=136, vocab=157)
    return Arch(family=family, tied=tied, dtype=dtype, **{**sizes, **other})
