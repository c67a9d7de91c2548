"""Deterministic choices of examples: the first of each class, stratified splits, and splits by the content of a document."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64


def first_of_each_class(labels: Int64[np.ndarray, " n"], per_class: int | None) -> Int64[np.ndarray, " chosen"]:
    """Indices, ascending, of the first ``per_class`` examples of every class (of all examples for None)."""
    if per_class is None:
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    if not 1 <= per_class <= counts.min():
        raise ValueError(f"so many examples of each class cannot be had: {per_class} (choose 1..{counts.min()})")
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in classes]))


def stratified_split(
    labels: Int64[np.ndarray, " n"], test_share: float, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    """Indices for training and test, ascending, drawn at random with the same share (rounded) of every class in the test part."""
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, got {test_share}")
    shuffled = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    test = np.sort(np.concatenate([members[: round(test_share * len(members))] for members in shuffled]))
    return np.setdiff1d(np.arange(len(labels)), test), test


def split_by_content(documents: Sequence[str], valid_share: float, test_share: float) -> tuple[list[str], list[str], list[str]]:
    """Documents for training, validation and test, in the order given.

    The sha256 of a document alone decides its part: equal documents never lie in different parts, and a document that is added moves no other.
    """
    if valid_share < 0 or test_share < 0 or valid_share + test_share > 1:
        raise ValueError(f"valid_share and test_share must be 0 or more and sum to at most 1, got {valid_share} and {test_share}")
    train, valid, test = [], [], []
    for document in documents:
        place = int.from_bytes(hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64  # uniform in [0, 1)
        part = test if place < test_share else valid if place < test_share + valid_share else train
        part.append(document)
    return train, valid, test
