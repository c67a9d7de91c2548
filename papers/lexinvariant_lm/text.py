"""English in an alphabet of thirty signs, windows of it, and the two prompts of symbol manipulation."""

from __future__ import annotations

import functools
import itertools
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from shared.data import stdlib_text, tinyshakespeare

ALPHABET = " .,'abcdefghijklmnopqrstuvwxyz"
V = len(ALPHABET)
SPACE, COMMA = (ALPHABET.index(sign) for sign in " ,")
LETTERS = np.array([i for i, sign in enumerate(ALPHABET) if sign.isalpha()])


def encode(text: str) -> Int[np.ndarray, " n"]:
    """Lower case; every sentence's end is a full stop; a run of whatever else is neither letter, comma nor apostrophe is one space."""
    text = re.sub(r"[?!;:]", ".", text.lower())
    text = re.sub(r"[^a-z.,']+", " ", text)
    return np.array([ALPHABET.index(sign) for sign in text], dtype=np.int8)


def decode(ids: Int[np.ndarray, " n"]) -> str:
    return "".join(ALPHABET[i] for i in ids)


@functools.cache
def corpus(name: str) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Training text and held-out text: "english" is Shakespeare, "code" the sources of the Python standard library."""
    if name == "english":
        text = tinyshakespeare.load()
        return encode(text.train), encode(text.valid)
    modules = stdlib_text.load("sources", valid_share=0.1, test_share=0.0)
    return encode("\n".join(modules.train)), encode("\n".join(modules.valid))


def random_windows(rng: np.random.Generator, ids: Int[np.ndarray, " n"], count: int, length: int) -> Int[np.ndarray, "count length"]:
    """Stretches of the text that begin anywhere."""
    return ids[rng.integers(len(ids) - length + 1, size=count)[:, None] + np.arange(length)].astype(np.int32)


def letter_frequencies(ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, " V"]:
    """How often each sign occurs, one count added to each."""
    counts = np.bincount(ids, minlength=V) + 1
    return counts / counts.sum()


def bigram_frequencies(ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "V V"]:
    """P(next sign | sign), [from, to], one count added to each pair."""
    counts = np.bincount(ids[:-1].astype(int) * V + ids[1:], minlength=V * V).reshape(V, V) + 1
    return counts / counts.sum(axis=1, keepdims=True)


class Prompts(NamedTuple):
    ids: Int[np.ndarray, "count length"]  # an answer of several symbols is written out behind the question
    places: Int[np.ndarray, " answer"]  # of the symbol before each answer symbol
    answers: Int[np.ndarray, "count answer"]


def lookup_prompts(rng: np.random.Generator, count: int, pairs: int) -> Prompts:
    """LookUp: ``"kq xb mz x"``, answer ``b``. Keys and values are different random letters; any of the keys is asked for."""
    prompts, answers = [], []
    for _ in range(count):
        keys, values = rng.permutation(LETTERS)[: 2 * pairs].reshape(2, pairs)
        asked = rng.integers(pairs)
        shown = np.stack([keys, values, np.full(pairs, SPACE)], axis=1).ravel()
        prompts.append(np.append(shown, keys[asked]))
        answers.append([values[asked]])
    return Prompts(np.array(prompts), np.array([3 * pairs]), np.array(answers))


def permutation_prompts(rng: np.random.Generator, count: int, examples: int, size: int = 3) -> Prompts:
    """Permutation: ``"abc cab, xyz zxy, kmo "``, answer ``okm``: one rearrangement of places, not the identity, of random letters."""
    rearrangements = [order for order in itertools.permutations(range(size)) if list(order) != sorted(order)]
    prompts, answers = [], []
    for _ in range(count):
        order = list(rearrangements[rng.integers(len(rearrangements))])
        parts = []
        for _ in range(examples + 1):
            plain = rng.choice(LETTERS, size, replace=False)
            parts += [plain, [SPACE], plain[order], [COMMA, SPACE]]
        prompts.append(np.concatenate(parts[:-1]))
        answers.append(plain[order])
    length = len(prompts[0])
    return Prompts(np.array(prompts), np.arange(length - size - 1, length - 1), np.array(answers))
