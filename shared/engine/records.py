"""The record of a run: its trials, its claims with their verdicts, and where it all came from."""

from __future__ import annotations

import datetime
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared.engine.codehash import sources
from shared.engine.contract import NotRun
from shared.engine.errors import RequestError
from shared.engine.registry import ROOT, Paper
from shared.engine.statistics import confidence_interval, judge, parse_criterion
from shared.engine.trials import Result, Trial, write_atomically

PACKAGES = ("torch", "jax", "jaxlib", "optax", "equinox", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib")


@dataclass(frozen=True)
class Record:
    """A run, as figures and reports read it.

    ``trials`` has one row per condition and seed: condition columns, ``seed``, metric columns. A curve is a cell that holds an array; a metric that a condition
    does not have is NaN.
    """

    paper: str
    profile: str
    claims: list[dict[str, Any]]
    trials: pd.DataFrame
    provenance: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read ``<profile>.json`` with the arrays of the ``.npz`` beside it; RequestError when either is missing or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = content["trials"]
            arrays = path.with_suffix(".npz")
            if content["arrays"]:
                with np.load(arrays, allow_pickle=False) as stored:
                    for name in stored.files:
                        row, metric = name.split(":", 1)
                        rows[int(row)][metric] = stored[name]
            return cls(content["paper"], content["profile"], content["claims"], pd.DataFrame(rows), content["provenance"])
        except FileNotFoundError as error:
            raise RequestError(f"no record at {error.filename}; make one by a run") from None
        except (json.JSONDecodeError, KeyError, ValueError, OSError) as error:
            raise RequestError(f"{path} is damaged ({type(error).__name__}: {error}); make it anew by a run") from None

    def save(self, path: Path) -> None:
        """Write the JSON and, where rows hold arrays, the npz beside it."""
        rows, arrays = [], {}
        for index, row in enumerate(self.trials.to_dict("records")):
            plain = {}
            for name, value in row.items():
                if isinstance(value, np.ndarray):
                    arrays[f"{index}:{name}"] = value
                elif not (isinstance(value, float) and math.isnan(value)):
                    plain[name] = value.item() if isinstance(value, np.generic) else value
            rows.append(plain)
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            write_atomically(path.with_suffix(".npz"), buffer.getvalue())
        else:
            path.with_suffix(".npz").unlink(missing_ok=True)
        content = {
            "paper": self.paper,
            "profile": self.profile,
            "claims": self.claims,
            "provenance": self.provenance,
            "arrays": len(arrays),
            "trials": rows,
        }
        write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    @property
    def seeds(self) -> list[int]:
        return self.provenance["seeds"]

    @property
    def config(self) -> dict[str, Any]:
        return self.provenance["config"]

    def claim(self, claim_id: str) -> dict[str, Any]:
        """One claim with its interval and verdict."""
        return next(claim for claim in self.claims if claim["id"] == claim_id)

    def select(self, **condition) -> pd.DataFrame:
        """The rows of all conditions that have these values."""
        chosen = self.trials
        for name, value in condition.items():
            chosen = chosen[chosen[name] == value]
        return chosen

    def curve(self, name: str, **condition) -> np.ndarray:
        """A metric over seeds, shape (seeds, ...); ValueError when the condition is not in the record or fits several."""
        chosen = self.select(**condition)
        if chosen.empty or chosen["seed"].duplicated().any():
            raise ValueError(f"{condition} fits {'no' if chosen.empty else 'more than one'} condition of the record of {self.paper}")
        return np.stack([np.asarray(value) for value in chosen.sort_values("seed")[name]])


def tidy(trials: Sequence[Trial], results: dict[str, Result]) -> pd.DataFrame:
    """One row per condition and seed of the trials that have a result."""
    rows = []
    for trial in trials:
        if trial.key in results:
            rows += [{**trial.condition, "seed": seed, **row} for seed, row in zip(trial.seeds, results[trial.key].rows, strict=True)]
    return pd.DataFrame(rows)


def claim_functions(paper: Paper, module) -> dict[str, Callable]:
    """The functions of claims.py by claim id; RequestError unless they match paper.toml one to one."""
    functions: dict[str, Callable] = {}
    for value in vars(module).values():
        claim_id = getattr(value, "claim_id", None)
        if claim_id is None:
            continue
        if claim_id in functions and functions[claim_id] is not value:
            raise RequestError(f"papers/{paper.slug}/claims.py: two functions for claim {claim_id!r}")
        functions[claim_id] = value
    wanted = {claim.id for claim in paper.claims}
    faults = [f"claim {i!r} of paper.toml has no function in claims.py" for i in sorted(wanted - set(functions))]
    faults += [f"claims.py has a function for {i!r}, which is not a claim of paper.toml" for i in sorted(set(functions) - wanted)]
    if faults:
        raise RequestError("\n".join(f"papers/{paper.slug}: {fault}" for fault in faults))
    return functions


def evaluate_claims(paper: Paper, functions: dict[str, Callable], trials: pd.DataFrame, profile: str, complete: bool) -> list[dict[str, Any]]:
    """Every claim with its per-seed values, interval and verdict. ``complete`` is False when some trials have no result: a claim that needs them is not run."""
    judged = []
    for claim in paper.claims:
        entry = {
            "id": claim.id,
            "statement": claim.statement,
            "source": claim.source,
            "reported": claim.reported,
            "metric": claim.metric,
            "criterion": claim.criterion,
            "scale": claim.scale_at(profile),
            "verdict": "not run",
            "reason": "",
            "seeds": [],
            "values": [],
            "mean": None,
            "low": None,
            "high": None,
            "interval": claim.interval,
        }
        judged.append(entry)
        try:
            values = _claim_values(paper, claim.id, functions[claim.id], trials)
        except NotRun as reason:
            entry["reason"] = str(reason)
            continue
        except Exception as error:
            if complete:
                raise RequestError(f"papers/{paper.slug}/claims.py: claim {claim.id!r} cannot be computed: {type(error).__name__}: {error}") from error
            entry["reason"] = "trials that it needs have no result"
            continue
        mean, low, high = confidence_interval(values.to_numpy(), claim.interval)
        entry.update(
            seeds=[int(seed) for seed in values.index],
            values=[float(value) for value in values],
            mean=mean,
            low=low if math.isfinite(low) else None,
            high=high if math.isfinite(high) else None,
            verdict=judge(low, high, parse_criterion(claim.criterion)),
        )
        if len(values) == 1:
            entry["reason"] = "one seed gives no interval"
    return judged


def _claim_values(paper: Paper, claim_id: str, function: Callable, trials: pd.DataFrame) -> pd.Series:
    values = function(trials)
    if not isinstance(values, pd.Series) or values.empty:
        raise ValueError("the function must return a non-empty Series indexed by seed")
    if values.index.duplicated().any():
        raise ValueError("the Series has a seed twice")
    values = values.astype(float).sort_index()
    if not np.isfinite(values.to_numpy()).all():
        raise ValueError("a value is not finite")
    return values


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def uncommitted(paper: Paper) -> list[str]:
    """Files that the run depends on and that differ from the last commit."""
    files = [*sources(paper.slug).values(), paper.folder / "paper.toml", paper.folder / "claims.py"]
    changed = _git("status", "--porcelain", "--", *(str(path) for path in files))
    return [line[3:] for line in (changed or "").splitlines()]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _gpu_model(device: str) -> str | None:
    if device != "cuda":
        return None
    try:
        names = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=True).stdout.split("\n")
        return names[0].strip() or None
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def provenance(paper: Paper, trials: Sequence[Trial], results: dict[str, Result], overrides: dict[str, Any], elapsed_seconds: float) -> dict[str, Any]:
    """Where the numbers came from. Wall and CPU seconds add up what every trial cost when it ran, also when it now comes from the cache."""
    done = [results[trial.key] for trial in trials if trial.key in results]
    first = trials[0]
    commit = _git("rev-parse", "HEAD")
    return {
        "wall_seconds": round(sum(result.wall_seconds for result in done), 3),
        "elapsed_seconds": round(elapsed_seconds, 3),
        "cpu_seconds": round(sum(result.cpu_seconds for result in done), 3),
        "peak_rss_bytes": max((result.peak_rss_bytes for result in done), default=0),
        "trials": len(done),
        "commit": commit.strip() if commit else None,
        "dirty": bool(uncommitted(paper)) if commit else None,
        "code_hash": first.code,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": _versions(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "gpu": _gpu_model(first.device),
        "device": first.device,
        "threads": first.threads,
        "config": first.config,
        "overrides": overrides,
        "seeds": sorted({seed for trial in trials for seed in trial.seeds}),
    }
