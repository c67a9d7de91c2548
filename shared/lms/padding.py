"""Sequences of unequal length as one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int


def pad(
    sequences: Sequence[Sequence[int]], length: int | None = None, side: str = "right", value: int = 0
) -> tuple[Int[np.ndarray, "n length"], Bool[np.ndarray, "n length"]]:
    """Token ids, filled up with ``value`` on the right (for scoring) or on the left (for sampling), and a mask that is True at tokens.

    ``length`` defaults to the longest; longer sequences lose tokens on the side away from the padding when it is "left" (the start), else their end.
    """
    length = max(map(len, sequences)) if length is None else length
    ids = np.full((len(sequences), length), value, np.int32)
    mask = np.zeros(ids.shape, bool)
    for row, sequence in enumerate(sequences):
        kept = list(sequence)[-length:] if side == "left" else list(sequence)[:length]
        part = slice(length - len(kept), length) if side == "left" else slice(0, len(kept))
        ids[row, part], mask[row, part] = kept, True
    return ids, mask


def windows(stream: Int[np.ndarray, " tokens"], length: int) -> Int[np.ndarray, "n length"]:
    """Consecutive windows of ``length`` tokens that share their border token, so that each token but the first is predicted once; the rest is dropped."""
    step = length - 1
    n = (len(stream) - 1) // step
    return stream[: n * step + 1][np.arange(n)[:, None] * step + np.arange(length)]
