"""From per-seed values to an interval, and from an interval and a criterion to a verdict."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["reproduced", "contradicted", "inconclusive", "not run"]
BOOTSTRAP_FROM = 10  # BCa under-covers with fewer values
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Criterion:
    """The accepted set of a claim's mean: an interval of the real line, each end open or closed."""

    low: float
    high: float
    low_closed: bool
    high_closed: bool

    def accepts(self, low: float, high: float) -> bool:
        """Whether all of [low, high] is accepted."""
        above = low >= self.low if self.low_closed else low > self.low
        below = high <= self.high if self.high_closed else high < self.high
        return above and below

    def rejects(self, low: float, high: float) -> bool:
        """Whether nothing of [low, high] is accepted."""
        under = high < self.low if self.low_closed else high <= self.low
        over = low > self.high if self.high_closed else low >= self.high
        return under or over


def parse_criterion(text: str) -> Criterion:
    """Read ``> x``, ``>= x``, ``< x``, ``<= x`` or ``in [a, b]``; ValueError otherwise."""
    text = text.strip()
    if match := re.fullmatch(rf"in \[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]", text):
        low, high = map(float, match.groups())
        if low > high:
            raise ValueError(f"criterion {text!r}: the interval is empty")
        return Criterion(low, high, True, True)
    if match := re.fullmatch(rf"(>=|<=|>|<)\s*({_NUMBER})", text):
        sign, value = match.group(1), float(match.group(2))
        if sign.startswith(">"):
            return Criterion(value, math.inf, sign == ">=", True)
        return Criterion(-math.inf, value, True, sign == "<=")
    raise ValueError(f"criterion {text!r} is none of '> x', '>= x', '< x', '<= x', 'in [a, b]'")


def confidence_interval(values, method: Literal["t", "bootstrap"] = "t", level: float = 0.95) -> tuple[float, float, float]:
    """Mean and confidence limits of the mean over seeds.

    Parameters
    ----------
    values : one value per seed. Equal values (a deterministic quantity) have an interval of width zero; a single value has none, which is (-inf, inf).
    method : Student's t, or the BCa bootstrap (used from ten values on, else t).
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("a confidence interval needs a flat, non-empty list of finite values")
    mean = float(values.mean())
    if len(values) == 1:
        return mean, -math.inf, math.inf
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0]), float(values[0])
    if method == "bootstrap" and len(values) >= BOOTSTRAP_FROM:
        limits = stats.bootstrap((values,), np.mean, confidence_level=level, method="BCa", n_resamples=9999, rng=np.random.default_rng(0)).confidence_interval
        if math.isfinite(limits.low) and math.isfinite(limits.high):
            return mean, float(limits.low), float(limits.high)
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def prediction_interval(values, n_new: int, level: float = 0.95) -> tuple[float, float]:
    """Where the mean of ``n_new`` further values should lie, given ``values`` of the same normal population."""
    from scipy import stats

    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return -math.inf, math.inf
    scale = values.std(ddof=1) * math.sqrt(1 / len(values) + 1 / n_new)
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * scale)
    return float(values.mean()) - half, float(values.mean()) + half


def judge(low: float, high: float, criterion: Criterion) -> Verdict:
    """Hold an interval against a criterion."""
    if criterion.accepts(low, high):
        return "reproduced"
    return "contradicted" if criterion.rejects(low, high) else "inconclusive"
