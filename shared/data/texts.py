"""The shapes in which text data sets are handed out, and the packed form of a list of records."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64


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


@dataclass(frozen=True)
class LabelledDocuments:
    """Documents with class labels in the data set's official training and test part."""

    x_train: list[str]
    y_train: Int64[np.ndarray, " train"]
    x_test: list[str]
    y_test: Int64[np.ndarray, " test"]
    classes: tuple[str, ...]
    source: str
    """Which copy was read (see `shared.data.fetch.Found`)."""


def read_records(path: Path) -> list[dict]:
    """The records of a jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_records(path: Path, records: Iterable[dict]) -> None:
    """Write records as jsonl.gz; equal records give an equal file."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode("utf-8"), mtime=0))
