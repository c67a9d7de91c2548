"""Trials, their keys, and the cache that keeps what each of them returned.

A trial is one condition with one seed, or, for a run that batches its seeds in one program, one condition with its whole seed batch. Its key hashes all that
its numbers may depend on. A finished trial is one file, checksum first, written under a temporary name and renamed: a killed run leaves whole files or none.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.engine.errors import RequestError


@dataclass(frozen=True)
class Trial:
    """One unit of work and of caching."""

    slug: str
    config: dict[str, Any]
    condition: dict[str, Any]
    seeds: tuple[int, ...]
    device: str
    threads: int
    code: str

    @property
    def key(self) -> str:
        identity = [self.config, self.condition, self.seeds, self.device, self.threads, self.code]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def label(self) -> str:
        """Condition and seeds as a person reads them."""
        condition = " ".join(f"{k}={v}" for k, v in self.condition.items())
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"seeds {self.seeds[0]}..{self.seeds[-1]}"
        return f"{condition} {seeds}".strip()

    @property
    def stem(self) -> str:
        """Common to all results of this condition and these seeds, whatever code and config made them."""
        return hashlib.sha256(json.dumps([self.condition, self.seeds], sort_keys=True).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Result:
    """What a trial returned and cost when it ran."""

    rows: list[dict[str, Any]]
    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int


def list_trials(slug: str, config, conditions: Sequence[dict], seeds: Sequence[int], run: Callable, device: str, threads: int, code: str) -> list[Trial]:
    """All trials of a request, in the order in which their rows stand in a record."""
    from shared.engine.config import as_json

    values = as_json(config)
    batches = [(seed,) for seed in seeds] if getattr(run, "per_seed", False) else [tuple(seeds)]
    return [Trial(slug, values, condition, batch, device, threads, code) for condition in conditions for batch in batches]


def check_conditions(conditions: Any) -> list[dict[str, Any]]:
    """Conditions are distinct flat dicts of plain scalars; RequestError otherwise."""
    if not isinstance(conditions, list) or not conditions:
        raise RequestError("conditions(config) must return a non-empty list of dicts")
    seen = set()
    for condition in conditions:
        if not isinstance(condition, dict) or not all(isinstance(k, str) and isinstance(v, (str, int, float, bool)) for k, v in condition.items()):
            raise RequestError(f"conditions(config): {condition!r} is not a flat dict of plain scalars")
        if "seed" in condition:
            raise RequestError("conditions(config): 'seed' is the runner's own column")
        identity = json.dumps(condition, sort_keys=True)
        if identity in seen:
            raise RequestError(f"conditions(config): {condition!r} is listed twice")
        seen.add(identity)
    return conditions


def check_rows(rows: Any, trial: Trial) -> list[dict[str, Any]]:
    """Rows as plain values and arrays, one per seed; ValueError names what is wrong."""
    if not isinstance(rows, list) or len(rows) != len(trial.seeds):
        raise ValueError(f"run() must return a list of {len(trial.seeds)} rows, one per seed")
    return [_check_row(row, trial) for row in rows]


def _check_row(row: Any, trial: Trial) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"a row must be a dict, got {type(row).__name__}")
    checked = {}
    for name, value in row.items():
        if name in trial.condition or name == "seed":
            raise ValueError(f"metric {name!r} has the name of a condition or of the seed column")
        if isinstance(value, np.generic) or (hasattr(value, "ndim") and value.ndim == 0):
            value = np.asarray(value).item()
        if isinstance(value, (str, bool, int)):
            checked[name] = value
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} is {value}")
            checked[name] = value
        else:
            array = np.asarray(value)
            if array.dtype.kind not in "biufU":
                raise ValueError(f"metric {name!r} is a {type(value).__name__}, not a number, a string or an array of them")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"metric {name!r} holds a value that is not finite")
            checked[name] = array
    return checked


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return {"npy": base64.b64encode(buffer.getvalue()).decode()}
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return np.load(io.BytesIO(base64.b64decode(value["npy"])), allow_pickle=False)
    return value


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or nothing; RequestError says why it cannot be written."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        remedy = "make room or get permission there, or set REPRO_RUNS_DIR to a folder of your own"
        raise RequestError(f"cannot write {path}: {error.strerror or error}; {remedy}") from None


class Store:
    """The finished trials of one paper."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, trial: Trial) -> Path:
        return self.folder / f"{trial.stem}-{trial.key}.json"

    def write(self, trial: Trial, result: Result) -> None:
        content = {
            "identity": {name: getattr(trial, name) for name in ("config", "condition", "seeds", "device", "threads", "code")},
            "cost": {"wall_seconds": result.wall_seconds, "cpu_seconds": result.cpu_seconds, "peak_rss_bytes": result.peak_rss_bytes},
            "rows": [{name: _encode(value) for name, value in row.items()} for row in result.rows],
        }
        body = json.dumps(content).encode()
        write_atomically(self.path(trial), hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def read(self, trial: Trial) -> Result | None:
        """The trial's result, or None when there is none or its file is damaged."""
        content = _read(self.path(trial))
        if content is None:
            return None
        return Result(rows=[{name: _decode(value) for name, value in row.items()} for row in content["rows"]], **content["cost"])

    def why_to_run(self, trial: Trial) -> str:
        """Why this trial, which is not in the cache, has to run."""
        if self.path(trial).exists():
            return "its file is damaged"
        others = [content["identity"] for path in self.folder.glob(f"{trial.stem}-*.json") if (content := _read(path))]
        if not others:
            return "never run"
        now = {"config": trial.config, "device": trial.device, "threads": trial.threads, "code": trial.code}
        changes = [[name for name, value in now.items() if other[name] != value] for other in others]
        return f"{' and '.join(min(changes, key=len))} changed since it ran"


def _read(path: Path) -> dict | None:
    try:
        checksum, body = path.read_bytes().split(b"\n", 1)
    except (OSError, ValueError):
        return None
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return None
    return json.loads(body)
