"""Where a data set is found, and how it gets there.

A data set is looked for in ``$REPRO_DATA_DIR/<name>/``, then in the user's cache (``$REPRO_CACHE_DIR``, or the cache folder of the platform). If neither has
it, its original files are downloaded from their home, checked, and packed into the cache. ``REPRO_OFFLINE=1`` forbids the last step. Whatever is read is
checked first: files of ``$REPRO_DATA_DIR`` against the sha256 in the registry, packed files against the sha256 noted in ``packed.json`` when they were packed.
A server that is silent for ``REPRO_TIMEOUT_SECONDS`` (30) is given up.

    found = obtain(DATASET)
    np.load(found.folder / "mnist_train.npz")

A data set that cannot be had raises `DataUnavailable`, whose message says in one paragraph what is wrong, where the data comes from and what to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PACKED_NOTE = "packed.json"


class DataUnavailable(Exception):
    """A data set cannot be had; the message is one paragraph for the user: what is wrong, the URL, the remedy."""


@dataclass(frozen=True)
class Original:
    """One file as its authors publish it."""

    file: str
    checksum: str
    """``md5:...`` or ``sha256:...``"""
    urls: tuple[str, ...]
    """Where it can be downloaded, tried in order."""


@dataclass(frozen=True)
class Dataset:
    """A data set of the registry."""

    name: str
    """Name of its module and of its folder."""
    title: str
    home: str
    """Page that describes it."""
    licence: str
    citation: str
    mirror: Mapping[str, str] = field(default_factory=dict)
    """Files looked for in ``$REPRO_DATA_DIR/<name>/``, with their sha256."""
    originals: tuple[Original, ...] = ()
    """What is downloaded when the data set is nowhere; empty when there is no download that a program may make."""
    pack: Callable[[Mapping[str, Path], Path], None] | None = None
    """``pack(originals, folder)`` reads the downloaded files (by name) and writes the packed ones into ``folder``."""
    layout: int = 1
    """Raised when ``pack`` changes what it writes: older packed folders are then made anew."""
    bundled_with: str = ""
    """The installed package that carries the data; such a set is always there."""


@dataclass(frozen=True)
class Found:
    """A data set on this machine, checked."""

    folder: Path
    source: str
    """``mirror``: the files named in the registry; ``original``: packed here from the original download."""


@dataclass(frozen=True)
class Search:
    """What a look at the places of a data set gave."""

    found: Found | None
    missing: list[str]
    """One clause for each place, before the find, that does not have it."""
    damaged: list[str]
    """One clause for each file there that should be right and is not."""


def obtain(dataset: Dataset) -> Found:
    """The folder with the data set's checked files, downloaded and packed if need be; raises `DataUnavailable`."""
    search = look(dataset)
    if search.damaged:
        warnings.warn(f"{dataset.name}: {'; '.join(search.damaged)}", stacklevel=2)
    if search.found:
        return search.found
    if not dataset.originals or (offline() and not placed_by_user(dataset)):
        raise unavailable(dataset, search.missing + search.damaged)
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{dataset.name}.lock") as alone:
            search = look(dataset)  # another process may have packed it meanwhile
            if search.found:
                return search.found
            if alone:
                for left_by_killed_process in cache.glob(f"{dataset.name}.*.partial"):
                    shutil.rmtree(left_by_killed_process, ignore_errors=True)
            return download(dataset, cache, search.missing + search.damaged)
    except OSError as error:
        trouble = f"the cache folder {cache} cannot be written ({error}): name another one in REPRO_CACHE_DIR"
        raise unavailable(dataset, [*search.missing, *search.damaged, trouble]) from error


def look(dataset: Dataset) -> Search:
    """Search this machine for the data set. Touches no network."""
    missing, damaged = [], []
    for folder in folders(dataset):
        source, checksums = contents(dataset, folder)
        absent = [file for file in checksums if not (folder / file).exists()]
        wrong = [problem for file, sha256 in checksums.items() if file not in absent and (problem := damage(folder / file, sha256))]
        if checksums and not absent and not wrong:
            return Search(Found(folder, source), missing, damaged)
        damaged += wrong
        if absent or not checksums:
            missing.append(f"{folder} lacks {', '.join(absent) or 'a usable copy'}" if folder.exists() else f"{folder} does not exist")
    return Search(None, missing, damaged)


def folders(dataset: Dataset) -> list[Path]:
    """The places where the data set may lie, in the order of search."""
    mirror = os.environ.get("REPRO_DATA_DIR")
    return [Path(root).expanduser() / dataset.name for root in (mirror, cache_folder()) if root]


def cache_folder() -> Path:
    """``$REPRO_CACHE_DIR``, or the platform's cache folder for this project."""
    chosen = os.environ.get("REPRO_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("replication"))


def originals_folder(dataset: Dataset) -> Path:
    """Where a user without a network may put the original files."""
    return cache_folder() / f"{dataset.name}.original"


def placed_by_user(dataset: Dataset) -> set[str]:
    """The original files that were put there."""
    return {original.file for original in dataset.originals if (originals_folder(dataset) / original.file).exists()}


def contents(dataset: Dataset, folder: Path) -> tuple[str, dict[str, str]]:
    """What the folder should hold: where it came from, and the sha256 of each file (empty if the folder is not a copy that we know)."""
    try:
        note = json.loads((folder / PACKED_NOTE).read_text())
        if (note["layout"], note["originals"]) == (dataset.layout, [original.checksum for original in dataset.originals]):
            return "original", dict(note["files"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return "original", {}
    return "mirror", dict(dataset.mirror)


def damage(path: Path, sha256: str) -> str:
    """What is wrong with the file; empty if nothing."""
    try:
        status = path.stat()
        actual = file_sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return "" if actual == sha256 else f"{path} is damaged (sha256 {actual[:12]}... instead of {sha256[:12]}...)"


@lru_cache(maxsize=256)
def file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """The file's sha256, computed once per process for one state (size, time of change) of the file."""
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(dataset: Dataset, cache: Path, problems: list[str]) -> Found:
    """Fetch the original files, pack them, and let the packed folder appear in the cache by one rename."""
    final = cache / dataset.name
    with tempfile.TemporaryDirectory(dir=cache, prefix=f"{dataset.name}.", suffix=".partial", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch) / "packed"
        folder.mkdir()
        dataset.pack({original.file: retrieve(dataset, original, Path(scratch), problems) for original in dataset.originals}, folder)
        write_note(dataset, folder)
        try:
            os.replace(folder, final)
        except OSError:  # a folder is there: damaged, or packed meanwhile by a process that could not be locked out
            winner = look(dataset).found
            if winner:
                return winner
            os.replace(final, Path(scratch) / "replaced")
            os.replace(folder, final)
    return Found(final, "original")


def write_note(dataset: Dataset, folder: Path) -> None:
    """Note beside the packed files what they were made from and their sha256; written last."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    note = {"layout": dataset.layout, "originals": [original.checksum for original in dataset.originals], "files": files}
    (folder / PACKED_NOTE).write_text(json.dumps(note, indent=1) + "\n")


def retrieve(dataset: Dataset, original: Original, folder: Path, problems: list[str]) -> Path:
    """One original file, checked: the one that the user put in its place, else downloaded into ``folder``."""
    import pooch
    import requests

    path = originals_folder(dataset) / original.file
    algorithm, _, checksum = original.checksum.partition(":")
    if path.is_file():
        if pooch.file_hash(str(path), alg=algorithm) == checksum:
            return path
        problems = [*problems, f"{path} has a wrong checksum (not {original.checksum})"]
    if offline():
        raise unavailable(dataset, problems)
    print(f"{dataset.name}: {'; '.join(problems)}; fetching {original.urls[0]}", file=sys.stderr)
    pooch.get_logger().setLevel("WARNING")  # it would say so again
    timeout_seconds = float(os.environ.get("REPRO_TIMEOUT_SECONDS", "30"))
    failures = []
    for url in original.urls:
        try:
            timeout = (min(timeout_seconds, 10), timeout_seconds)  # to connect; for a silence afterwards
            downloader = pooch.HTTPDownloader(timeout=timeout, progressbar=sys.stderr.isatty())
            return Path(pooch.retrieve(url, original.checksum, fname=original.file, path=folder, downloader=downloader))
        except (requests.RequestException, ValueError) as error:  # pooch raises ValueError for a wrong checksum
            failures.append(f"downloading {url} failed: {reason(error, timeout_seconds)}")
    raise unavailable(dataset, [*problems, *failures])


def reason(error: Exception, timeout_seconds: float) -> str:
    """A failed download in one clause."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):  # a silence in mid-file comes as a plain ConnectionError
        return f"the server was silent for {timeout_seconds:g} seconds"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate was refused"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut before the end of the file"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server, or it was cut"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "what came has a wrong checksum (the file was changed or replaced on the way), so it was thrown away"
    return " ".join(str(error).split())


def unavailable(dataset: Dataset, problems: list[str]) -> DataUnavailable:
    """The error that tells the user what is missing, where it comes from and what to do."""
    mirror = os.environ.get("REPRO_DATA_DIR")
    forbidden = ["REPRO_OFFLINE forbids downloading it"] if offline() and dataset.originals else []
    text = f"Data set {dataset.name} ({dataset.title}) is not available: {'; '.join([*problems, *forbidden])}. "
    if dataset.originals:
        text += f"It comes from {', '.join(original.urls[0] for original in dataset.originals)}, described at {dataset.home}. "
        text += "Unset REPRO_OFFLINE to download it" if offline() else "Try again when the server can be reached"
        text += f", or put what can be had there into {originals_folder(dataset)}"
    else:
        text += f"Its home is {dataset.home}, from where a program may not download it: get it there"
    if dataset.mirror:
        place = Path(mirror).expanduser() / dataset.name if mirror else f"<folder>/{dataset.name} and set REPRO_DATA_DIR=<folder>"
        text += f", or put {', '.join(dataset.mirror)} of a packed copy into {place}"
    return DataUnavailable(text + ".")


def offline() -> bool:
    """Whether the user forbids the network (``REPRO_OFFLINE=1``)."""
    return os.environ.get("REPRO_OFFLINE", "") not in ("", "0")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path``, so that of several processes one downloads and the others wait for it; a killed process lets go of it.

    Gives False where files cannot be locked (Windows, some network drives). Nothing is lost there but a second download.
    """
    alone = False
    with open(path, "w") as file:
        if fcntl:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
                alone = True
        yield alone
