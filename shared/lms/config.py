"""The shape of a transformer, and the one layout of its weights that JAX, torch and the safetensors files share.

A model is a flat dictionary ``name -> array`` with names such as ``layers.0.q.weight`` and torch's orientation ``(out, in)``;
``nest`` turns it into the nested dictionary that the JAX functions take (``params["layers"][0]["q"]["weight"]``), ``flatten`` turns it back.
Two families are defined here, ``dec-*`` (causal, Llama-like) and ``enc-*`` (bidirectional, BERT-like, pre-norm); the remaining switches exist so that
published checkpoints (Llama, Mistral, Qwen2, GPT-Neo, BERT, RoBERTa) fit the same functions, see ``checkpoints.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelConfig:
    """All that fixes the computation. Make one with ``decoder``, ``encoder`` or ``named``."""

    vocab: int
    """Rows of the token table; 0 gives a model without one, whose caller embeds the tokens."""
    width: int
    layers: int
    heads: int
    kv_heads: int
    """Heads of keys and values; fewer than ``heads`` is grouped-query attention."""
    head_width: int
    ffn: int
    """Width of the feed-forward layers; 0 leaves them out (an attention-only model)."""
    context: int
    causal: bool
    norm: str
    """"rms" or "layer"."""
    norm_eps: float
    post_norm: bool
    """Normalise after each residual sum (BERT) instead of before each sublayer."""
    activation: str
    """"swiglu" (three matrices), "gelu" or "gelu_tanh" (two)."""
    biased: tuple[str, ...]
    """The linear maps that have a bias."""
    positions: str
    """"rotary", "learned", "sinusoidal" (added to the input), "alibi" (a penalty on distance in the scores) or "none"."""
    frequencies: tuple[float, ...]
    """Rotary angles per position, one for each pair of a head's coordinates; unused by the other kinds of positions."""
    attention_scale: float
    windows: tuple[int, ...]
    """Keys that a query of each layer sees, itself included (sliding-window attention); 0 means all. () means all in every layer."""
    segments: int
    embedding_norm: bool
    tied: bool
    """The output table is the token table."""
    head_transform: bool
    """Dense, GELU and norm before the output table, and an output bias (masked language models)."""
    slopes: tuple[float, ...] = ()
    """ALiBi's penalty per position of distance, one for each head."""

    @property
    def biases(self) -> frozenset[str]:
        return frozenset(self.biased)

    @property
    def ffn_matrices(self) -> tuple[str, ...]:
        if not self.ffn:
            return ()
        return ("gate", "up", "down") if self.activation == "swiglu" else ("up", "down")


def round8(x: float) -> int:
    """The multiple of 8 nearest to ``x``."""
    return 8 * round(x / 8)


def rotary_frequencies(head_width: int, theta: float = 1e4) -> tuple[float, ...]:
    """theta^(-2i / head_width) for i = 0 .. head_width / 2 - 1."""
    return tuple(theta ** (-2 * i / head_width) for i in range(head_width // 2))


def alibi_slopes(heads: int) -> tuple[float, ...]:
    """2^(-8 h / heads) for h = 1 .. heads (Press, Smith and Lewis, 2022)."""
    return tuple(2.0 ** (-8 * h / heads) for h in range(1, heads + 1))


def decoder(width: int, layers: int, heads: int, context: int, vocab: int, **changes) -> ModelConfig:
    """A causal, Llama-like model: RMSNorm, rotary positions, SwiGLU with ffn = round8(8 width / 3), no biases, tied tables."""
    head_width = width // heads
    config = ModelConfig(
        vocab=vocab, width=width, layers=layers, heads=heads, kv_heads=heads, head_width=head_width, ffn=round8(8 * width / 3), context=context, causal=True,
        norm="rms", norm_eps=1e-6, post_norm=False, activation="swiglu", biased=(), positions="rotary", frequencies=rotary_frequencies(head_width),
        attention_scale=head_width**-0.5, windows=(), segments=0, embedding_norm=False, tied=True, head_transform=False,
    )  # fmt: skip
    return replace(config, **changes)


def encoder(width: int, layers: int, heads: int, context: int, vocab: int, **changes) -> ModelConfig:
    """A bidirectional, BERT-like model: LayerNorm before each sublayer, learned positions, two segments, GELU, ffn = 4 width, biases, BERT's output head."""
    config = ModelConfig(
        vocab=vocab, width=width, layers=layers, heads=heads, kv_heads=heads, head_width=width // heads, ffn=4 * width, context=context, causal=False,
        norm="layer", norm_eps=1e-12, post_norm=False, activation="gelu", biased=("q", "k", "v", "o", "up", "down"), positions="learned", frequencies=(),
        attention_scale=(width // heads) ** -0.5, windows=(), segments=2, embedding_norm=True, tied=True, head_transform=True,
    )  # fmt: skip
    return replace(config, **changes)


# width, layers, heads, context, vocabulary
SIZES = {
    "nano": (32, 2, 2, 64, 512),
    "xs": (64, 4, 4, 128, 2048),
    "s": (128, 4, 4, 128, 4096),
    "m": (512, 12, 8, 256, 4096),
    "b": (768, 12, 12, 256, 4096),
}
FAMILIES = {"dec": decoder, "enc": encoder}


def split_name(name: str) -> tuple[str, str, str, int]:
    """``"dec-xs-py-2"`` -> ("dec", "xs", "py", 2): family, size, text ("en" unless said) and pre-training seed (0 unless said)."""
    family, size, *rest = name.split("-")
    seed = int(rest.pop()) if rest and rest[-1].isdigit() else 0
    text = rest.pop() if rest else "en"
    if family not in FAMILIES or size not in SIZES or text not in ("en", "py") or rest:
        raise ValueError(f"no model is called {name!r}: want <{'|'.join(FAMILIES)}>-<{'|'.join(SIZES)}>[-py][-<seed>]")
    return family, size, text, seed


def named(name: str) -> ModelConfig:
    """The configuration of ``dec-xs``, ``enc-m``, ``dec-xs-py-1`` and so on."""
    family, size, text, _ = split_name(name)
    width, layers, heads, context, vocab = SIZES[size]
    if text == "py":
        vocab = min(vocab, 2048)
    return FAMILIES[family](width, layers, heads, context, vocab)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, in the order in which a signal meets them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, into: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = (config.width,)
        if config.norm == "layer":
            shapes[f"{name}.bias"] = (config.width,)

    if config.vocab:
        shapes["tokens.weight"] = (config.vocab, config.width)
    if config.positions == "learned":
        shapes["positions.weight"] = (config.context, config.width)
    if config.segments:
        shapes["segments.weight"] = (config.segments, config.width)
    if config.embedding_norm:
        norm("embedding_norm")
    inner, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    sizes = {
        "q": (inner, config.width), "k": (keys, config.width), "v": (keys, config.width), "o": (config.width, inner),
        "gate": (config.ffn, config.width), "up": (config.ffn, config.width), "down": (config.width, config.ffn),
    }  # fmt: skip
    for i in range(config.layers):
        for group, names in (("attention_norm", ("q", "k", "v", "o")), ("ffn_norm", config.ffn_matrices)):
            if not names:
                continue
            norm(f"layers.{i}.{group}")
            for name in names:
                linear(f"layers.{i}.{name}", *sizes[name], name in config.biases)
    if not config.post_norm:
        norm("final_norm")
    if config.head_transform:
        linear("head.dense", config.width, config.width, True)
        norm("head.norm")
        shapes["head.bias"] = (config.vocab,)
    if not config.tied:
        shapes["head.weight"] = (config.vocab, config.width)
    return shapes


def parameter_count(config: ModelConfig, embedding: bool = True) -> int:
    """Parameters in all, or without the tables of tokens, positions and segments and the output table."""
    tables = ("tokens.", "positions.", "segments.", "head.weight", "head.bias")
    total = 0
    for name, shape in parameter_shapes(config).items():
        size = 1
        for n in shape:
            size *= n
        total += size if embedding or not name.startswith(tables) else 0
    return total


CATEGORIES = {
    "attention": ("q", "k", "v", "o"),
    "ffn": ("gate", "up", "down"),
    "norm": ("attention_norm", "ffn_norm", "final_norm", "embedding_norm"),
    "embedding": ("tokens", "positions", "segments"),
    "head": ("head",),
}


def named_matrices(config: ModelConfig, category: str) -> list[str]:
    """Names of the parameters of a category: attention, ffn, norm, embedding or head (a tied output table counts as embedding)."""
    wanted = CATEGORIES[category]
    return [name for name in parameter_shapes(config) if (name.split(".")[2] if name.startswith("layers.") else name.split(".")[0]) in wanted]


def nest(flat: dict) -> dict:
    """Flat names to nested dictionaries, with a list under ``layers``."""
    tree: dict = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    layers = tree.get("layers", {})
    return tree | {"layers": [layers[str(i)] for i in range(len(layers))]}


def flatten(tree: dict | list, prefix: str = "") -> dict:
    """Nested parameters to flat names, in insertion order."""
    flat: dict = {}
    for key, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict | list) else {name: value}
    return flat
