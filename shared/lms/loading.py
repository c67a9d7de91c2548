"""One call from a name to a model that runs: committed or self-trained weights, random ones (``dec-nano``), or a published checkpoint.

model = load_jax("dec-xs-1")              # model.params, model.config, model.tokenizer, model.card
model = load_torch("dec-xs-1")            # model.module, ...
model = load_torch("path or hub id of a Llama, Mistral, Qwen2, GPT-Neo, BERT or RoBERTa checkpoint", dtype=torch.bfloat16)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shared.lms.config import SIZES, ModelConfig, named, nest, split_name
from shared.lms.tokenization import Tokenizer, load_tokenizer, tokenizer_of
from shared.lms.weights import find, read
from shared.seeds import jax_key, torch_generator

if TYPE_CHECKING:
    import torch

    from shared.lms.torch_model import Transformer


class JaxModel(NamedTuple):
    params: dict
    config: ModelConfig
    tokenizer: Tokenizer
    card: dict


class TorchModel(NamedTuple):
    module: Transformer
    config: ModelConfig
    tokenizer: Tokenizer
    card: dict


def load_jax(name: str) -> JaxModel:
    """``name``: a model's name, a safetensors file of this package, or a published checkpoint's folder or hub id."""
    import jax
    import jax.numpy as jnp

    if is_random(name):
        from shared.lms.jax_model import init

        config, seed = named(name), split_name(name)[3]
        return JaxModel(jax.jit(init, static_argnames="config")(jax_key(seed, "init"), config), config, tokenizer_of(name), {})
    config, weights, tokenizer, card = read_any(name)
    arrays = {name: jnp.asarray(value if isinstance(value, np.ndarray) else value.float().numpy()) for name, value in weights.items()}
    return JaxModel(nest(arrays), config, tokenizer, card)


def load_torch(name: str, device: str = "cpu", dtype: torch.dtype | None = None) -> TorchModel:
    """As ``load_jax``; float32 unless a ``dtype`` is said."""
    import torch

    from shared.lms.torch_model import Transformer

    if is_random(name):
        config, seed = named(name), split_name(name)[3]
        return TorchModel(Transformer(config, torch_generator(seed, "init")).to(device, dtype), config, tokenizer_of(name), {})
    config, weights, tokenizer, card = read_any(name)
    tensors = {name: torch.as_tensor(value).to(device, dtype or torch.float32) for name, value in weights.items()}
    return TorchModel(Transformer.from_weights(config, tensors).to(device), config, tokenizer, card)


def is_model_name(name: str) -> bool:
    parts = name.split("-")
    return parts[0] in ("dec", "enc") and len(parts) > 1 and parts[1] in SIZES


def is_random(name: str) -> bool:
    """``*-nano`` has no weights on disk: its name's seed draws them."""
    return is_model_name(name) and split_name(name)[1] == "nano"


def read_any(name: str) -> tuple[ModelConfig, dict, Tokenizer, dict]:
    """Shape, flat weights (arrays or tensors), tokenizer and card of any kind of name."""
    if is_model_name(name) or name.endswith(".safetensors"):
        config, weights, card = read(find(name) if is_model_name(name) else Path(name))
        return config, weights, load_tokenizer(card["tokenizer"]["name"]) if card else tokenizer_of(name), card
    from shared.lms.checkpoints import convert, open_checkpoint

    model, theirs = open_checkpoint(name)
    config, weights = convert(model)
    specials = {role: getattr(theirs, f"{role}_token") or "" for role in ("pad", "bos", "eos", "unk", "mask", "sep", "cls")}
    return config, weights, Tokenizer(theirs.backend_tokenizer, name, specials), {"checkpoint": name}
