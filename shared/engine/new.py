"""Scaffold of a paper folder: it keeps the contract and runs, and measures nothing yet."""

from __future__ import annotations

import re
from pathlib import Path

from shared.engine.errors import RequestError
from shared.engine.registry import PAPERS, ROOT
from shared.engine.trials import write_atomically

FILES = {
    "papers/{slug}/__init__.py": '''"""{title}"""
''',
    "papers/{slug}/paper.toml": """title = "{title}"
authors = ["First Author"]
year = 2025
venue = ""
arxiv = ""
doi = ""
family = "learning_theory"
tags = []
framework = "numpy"
extras = []
datasets = []

[code]
url = ""
licence = ""

[profiles.smoke]
seeds = 1
[profiles.smoke.config]
samples = 10

[profiles.cpu]
seeds = 5

[[claims]]
id = "mean-is-positive"
statement = "What the paper states."
source = "Table 1"
reported = "0.5"
metric = "How it is measured here, one value per seed"
criterion = "> 0"
scale = {{cpu = "reduced", gpu = "reduced"}}
""",
    "papers/{slug}/README.md": """# {title}

What the paper shows.

## What is replicated

At which scale, and what differs from the paper.

## Files in reading order

`model.py` the method and its baselines; `replicate.py` the runs; `claims.py` the metrics; `figures.py` the figures.

## How to run

`nox -s {slug}` on CPU; `nox -s {slug} -- --help` for every knob.

## Findings

<!-- results:begin -->
<!-- results:end -->

## How to cite

`nox -s cite -- {slug}`
""",
    "papers/{slug}/model.py": '''"""The method, equation by equation."""

from __future__ import annotations

import numpy as np


def sample(rng: np.random.Generator, n: int, mean: float) -> np.ndarray:
    """``n`` normal draws around ``mean``, shape (n,)."""
    return rng.normal(mean, size=n)
''',
    "papers/{slug}/replicate.py": '''"""{title}: what is run, on which hardware, for how long, and the number to reach.

    python -m papers.{slug}.replicate --profile cpu
"""

from __future__ import annotations

from dataclasses import dataclass

from papers.{slug}.model import sample
from shared.engine import main, per_seed
from shared.seeds import numpy_rng


@dataclass(frozen=True)
class Config:
    samples: int = 100
    """Draws of a seed."""


def conditions(config: Config) -> list[dict]:
    return [{{"mean": 0.0}}, {{"mean": 1.0}}]


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    return {{"average": sample(numpy_rng(seed, "data"), config.samples, condition["mean"]).mean()}}


if __name__ == "__main__":
    main(__file__)
''',
    "papers/{slug}/claims.py": '''"""The claims of paper.toml, measured on recorded trials."""

from __future__ import annotations

import pandas as pd

from shared.engine import claim


@claim("mean-is-positive")
def average_at_one(trials: pd.DataFrame) -> pd.Series:
    """Average at mean 1, per seed."""
    return trials[trials["mean"] == 1.0].set_index("seed")["average"]
''',
    "papers/{slug}/figures.py": '''"""Figures from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from shared.engine import Record, draw_figures
from shared.figures import ONE_COLUMN, style, whiskers


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figure, ax = plt.subplots(figsize=ONE_COLUMN)
        for mean in (0.0, 1.0):
            whiskers(ax, mean, record.curve("average", mean=mean))
        ax.set_xlabel("mean")
        ax.set_ylabel("average")
        return {{"averages": figure}}


if __name__ == "__main__":
    draw_figures(__file__)
''',
    "tests/papers/test_{slug}.py": '''"""{title}: the mathematics."""

from __future__ import annotations

import numpy as np

from papers.{slug}.model import sample


def test_mean_of_many_draws_is_near_the_mean():
    assert abs(sample(np.random.default_rng(0), 100_000, 1.0).mean() - 1.0) < 0.02
''',
}


def scaffold(slug: str, title: str = "") -> list[Path]:
    """Write the files of a new paper; RequestError when the slug is not usable or taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise RequestError(f"{slug!r} is no slug: lower-case letters, digits and underscores, a letter first")
    if (PAPERS / slug).exists():
        raise RequestError(f"papers/{slug} exists already")
    title = (title or slug.replace("_", " ").capitalize()).replace('"', "'").replace("\\", "")
    written = []
    for name, content in FILES.items():
        path = ROOT / name.format(slug=slug)
        write_atomically(path, content.format(slug=slug, title=title).encode())
        written.append(path)
    return written
