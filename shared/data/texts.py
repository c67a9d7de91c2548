"""The shapes in which text data sets are handed out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunningText:
    """One long text in parts that follow each other; a part that the data set does not have is empty."""

    train: str
    valid: str
    test: str
    source: str
    """Which copy was read (see `shared.data.fetch.Found`), or the installed package and version that carries it."""


@dataclass(frozen=True)
class Documents:
    """Separate documents, in a fixed order; a part that the data set does not have is empty."""

    train: list[str]
    valid: list[str]
    test: list[str]
    source: str
    """Which copy was read (see `shared.data.fetch.Found`), or the installed package and version that carries it."""
