"""All data sets by name, for listings and checks. A paper imports the module of its data set instead."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path

from shared.data.fetch import Dataset, DataUnavailable


def names() -> list[str]:
    """Names of the modules that describe a data set (those with a ``DATASET``), in alphabetical order."""
    return sorted(all_datasets())


def all_datasets() -> dict[str, Dataset]:
    """Every data set of this package by name."""
    modules = [
        importlib.import_module(f"shared.data.{module.name}") for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name != "__main__"
    ]
    return {module.DATASET.name: module.DATASET for module in modules if hasattr(module, "DATASET")}


def dataset(name: str) -> Dataset:
    """The data set of that name; raises `DataUnavailable` with the nearest names for an unknown one."""
    known = all_datasets()
    if name not in known:
        near = difflib.get_close_matches(name, known) or sorted(known)
        raise DataUnavailable(f"No data set is called {name!r}. Did you mean {' or '.join(near)}? `python -m shared.data` lists them all.")
    return known[name]
