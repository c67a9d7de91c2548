"""The transformer in torch: one module whose state dictionary has the names and shapes of the shared layout, with the functions of ``jax_model`` as methods.

    model = Transformer(decoder(width=64, layers=2, heads=4, context=128, vocab=65), seed_generator)
    states = model.hidden_states(ids)                             # (layers + 1, batch, length, width)
    scores = model(ids)                                           # (batch, length, vocab)

``inputs`` is either token ids ``(batch, length)`` or inputs that the caller embedded, ``(batch, length, width)``.
``model.inject(layer, site, module)`` puts ``module(value, source) -> value`` at a site (``inject.py`` lists sites and has ready-made ones).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from shared.lms.config import ModelConfig, parameter_shapes


class Norm(nn.Module):
    """RMSNorm, w x / sqrt(mean x^2 + eps); LayerNorm subtracts the mean first and adds a bias. In float32 at least, whatever the dtype of ``x``."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.eps = config.norm_eps
        self.weight = nn.Parameter(torch.ones(config.width))
        self.bias = nn.Parameter(torch.zeros(config.width)) if config.norm == "layer" else None

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        h = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.bias is not None:
            h = h - h.mean(-1, keepdim=True)
        h = (h * torch.rsqrt((h * h).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight
        return h if self.bias is None else h + self.bias


def rotate(x: Float[Tensor, "batch heads length head_width"], angles: Float[Tensor, "... length pairs"]) -> Float[Tensor, "batch heads length head_width"]:
    """Turn the pair (x_i, x_{i + head_width/2}) of each head by its angle (Llama's pairing of coordinates)."""
    cos, sin = (f(angles).unsqueeze(-3).to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def sinusoids(places: Int[Tensor, "... length"], width: int) -> Float[Tensor, "... length width"]:
    """sin(p / 10000^(2i/width)) and cos of the same, side by side (Vaswani et al., 2017, section 3.5)."""
    angles = places[..., None] * 10000.0 ** (-torch.arange(0, width, 2, device=places.device) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :width]


class Sites(nn.Module):
    """A module with named places on its way, where injected modules ``module(value, source) -> value`` act in the order in which they came."""

    def __init__(self):
        super().__init__()
        self.injected = nn.ModuleDict()

    def at(self, site: str, value, source: Tensor):
        """What passes the site: ``value``, or what the injected modules make of it (``source`` is what the value was computed from)."""
        if site in self.injected:
            for module in self.injected[site]:
                value = module(value, source)
        return value


class Block(Sites):
    """Attention and feed-forward, each added to the residual stream, normalised before (or, with ``post_norm``, after)."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        inner, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        sizes = {"q": (config.width, inner), "k": (config.width, keys), "v": (config.width, keys), "o": (inner, config.width)}
        sizes |= {"gate": (config.width, config.ffn), "up": (config.width, config.ffn), "down": (config.ffn, config.width)}
        self.attention_norm = Norm(config)
        if config.ffn:
            self.ffn_norm = Norm(config)
        for name in ("q", "k", "v", "o", *config.ffn_matrices):
            self.add_module(name, nn.Linear(*sizes[name], bias=name in config.biases))

    def project(self, name: str, x: Tensor) -> Tensor:
        return self.at(name, getattr(self, name)(x), x)

    def visible(self, length: int, slots: int, start: int, device) -> Bool[Tensor, "length slots"]:
        """Which of ``slots`` keys each of ``length`` queries may see, query i standing in slot ``start + i``."""
        behind = start + torch.arange(length, device=device)[:, None] - torch.arange(slots, device=device)
        allowed = behind >= 0 if self.config.causal else torch.ones(length, slots, dtype=torch.bool, device=device)
        if self.config.windows and self.config.windows[self.layer]:
            allowed = allowed & (behind < self.config.windows[self.layer])
        return allowed

    def distance_penalty(self, length: int, slots: int, start: int, like: Tensor) -> Float[Tensor, "heads length slots"]:
        """ALiBi: -slope |i - j| for query i and key j, to be added to the scores (Press, Smith and Lewis, 2022)."""
        distance = (start + torch.arange(length, device=like.device)[:, None] - torch.arange(slots, device=like.device)).abs()
        return -torch.tensor(self.config.slopes, dtype=like.dtype, device=like.device)[:, None, None] * distance

    def attention(self, x: Float[Tensor, "batch length width"], angles: Tensor | None, mask: Tensor | None, cache: dict | None) -> Tensor:
        """softmax(scale Q K^T) V W_O; a ``cache`` {"k", "v"} of earlier keys and values is extended in place."""
        q, k, v = (self.project(name, x).unflatten(-1, (-1, self.config.head_width)).transpose(-3, -2) for name in ("q", "k", "v"))
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        start = 0
        if cache is not None:
            start = cache["k"].shape[-2] if cache else 0
            if cache:
                k, v = torch.cat([cache["k"], k], dim=-2), torch.cat([cache["v"], v], dim=-2)
            cache |= {"k": k, "v": v}
        options = {"scale": self.config.attention_scale, "enable_gqa": self.config.kv_heads != self.config.heads}
        penalised = self.config.positions == "alibi"
        if mask is None and cache is None and not self.config.windows and "prefix" not in self.injected and not penalised:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.config.causal, **options)  # without a mask torch may fuse the most
            return self.project("o", y.transpose(-3, -2).flatten(-2))
        slots = k.shape[-2]
        allowed = self.visible(x.shape[-2], slots, start, x.device)
        if mask is not None:
            allowed = (allowed & mask.bool()[..., None, :]).unsqueeze(-3)  # (batch, 1, length, slots)
        k, v = self.at("prefix", (k, v), x)
        allowed = F.pad(allowed, (k.shape[-2] - allowed.shape[-1], 0), value=True)  # injected keys come first and are seen by every query
        bias = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device)
        if penalised:
            penalty = self.distance_penalty(x.shape[-2], slots, start, q)
            bias = bias + F.pad(penalty, (allowed.shape[-1] - slots, 0))
        bias = bias.masked_fill(~allowed, torch.finfo(q.dtype).min)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, **options)
        return self.project("o", y.transpose(-3, -2).flatten(-2))

    def feed_forward(self, x: Float[Tensor, "batch length width"]) -> Tensor:
        """SwiGLU, W_down(silu(W_gate x) * W_up x), or W_down gelu(W_up x)."""
        up = self.project("up", x)
        if self.config.activation == "swiglu":
            return self.project("down", F.silu(self.project("gate", x)) * up)
        return self.project("down", F.gelu(up, approximate="tanh" if self.config.activation == "gelu_tanh" else "none"))

    def forward(self, x: Tensor, angles: Tensor | None, mask: Tensor | None, cache: dict | None) -> Tensor:
        before, after = (unchanged, Norm.forward) if self.config.post_norm else (Norm.forward, unchanged)
        h = before(self.attention_norm, x)
        x = after(self.attention_norm, x + self.at("after_attention", self.attention(h, angles, mask, cache), h))
        if not self.config.ffn:
            return x
        h = before(self.ffn_norm, x)
        return after(self.ffn_norm, x + self.at("after_ffn", self.feed_forward(h), h))


def unchanged(norm: Norm, x: Tensor) -> Tensor:
    """What stands where a model does not normalise."""
    return x


class Head(nn.Module):
    """What the output has beside a table: a dense layer with norm, a bias, or a table of its own."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.head_transform:
            self.dense = nn.Linear(config.width, config.width)
            self.norm = Norm(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab)) if config.head_transform else None
        self.weight = None if config.tied else nn.Parameter(torch.zeros(config.vocab, config.width))


class Transformer(Sites):
    """Decoder or encoder, as its ``config`` says. A ``generator`` draws initial weights like ``jax_model.init`` does (not the same numbers)."""

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        if config.vocab:
            self.tokens = nn.Embedding(config.vocab, config.width)
        if config.positions == "learned":
            self.positions = nn.Embedding(config.context, config.width)
        if config.segments:
            self.segments = nn.Embedding(config.segments, config.width)
        if config.embedding_norm:
            self.embedding_norm = Norm(config)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.layers))
        if not config.post_norm:
            self.final_norm = Norm(config)
        self.head = Head(config)
        self.register_buffer("frequencies", torch.tensor(config.frequencies, dtype=torch.float32), persistent=False)
        if generator is not None:
            self.initialise(generator)

    @classmethod
    def from_weights(cls, config: ModelConfig, weights: dict[str, Tensor]) -> Transformer:
        """The model with these very tensors as its parameters: nothing is drawn or copied, so that it also serves for billions of them."""
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(weights, assign=True)
        model.frequencies = torch.tensor(config.frequencies, dtype=torch.float32)
        return model

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Normal(0, 0.02) matrices, output projections (o, down) divided by sqrt(2 layers), norms 1, biases 0."""
        for name, parameter in self.parameters_by_name().items():
            if name.endswith("bias"):
                parameter.zero_()
            elif "norm." in name:
                parameter.fill_(1)
            else:
                scale = 0.02 / math.sqrt(2 * self.config.layers) if name.endswith(("o.weight", "down.weight")) else 0.02
                parameter.normal_(0, scale, generator=generator)

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """The model's own parameters under the names of the shared layout (no injected ones)."""
        mine = dict(self.named_parameters())
        return {name: mine[name] for name in parameter_shapes(self.config)}

    def inject(self, layer: int, site: str, module: nn.Module) -> None:
        """Put ``module(value, source) -> value`` at a site; several at one site act in the order in which they came."""
        owner = self if site == "input_embedding" else self.layers[layer]
        if site not in owner.injected:
            owner.injected[site] = nn.ModuleList()
        owner.injected[site].append(module)

    def eject(self) -> None:
        """Take all injected modules out again."""
        for owner in (self, *self.layers):
            owner.injected.clear()

    def embed(self, inputs: Tensor, token_positions: Tensor | None = None, segments: Tensor | None = None) -> Float[Tensor, "batch length width"]:
        """Token vectors (or the caller's own), plus learned positions and segments where the model has them, normalised where it does so."""
        x = inputs if inputs.is_floating_point() else self.tokens(inputs)
        x = self.at("input_embedding", x, x)
        if self.config.positions == "learned":
            x = x + self.positions(torch.arange(x.shape[-2], device=x.device) if token_positions is None else token_positions)
        if self.config.positions == "sinusoidal":
            places = torch.arange(x.shape[-2], device=x.device) if token_positions is None else token_positions
            x = x + sinusoids(places, self.config.width).to(x.dtype)
        if self.config.segments:
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        return self.embedding_norm(x) if self.config.embedding_norm else x

    def run(
        self, inputs: Tensor, mask: Tensor | None = None, token_positions: Tensor | None = None, segments: Tensor | None = None, cache: list[dict] | None = None
    ) -> list[Tensor]:
        """The residual stream before the first and after each layer, the last one normalised.

        ``token_positions`` (batch, length) default to 0, 1, ...; ``mask`` (batch, length), or (batch, slots) with a cache, is True where there is a token.
        A ``cache`` (``empty_cache()``) is extended in place.
        """
        x = self.embed(inputs, token_positions, segments)
        angles = None
        if self.config.positions == "rotary":
            places = torch.arange(x.shape[-2], device=x.device) if token_positions is None else token_positions
            angles = places[..., None] * self.frequencies
        states = [x]
        for i, block in enumerate(self.layers):
            states.append(block(states[-1], angles, mask, None if cache is None else cache[i]))
        if not self.config.post_norm:
            states[-1] = self.final_norm(states[-1])
        return states

    def empty_cache(self) -> list[dict]:
        """A cache of no keys and values yet; ``run(..., cache=...)`` extends it."""
        return [{} for _ in self.layers]

    def hidden_states(self, inputs: Tensor, mask: Tensor | None = None, **options) -> Float[Tensor, "states batch length width"]:
        """All layers' states, ``layers + 1`` of them: the embedded inputs first, the normalised output last."""
        return torch.stack(self.run(inputs, mask, **options))

    def last_hidden_state(self, inputs: Tensor, mask: Tensor | None = None, **options) -> Float[Tensor, "batch length width"]:
        """The normalised output alone."""
        return self.run(inputs, mask, **options)[-1]

    def unembed(self, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... vocab"]:
        """Logits of hidden states through the model's own output head."""
        if self.config.head_transform:
            hidden = self.head.norm(F.gelu(self.head.dense(hidden)))
        return F.linear(hidden, self.tokens.weight if self.config.tied else self.head.weight, self.head.bias)

    def logits(
        self, inputs: Tensor, mask: Tensor | None = None, positions: Int[Tensor, "batch n"] | None = None, **options
    ) -> Float[Tensor, "batch length vocab"]:
        """Logits at every position, or only at the ``positions`` (batch, n) of each sequence, which is what makes a loss on few positions cheap."""
        hidden = self.last_hidden_state(inputs, mask, **options)
        if positions is not None:
            hidden = hidden.take_along_dim(positions[..., None], dim=-2)
        return self.unembed(hidden)

    forward = logits


def unembed_with(hidden: Float[Tensor, "batch length width"], table: Float[Tensor, "... vocab width"]) -> Float[Tensor, "batch length vocab"]:
    """Logits against a given output table, one for all or one for each sequence."""
    return hidden @ table.transpose(-1, -2)
