"""The n-gram model that a language model must beat: Witten and Bell's interpolation down to the uniform distribution, with the same tokens.

    p_n(w | h) = (c(h w) + t(h) p_{n-1}(w | h')) / (c(h) + t(h)),      t(h) = how many different tokens followed h,  h' = h without its first token

There is nothing to fit. Contexts that were never seen leave the lower order's probability.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


class NGrams:
    """Counts of orders 1 to ``order`` in a stream of tokens."""

    def __init__(self, tokens: Int[np.ndarray, " n"], order: int, vocab: int):
        self.order, self.vocab = order, vocab
        self.counts = []
        """For each order n: the sorted codes of seen n-grams with their counts, and of their contexts with totals and numbers of followers."""
        for n in range(1, order + 1):
            grams, count = np.unique(self.codes(tokens, n), return_counts=True)
            contexts, first, followers = np.unique(grams // vocab, return_index=True, return_counts=True)
            self.counts.append((grams, count, contexts, np.add.reduceat(count, first), followers))

    def codes(self, tokens: Int[np.ndarray, " n"], n: int) -> Int[np.ndarray, " grams"]:
        """Each run of n tokens as one number in base ``vocab``."""
        code = np.zeros(len(tokens) - n + 1, np.int64)
        for i in range(n):
            code = code * self.vocab + tokens[i : len(tokens) - n + 1 + i].astype(np.int64)
        return code

    def log_probs(self, tokens: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """log p of every token given the ``order - 1`` before it (fewer at the start)."""
        p = np.full(len(tokens), 1 / self.vocab)
        for n, (grams, count, contexts, total, followers) in enumerate(self.counts, start=1):
            code = self.codes(tokens, n)
            seen, of_context, variety = (
                look_up(grams, count, code),
                look_up(contexts, total, code // self.vocab),
                look_up(contexts, followers, code // self.vocab),
            )
            lower = p[n - 1 :]
            p[n - 1 :] = np.where(of_context > 0, (seen + variety * lower) / np.maximum(of_context + variety, 1), lower)
        return np.log(p)


def look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """values[i] where keys[i] is the wanted one, 0 where there is none; ``keys`` are sorted."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
