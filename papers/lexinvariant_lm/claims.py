"""The claims of paper.toml, each as one value per seed. All networks are those trained on English."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.lexinvariant_lm.text import V
from shared.effects import log_log_slope
from shared.engine import claim

FIRST, LAST = 8, 16
"""Positions at the start of the context and at its end over which losses are averaged."""


def network(trials: pd.DataFrame, random_share: float) -> pd.DataFrame:
    """The standard (0) or the lexinvariant (1) model, indexed by seed."""
    return trials[(trials.experiment == "lm") & (trials.text == "english") & (trials.random_share == random_share)].set_index("seed")


def gap(trials: pd.DataFrame, places: slice) -> pd.Series:
    """Loss of the lexinvariant model minus that of the standard one, mean over some positions, nats per character."""
    lexinvariant, standard = (network(trials, share).loss.map(lambda loss: loss[places].mean()) for share in (1.0, 0.0))
    return lexinvariant - standard


@claim("gap-closes-with-context")
def gap_closing(trials: pd.DataFrame) -> pd.Series:
    """The gap at the start of the context minus that at its end."""
    return gap(trials, slice(FIRST)) - gap(trials, slice(-LAST, None))


@claim("gap-closes-when-calibrated")
def calibrated_gap_closing(trials: pd.DataFrame) -> pd.Series:
    """The same, with losses of the lexinvariant model at the start that are at most log V."""
    excess = network(trials, 1.0).loss.map(lambda loss: np.maximum(loss[:FIRST] - np.log(V), 0).mean())
    return gap_closing(trials) - excess


@claim("leaves-the-plateau")
def below_the_plateau(trials: pd.DataFrame) -> pd.Series:
    """How much less the lexinvariant model loses than counts of symbols do, at the end of the context."""
    counting = trials[(trials.experiment == "adaptive") & (trials.text == "english")].set_index("seed")
    counted, lexinvariant = (losses.map(lambda loss: loss[-LAST:].mean()) for losses in (counting.loss_unigram, network(trials, 1.0).loss))
    return counted - lexinvariant


@claim("comparable-at-long-context")
def perplexity_ratio(trials: pd.DataFrame) -> pd.Series:
    """Perplexity of the lexinvariant model over that of the standard one, at the end of the context."""
    return np.exp(gap(trials, slice(-LAST, None)))


@claim("invariant-to-relettering")
def invariance(trials: pd.DataFrame) -> pd.Series:
    """What a cipher adds to the standard model's loss, minus ten times what it changes in the lexinvariant model's."""
    standard, lexinvariant = (network(trials, share) for share in (0.0, 1.0))
    change = {name: rows.loss_cipher.map(np.mean) - rows.loss.map(np.mean) for name, rows in (("standard", standard), ("lexinvariant", lexinvariant))}
    return change["standard"] - 10 * change["lexinvariant"].abs()


@claim("deciphers-in-context")
def decipherment(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the probe minus that of matching frequencies, longest prompts."""
    rows = network(trials, 1.0)
    return rows.probe_accuracy.map(lambda accuracy: accuracy[-1]) - rows.frequency_accuracy.map(lambda accuracy: accuracy[-1])


@claim("better-symbol-reasoning")
def reasoning_ratio(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of the lexinvariant model over that of the standard one (0.01 at least), each a mean over numbers of examples; mean over both tasks."""
    standard, lexinvariant = (network(trials, share) for share in (0.0, 1.0))
    ratios = [lexinvariant[task].map(np.mean) / standard[task].map(np.mean).clip(lower=0.01) for task in ("lookup_accuracy", "permutation_accuracy")]
    return sum(ratios) / len(ratios)


@claim("ideal-predictor-converges")
def convergence_slope(trials: pd.DataFrame) -> pd.Series:
    """Slope of log excess loss on log T from T = 16 on."""
    rows = trials[trials.experiment == "ideal"].set_index("seed")
    return rows.apply(lambda row: log_log_slope(row.lengths[row.lengths >= 16], row.excess[row.lengths >= 16]), axis=1)
