"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

TOY_TOML = """
title = "A toy"
authors = ["Ada Lovelace"]
year = 1843
family = "learning_theory"
framework = "numpy"
[profiles.smoke]
seeds = 1
[profiles.cpu]
seeds = 4
[profiles.cpu.config]
samples = 50
[[claims]]
id = "mean-grows"
statement = "The average grows with the mean."
source = "Note G"
reported = "1"
metric = "average at mean 1 minus average at mean 0"
criterion = "> 0.2"
scale = {cpu = "reduced", gpu = "reduced"}
"""

TOY_REPLICATE = '''
"""A toy run."""
from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from papers.toy.model import draw
from shared.engine import main, per_seed
from shared.seeds import numpy_rng


@dataclass(frozen=True)
class Config:
    samples: int = 10
    """Draws of a seed."""
    seconds: float = 0.0
    """How long a trial dawdles."""
    nan_seed: int = -1
    """The seed whose metric is not a number."""
    raise_seed: int = -1
    """The seed that raises."""


def conditions(config):
    return [{"mean": 0.0}, {"mean": 1.0}]


@per_seed
def run(config, condition, seed, device):
    time.sleep(config.seconds)
    if seed == config.raise_seed:
        raise RuntimeError("no luck")
    values = draw(numpy_rng(seed, "data"), config.samples, condition["mean"])
    average = float("nan") if seed == config.nan_seed else values.mean()
    return {"average": average, "curve": np.cumsum(values)[:5].astype(np.float32)}


if __name__ == "__main__":
    main(__file__)
'''

BATCHED_REPLICATE = '''
"""A toy run that trains all its seeds in one compiled program."""
from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from shared.engine import main
from shared.seeds import jax_keys


@dataclass(frozen=True)
class Config:
    width: int = 16
    """Units."""


def conditions(config):
    return [{"rate": 0.1}, {"rate": 0.2}]


def run(config, condition, seeds, device):
    def one(key):
        x = jax.random.normal(key, (64, config.width))
        y = jnp.sin(x.sum(axis=1))

        def step(w, _):
            loss, gradient = jax.value_and_grad(lambda w: jnp.mean((jnp.tanh(x @ w).sum(axis=1) - y) ** 2))(w)
            return w - condition["rate"] * gradient, loss

        return jax.lax.scan(step, 0.1 * jnp.ones((config.width, 8)), None, length=50)[1]

    losses = jax.jit(jax.vmap(one))(jax_keys(seeds, "data"))
    return [{"loss": loss[-1], "start": loss[0]} for loss in losses]


if __name__ == "__main__":
    main(__file__)
'''

TOY = {
    "papers/toy/__init__.py": "",
    "papers/toy/paper.toml": TOY_TOML,
    "papers/toy/README.md": "# A toy\n\n<!-- results:begin -->\n<!-- results:end -->\n",
    "papers/toy/model.py": '"""Draws."""\n\n\ndef draw(rng, n, mean):\n    """Normal draws."""\n    return rng.normal(mean, size=n)\n',
    "papers/toy/replicate.py": TOY_REPLICATE,
    "papers/toy/claims.py": """
from shared.engine import claim


@claim("mean-grows")
def growth(trials):
    values = trials.pivot(index="seed", columns="mean", values="average")
    return values[1.0] - values[0.0]
""",
    "papers/toy/figures.py": """
import matplotlib.pyplot as plt

from shared.engine import draw_figures


def draw(record):
    figure, ax = plt.subplots()
    ax.plot(record.curve("curve", mean=1.0).T)
    return {"curves": figure}


if __name__ == "__main__":
    draw_figures(__file__)
""",
}
BATCHED = {
    **{name.replace("toy", "batched"): text for name, text in TOY.items() if name.endswith(("__init__.py", "README.md", "figures.py"))},
    "papers/batched/paper.toml": TOY_TOML.replace('framework = "numpy"', 'framework = "jax"').replace("samples = 50", "width = 24"),
    "papers/batched/replicate.py": BATCHED_REPLICATE,
    "papers/batched/claims.py": """
from shared.engine import claim


@claim("mean-grows")
def descent(trials):
    chosen = trials[trials["rate"] == 0.2].set_index("seed")
    return chosen["start"] - chosen["loss"]
""",
}


class House:
    """A repository of its own in a temporary folder: this one's shared/, and toy papers."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REPRO_")}
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", *arguments]

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments), cwd=self.root, env={**self.environment, **(env or {})}, capture_output=True, text=True, check=False, timeout=300
        )

    def replicate(self, slug: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        return self(f"papers.{slug}.replicate", *arguments, env=env)


@pytest.fixture
def house(tmp_path: Path) -> House:
    root = tmp_path / "house"
    shutil.copytree(REPOSITORY / "shared" / "engine", root / "shared" / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("shared/__init__.py", "shared/seeds.py", "shared/figures.py", "papers/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    built = House(root)
    for name, text in {**TOY, **BATCHED}.items():
        built.write(name, text)
    return built
