"""What a paper's folder hands to the engine: a run, and one function per claim."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class NotRun(Exception):
    """Raised by a claim function whose quantity was not measured at this scale; the message is the reason that the record gives."""


def per_seed(run: Callable) -> Callable:
    """Mark a run written for one seed, ``run(config, condition, seed, device) -> row``, to be spread over processes.

    The result has the common form ``run(config, condition, seeds, device) -> rows``.
    """

    @functools.wraps(run)
    def over_seeds(config, condition, seeds, device):
        return [run(config, condition, seed, device) for seed in seeds]

    over_seeds.per_seed = True
    return over_seeds


def claim(claim_id: str) -> Callable[[Callable], Callable]:
    """Tie a function ``trials -> Series indexed by seed`` to the claim of that id in paper.toml."""

    def mark(function: Callable) -> Callable:
        function.claim_id = claim_id
        return function

    return mark


def chosen(trials: pd.DataFrame, **condition) -> pd.DataFrame:
    """The rows of a condition, indexed by seed; NotRun when this run has none, for a claim that needs them."""
    rows = trials
    for name, value in condition.items():
        rows = rows[rows[name] == value] if name in rows else rows[:0]
    if rows.empty:
        raise NotRun(f"no trials with {condition}")
    return rows.set_index("seed").sort_index()
