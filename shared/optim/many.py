"""Train many runs at once: whole runs, metrics included, as one compiled program.

A run is a pytree ``state`` that ``step`` moves forward, beside a pytree ``data`` that stays as it is: the examples, a random key, and the scalar knobs
(learning rate, weight decay, ...) that may differ between runs. Runs lie along the leading axis of every leaf of both; seeds and settings are stacked alike.

    state = stack_runs([init(seed) for seed in seeds])                # every leaf: (runs, ...); or jax.vmap(init)(keys)
    state, curves = train_many(step, measure, range(0, 1001, 50), state, data)
    curves["loss"]                                                    # (runs, 21)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

PyTree = Any


def stack_runs(runs: Sequence[PyTree]) -> PyTree:
    """Put single runs, pytrees of one structure with NumPy or JAX leaves, side by side along a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *runs)


def train_many(step: Callable, measure: Callable, schedule: Sequence[int], state: PyTree, data: PyTree) -> tuple[PyTree, PyTree]:
    """Move every run forward to the last entry of ``schedule`` and measure it at each entry on the way.

    Parameters
    ----------
    step : ``(state, t, data) -> state`` for one run; ``t`` = 0, 1, ... counts the steps already taken. A random draw comes from ``fold_in(data's key, t)``.
    measure : ``(state, data) -> metrics``, a pytree of arrays, for one run.
    schedule : increasing numbers of steps taken, 0 or more, evenly spaced or not; the last is the length of the run.
    state, data : pytrees whose every leaf has the runs along its leading axis.

    Returns
    -------
    The last states, leaves ``(runs, ...)``, and the metrics, leaves ``(runs, len(schedule), ...)``.

    Notes
    -----
    The program is compiled once for each pair of function objects and shapes: hand over module-level functions, or closures made by a function that wears
    ``functools.cache``, so that conditions which differ in numbers only share it. A batch of one run is not bit-identical to the same run in a batch.
    """
    schedule = np.asarray(schedule, dtype=np.int32)
    if schedule.ndim != 1 or schedule.size == 0 or schedule[0] < 0 or (np.diff(schedule) <= 0).any():
        raise ValueError(f"schedule must be increasing numbers of steps, 0 or more, got {schedule}")
    starts = np.concatenate([[0], schedule[:-1]]).astype(np.int32)
    return _train_many(step, measure, starts, schedule, state, data)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train_many(step, measure, starts, stops, state, data):
    def one_run(state, data):
        def segment(state, bounds):
            state = jax.lax.fori_loop(*bounds, lambda t, state: step(state, t, data), state)
            return state, measure(state, data)

        return jax.lax.scan(segment, state, (starts, stops))

    return jax.vmap(one_run)(state, data)
