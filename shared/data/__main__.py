"""``python -m shared.data`` lists the data sets; ``python -m shared.data fetch NAME ...`` sees to it that they are on this machine."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
from collections.abc import Sequence

from shared.data.fetch import Dataset, DataUnavailable, look, obtain
from shared.data.registry import all_datasets, dataset


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.data", description="List the data sets, or fetch some of them.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="list all data sets: where each is, its size, its licence (the default)")
    fetch = commands.add_parser("fetch", help="download and pack what is not on this machine")
    fetch.add_argument("names", nargs="+", metavar="NAME")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "fetch":
            for one in [dataset(name) for name in chosen.names]:  # all names are checked before the first download
                print(f"{one.name}: {obtain_place(one)}")
        else:
            print(listing())
    except DataUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def obtain_place(one: Dataset) -> str:
    """Where the data set is, after fetching it if it was nowhere."""
    if one.bundled_with:
        return f"comes with {carrier(one)}"
    found = obtain(one)
    return f"{found.folder} ({found.source})"


def listing() -> str:
    """A table of all data sets."""
    rows = [("name", "size", "where", "licence")]
    rows += [(one.name, *place(one), one.licence) for one in sorted(all_datasets().values(), key=lambda one: one.name)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{name:{widths[0]}}  {size:>{widths[1]}}  {where:{widths[2]}}  {licence}" for name, size, where, licence in rows)


def place(one: Dataset) -> tuple[str, str]:
    """Size on disk and place of a data set, without touching the network."""
    if one.bundled_with:
        return "", f"comes with {carrier(one)}"
    search = look(one)
    if not search.found:
        state = "damaged" if search.damaged else "missing"
        return "", f"{state}; can be downloaded" if one.originals else f"{state}; see {one.home}"
    found = search.found
    size_bytes = sum(path.stat().st_size for path in found.folder.iterdir())
    return f"{size_bytes / 1e6:.1f} MB", f"{found.folder} ({found.source})"


def carrier(one: Dataset) -> str:
    """The package that carries a bundled data set, with its version."""
    version = platform.python_version() if one.bundled_with == "Python" else importlib.metadata.version(one.bundled_with)
    return f"{one.bundled_with} {version}"


if __name__ == "__main__":
    sys.exit(main())
