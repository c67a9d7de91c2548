"""From recorded trials to the claims' metrics, one value per seed."""

from __future__ import annotations

import pandas as pd

from shared.engine import NotRun, claim

REPORTED_ACCURACY = {"cifar10": 0.8054, "mnist": 0.9954, "digits": 0.9954}
"""The paper's NoProp-DT accuracy on the data set, or on the nearest one that it has."""


def main_dataset(trials: pd.DataFrame) -> str:
    """CIFAR-10 where it was run, else digits."""
    return next((dataset for dataset in ("cifar10", "digits") if (trials["dataset"] == dataset).any()), "mnist")


def main_embedding(trials: pd.DataFrame) -> str:
    """The paper's main table has prototypes; 8x8 digits stand in with one-hot labels."""
    return "one-hot" if main_dataset(trials) == "digits" else "prototype"


def accuracy(trials: pd.DataFrame, method: str, embedding: str) -> pd.Series:
    """Test accuracy of each seed on the main data set."""
    rows = trials[(trials["part"] == "accuracy") & (trials["dataset"] == main_dataset(trials))]
    rows = rows[(rows["method"] == method) & (rows["embedding"] == embedding)]
    if rows.empty:
        raise NotRun(f"{method} with {embedding} embeddings was not trained")
    return rows.set_index("seed")["accuracy"]


@claim("dt-matches-backprop")
def discrete_minus_backprop(trials: pd.DataFrame) -> pd.Series:
    embedding = main_embedding(trials)
    return accuracy(trials, "noprop-dt", embedding) - accuracy(trials, "backprop", embedding)


@claim("dt-absolute-accuracy")
def share_of_reported_accuracy(trials: pd.DataFrame) -> pd.Series:
    return accuracy(trials, "noprop-dt", main_embedding(trials)) / REPORTED_ACCURACY[main_dataset(trials)]


@claim("dt-beats-ct")
def discrete_minus_continuous(trials: pd.DataFrame) -> pd.Series:
    return accuracy(trials, "noprop-dt", "one-hot") - accuracy(trials, "noprop-ct", "one-hot")


@claim("less-memory")
def memory_ratio(trials: pd.DataFrame) -> pd.Series:
    """Bytes kept for the backward pass of one block over those of the unrolled network; parameters are in neither."""
    saved = trials[(trials["part"] == "cost") & (trials["size"] == "profile")].pivot(index="seed", columns="method", values="saved_bytes")
    return saved["noprop-dt"] / saved["backprop"]


@claim("independent-blocks")
def order_difference(trials: pd.DataFrame) -> pd.Series:
    rows = trials[(trials["part"] == "order") & (trials["dataset"] == main_dataset(trials))]
    return rows.set_index("seed")["order_difference"]
