"""Substitution ciphers: every chosen symbol of a text is written as another one, the same one throughout.

cipher = random_cipher(numpy_rng(seed, "cipher"), vocab=30, symbols=letters)     # cipher[plain symbol] = cipher symbol
secret = encipher(cipher, ids)
ids = encipher(inverse(cipher), secret)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def random_cipher(rng: np.random.Generator, vocab: int, symbols: Sequence[int] | None = None) -> Int[np.ndarray, " vocab"]:
    """A uniformly random permutation of ``symbols`` (all of them unless said); the other symbols of the vocabulary stay."""
    cipher = np.arange(vocab)
    moved = cipher.copy() if symbols is None else np.asarray(symbols)
    cipher[moved] = rng.permutation(moved)
    return cipher


def encipher(cipher: Int[np.ndarray, "*batch vocab"], ids: Int[np.ndarray, "*batch length"]) -> Int[np.ndarray, "*batch length"]:
    """The text under the cipher: one cipher for all texts, or one for each."""
    return np.take_along_axis(np.broadcast_to(cipher, (*ids.shape[:-1], cipher.shape[-1])), ids, axis=-1)


def inverse(cipher: Int[np.ndarray, "*batch vocab"]) -> Int[np.ndarray, "*batch vocab"]:
    """The cipher that reads what this one wrote."""
    return np.argsort(cipher, axis=-1)
