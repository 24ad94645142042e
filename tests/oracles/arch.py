"""The shape of a decoder, in neither Hugging Face's nor Megatron's words.

Both sides of every comparison (the transformers model and the Megatron model) are built from one of these, so the tests
never read a configuration that Causeway wrote.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Moe:
    experts: int
    topk: int
    ffn: int                # intermediate size of one expert
    dense: tuple[int, ...] = ()  # layers that have an ordinary MLP
    shared: int = 0         # shared experts, each of size `ffn`
    score_groups: int = 0   # groups the router limits itself to; 0: softmax scores, no groups, no bias
    chosen_groups: int = 0
    scaling: float = 1.0    # of the routed experts' weights
    greedy: bool = False    # softmax scores that are not normalized, no bias
    gated_ffn: int = 0      # of one more shared expert, whose output a sigmoid gate scales
    normalized: bool = True  # the weights of a token's experts sum to one, before the scaling

    @property
    def biased(self):
        return self.score_groups > 0 and not self.greedy


@dataclasses.dataclass(frozen=True)
class Mla:
    """Multi-head latent attention, with YaRN or without."""

    q_rank: int | None      # None: queries are projected directly
    kv_rank: int
    nope: int               # channels of a query/key head without rotation
    rope: int               # ... with
    v_head: int
    yarn_factor: float | None = 4.0
    yarn_positions: int = 64
    mscale: float = 1.0
    mscale_all_dim: float = 1.0


@dataclasses.dataclass(frozen=True)
class Index:
    """What chooses the tokens that a token attends to, beside multi-head latent attention."""

    heads: int
    dim: int                # of one head; the first ones rotate, as many as in the attention
    topk: int
    shared: tuple[int, ...] = ()  # layers that take over what the last one before them chose that is not among these


@dataclasses.dataclass(frozen=True)
class Gdn:
    """Gated DeltaNet instead of attention in some layers; the attention of the others has an output gate or none, and every norm
    but GDN's own scales by 1 + weight."""

    linear: tuple[bool, ...]  # for each layer
    key_heads: int
    value_heads: int
    key_dim: int              # of one head
    value_dim: int
    rotary: float             # the part of a head that positions rotate
    gated: bool = True        # the attention of the other layers has an output gate

    @property
    def keys(self):
        return self.key_heads * self.key_dim

    @property
    def values(self):
        return self.value_heads * self.value_dim


@dataclasses.dataclass(frozen=True)
class Hybrid:
    """Nemotron-H: every layer is one block, Mamba-2 (M), attention without positions (*), an MLP of squared ReLU (-) or a mixture of
    such MLPs (E)."""

    pattern: str            # a character for each layer
    hidden: int
    heads: int
    groups: int             # key/value heads
    head_dim: int
    ffn: int
    vocab: int
    mamba_heads: int
    mamba_head_dim: int
    mamba_groups: int       # of heads that share B and C
    mamba_states: int
    experts: int
    topk: int
    expert_ffn: int
    shared_ffn: int         # of the expert that every token sees
    scaling: float          # of the routed experts' weights
    latent: int | None = None  # experts lie between projections to this many channels and back
    mtp: int = 0            # multi-token prediction depths
    mtp_pattern: str = ""   # of the blocks of each
    eps: float = 1e-5
    positions: int = 64
    dtype: str = "bfloat16"
    tied: bool = False


@dataclasses.dataclass(frozen=True)
class Arch:
    family: str            # "llama", "mistral", "qwen2" (bias on q, k, v), "qwen3" (norm of each q and k head), "qwen3_moe" (the same),
                           # "qwen2_moe" and "seed_oss" (bias as qwen2), "mixtral", "ministral" (a window in the layers that `sliding`
                           # names), "olmoe", "minimax_m2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "phi3", "gpt_oss",
                           # "glm4_moe" (q, k and v biases and norms), "glm4_moe_lite", "hy_v3" (norms of q and k), "deepseek_v2", "qwen3_5", "qwen3_5_moe", "qwen3_next", "glm4", "gemma2", "gemma3_text",
                           # "nemotron", "starcoder2" or "llama4_text"
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
    moe: Moe | None = None
    mla: Mla | None = None
    index: Index | None = None
    gdn: Gdn | None = None
    rotary: float = 1.0    # the part of a head that positions rotate, unless gdn says it
    window: int = 0        # tokens that a query of a sliding layer sees
    sliding: tuple[bool, ...] = ()  # for each layer, where some have the window
    mtp: int = 0           # multi-token prediction depths
    hf: dict = dataclasses.field(default_factory=dict)  # settings of the Hugging Face configuration besides, in its words

    @property
    def qkv_bias(self):
        return self.family in ("qwen2", "qwen2_moe", "seed_oss", "glm4_moe", "starcoder2", "gpt_oss")

    @property
    def layer_norm(self):
        """LayerNorm, with biases, instead of RMSNorm; and an MLP without a gate."""
        return self.family in ("nemotron", "starcoder2")

    @property
    def linear_bias(self):
        return self.family == "starcoder2"

    @property
    def rotary_percent(self):
        """Megatron's name for the part of a head that positions rotate."""
        return self.gdn.rotary if self.gdn else self.rotary

    @property
    def sinks(self):
        """Attention with sinks and a window in every other layer, biases of all linears, experts with a clamped quick GELU."""
        return self.family == "gpt_oss"

    @property
    def turned(self):
        """For each layer, whether positions turn queries and keys: Llama-4 leaves every fourth without them."""
        return [self.family != "llama4_text" or (layer + 1) % 4 != 0 for layer in range(self.layers)]

    @property
    def qk_norm(self):
        return self.family in ("qwen3", "qwen3_moe", "glm4_moe", "hy_v3") or self.gdn is not None or self.whole_qk_norm

    @property
    def whole_qk_norm(self):
        """Whether the norm of queries, and that of keys, is over the channels of all heads together."""
        return self.family in ("olmoe", "minimax_m2")

    @property
    def norm_centre(self):
        """What the weights of norms lie around in the files: some families store them minus one."""
        return 0 if self.family in ("gemma2", "gemma3_text", "nemotron") else 1

    @property
    def stacked(self):
        """Whether Megatron stacks the layers under one key: not when the kind of each layer is listed."""
        return self.mla is None and self.gdn is None and not (self.moe and self.moe.dense)

    def is_moe(self, layer):
        return self.moe is not None and layer not in self.moe.dense


# Awkward on purpose: heads*head_dim != hidden, an odd vocabulary, nothing a power of two, three layers (two pipeline
# stages are then unequal).
def awkward(family, *, tied, dtype, **other):
    sizes = dict(layers=3, hidden=72, heads=6, groups=2, head_dim=16, ffn=136, vocab=157)
    if family == "qwen3_moe":
        sizes.update(moe=Moe(experts=6, topk=3, ffn=28))
    if family == "qwen2_moe":
        sizes.update(moe=Moe(experts=6, topk=3, ffn=28, gated_ffn=20, normalized=False))
    if family == "ministral":
        sizes.update(window=5, sliding=(True, False, True))
    if family == "olmoe":
        sizes.update(groups=6, head_dim=12, ffn=28, moe=Moe(experts=6, topk=3, ffn=28, normalized=False))
    if family == "minimax_m2":
        sizes.update(ffn=28, eps=1e-6, rotary=0.5, moe=Moe(experts=6, topk=3, ffn=28, score_groups=1, chosen_groups=1))
    if family == "nemotron":
        sizes.update(rotary=0.5)
    if family == "mixtral":
        sizes.update(head_dim=12, moe=Moe(experts=4, topk=2, ffn=44), ffn=44)
    if family == "gpt_oss":
        sizes.update(moe=Moe(experts=4, topk=2, ffn=44), ffn=44)
    if family == "llama4_text":
        sizes.update(layers=4, moe=Moe(experts=4, topk=1, ffn=44, dense=(0, 2), shared=1, normalized=False))
    if family in ("deepseek_v3", "deepseek_v32", "glm_moe_dsa"):
        # q_rank != kv_rank, v_head != nope; key/value heads are the query heads
        sizes.update(heads=4, groups=4, head_dim=8, eps=1e-6, moe=Moe(experts=8, topk=4, ffn=20, dense=(0,), shared=2, score_groups=4,
                     chosen_groups=2, scaling=2.5), mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10))
    if family == "deepseek_v2":
        sizes.update(heads=4, groups=4, head_dim=8, eps=1e-6, moe=Moe(experts=8, topk=2, ffn=20, dense=(0,), shared=2, score_groups=4, chosen_groups=2, scaling=3.0,
                     greedy=True), mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10, mscale=0.707, mscale_all_dim=0.707))
    if family == "glm4_moe_lite":
        sizes.update(heads=4, groups=4, head_dim=8, eps=1e-6, moe=Moe(experts=6, topk=3, ffn=20, dense=(0,), shared=1, score_groups=1, chosen_groups=1, scaling=1.8),
                     mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10, yarn_factor=None))
    if family == "hy_v3":
        sizes.update(moe=Moe(experts=6, topk=3, ffn=20, dense=(0,), shared=1, score_groups=1, chosen_groups=1, scaling=2.826))
    if family in ("deepseek_v32", "glm_moe_dsa"):
        sizes.update(index=Index(heads=3, dim=14, topk=5))
    if family == "glm4_moe":
        sizes.update(rotary=0.5, moe=Moe(experts=8, topk=4, ffn=20, dense=(0,), shared=2, score_groups=1, chosen_groups=1, scaling=1.5))
    if family.startswith(("qwen3_5", "qwen3_next")):
        # value heads are not key heads, nor of their size; the last layer has full attention, as that of MTP must
        sizes.update(layers=4, eps=1e-6, rope_base=1e7,
                     gdn=Gdn(linear=(True, False, True, False), key_heads=2, value_heads=6, key_dim=12, value_dim=10, rotary=0.5))
        if family != "qwen3_5":
            sizes.update(moe=Moe(experts=6, topk=3, ffn=28, gated_ffn=20))
    return Arch(family=family, tied=tied, dtype=dtype, **{**sizes, **other})
