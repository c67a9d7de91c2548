"""How each model is pre-trained: the numbers of a recipe, and the text that it is fed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int16, Int32

from shared.lms.config import SIZES, split_name
from shared.lms.corpora import FREE, documents, stream
from shared.lms.facts import load_facts, sentences
from shared.lms.tokenization import Tokenizer
from shared.seeds import numpy_rng


@dataclass(frozen=True)
class Recipe:
    learning_rate: float
    """Peak; reached after ``warm_up``, then a cosine down to ``final_rate`` of it."""
    steps: int
    batch: int
    """Windows a step, each as long as the model's context."""
    weight_decay: float
    """Of matrices and tables (AdamW); norms and biases have none."""
    final_rate: float
    corpora: tuple[str, ...]
    """Names in `corpora.CORPORA`, mixed by their sizes."""
    facts_share: float
    """Share of a batch that are sentences of facts; 0 for encoders and for code."""
    warm_up: float = 0.05
    mask_share: float = 0.15
    """Of an encoder's tokens that are predicted."""
    initial_scale: float = 0.02
    """Standard deviation of the initial matrices of the layers (and of an encoder's head); tables always start at 0.02."""


# learning rate, steps, windows a step, weight decay, final rate
SCHEDULES = {
    "nano": (3e-3, 100, 16, 0.1, 0.1),
    "xs": (3e-3, 2500, 64, 0.1, 0.1),
    "s": (2e-3, 3000, 64, 0.1, 0.1),
    "m": (6e-4, 1200, 256, 0.4, 0.0),
    "b": (4e-4, 1200, 256, 0.4, 0.0),
}
# A masked token's neighbours have to be found by position alone, and until they are the loss is that of a bag of words. On the decoders' schedule, with
# matrices of 0.02, a small encoder is still there when it ends. Of 2500, 5000 and 10,000 steps on the same number of tokens 5000 did best (one or two seeds
# each); the moment differs between seeds, so that some want longer than this.
SMALL_ENCODERS = {"xs": (3e-3, 5000, 32, 0.1, 0.1), "s": (2e-3, 6000, 32, 0.1, 0.1)}
SMALL_MASK_SHARE = 0.3


def recipe_for(name: str) -> Recipe:
    """The recipe of ``dec-xs``, ``enc-s`` and so on, on the corpora with free terms."""
    family, size, text, _ = split_name(name)
    small = family == "enc" and size in SMALL_ENCODERS
    rate, steps, batch, decay, final = (SMALL_ENCODERS if small else SCHEDULES)[size]
    changes = {"mask_share": SMALL_MASK_SHARE, "initial_scale": SIZES[size][0] ** -0.5} if small else {}
    return Recipe(rate, steps, batch, decay, final, corpora=FREE[text], facts_share=0.2 if family == "dec" and text == "en" else 0.0, **changes)


@dataclass(frozen=True)
class TrainingText:
    """The streams of general text and of facts that a seed is trained on, and the order in which it reads them."""

    text: Int16[np.ndarray, " text"]
    facts: Int16[np.ndarray, " facts"]
    starts: Int32[np.ndarray, "steps batch"]
    """Where each window of each step begins in ``tokens``."""

    @cached_property
    def tokens(self) -> Int16[np.ndarray, " tokens"]:
        return np.concatenate([self.text, self.facts])


def training_text(recipe: Recipe, tokenizer: Tokenizer, length: int, seed: int) -> TrainingText:
    """Documents of all corpora shuffled together; as many passes over the facts as their share of the steps needs; the windows' order drawn from the seed.

    A window is ``length + 1`` tokens (its last one is only predicted).
    """
    rng = numpy_rng(seed, "training text")
    text = stream([document for name in recipe.corpora for document in documents(name).train], tokenizer, rng)
    fact_rows = round(recipe.facts_share * recipe.batch)
    facts = np.zeros(0, np.int16)
    if fact_rows:
        known = load_facts()
        four_passes = len(stream(sentences(known, 4, rng), tokenizer))
        passes = math.ceil(4 * (recipe.steps * fact_rows + 1) * length / four_passes)
        facts = stream(sentences(known, passes, rng), tokenizer)
    starts = [window_starts(len(text), length, recipe.steps * (recipe.batch - fact_rows), rng).reshape(recipe.steps, -1)]
    if fact_rows:
        starts.append(len(text) + window_starts(len(facts), length, recipe.steps * fact_rows, rng).reshape(recipe.steps, -1))
    return TrainingText(text, facts, np.concatenate(starts, axis=1).astype(np.int32))


def window_starts(tokens: int, length: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` beginnings of windows: pass after pass over the stream, each from another offset and in another order."""
    chosen: list[np.ndarray] = []
    while sum(map(len, chosen)) < n:
        offset = rng.integers(min(length, tokens - length))
        chosen.append(rng.permutation(np.arange(offset, tokens - length, length)))
    return np.concatenate(chosen)[:n]
