"""Many runs at once equal a plain loop over runs and steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shared.optim.many import stack_runs, train_many
from shared.seeds import jax_keys


def descend(w, t, data):
    noise = jax.random.normal(jax.random.fold_in(data["key"], t), w.shape)
    return w - data["rate"] * (w - data["target"]) + 0.01 * noise


def distance(w, data):
    return {"distance": jnp.abs(w - data["target"]).sum()}


@pytest.fixture
def runs():
    rng = np.random.default_rng(0)
    data = {"key": jax_keys((0, 1, 2), "noise"), "rate": jnp.array([0.1, 0.2, 0.3]), "target": jnp.asarray(rng.normal(size=(3, 4)))}
    return jnp.asarray(rng.normal(size=(3, 4))), data


@pytest.mark.parametrize("schedule", [[0, 1, 5, 12], [12], range(3, 13, 3)])
def test_states_and_metrics_equal_a_plain_loop(runs, schedule):
    state, data = runs
    last, metrics = train_many(descend, distance, schedule, state, data)
    for i in range(3):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], data)
        w, seen = state[i], []
        for t in range(max(schedule) + 1):
            if t in schedule:
                seen.append(distance(w, own)["distance"])
            w = descend(w, t, own) if t < max(schedule) else w
        assert np.allclose(last[i], w, rtol=1e-5)
        assert np.allclose(metrics["distance"][i], seen, rtol=1e-5)


def test_a_run_in_a_batch_knows_nothing_of_the_others(runs):
    state, data = runs
    alone, _ = train_many(descend, distance, [7], state[:2], jax.tree.map(lambda leaf: leaf[:2], data))
    among, _ = train_many(descend, distance, [7], state, data)
    assert np.array_equal(alone, among[:2])


@pytest.mark.parametrize("schedule", [[], [3, 3], [5, 2], [-1, 2]])
def test_a_schedule_that_does_not_grow_is_refused(runs, schedule):
    with pytest.raises(ValueError, match="schedule must be increasing"):
        train_many(descend, distance, schedule, *runs)


def test_single_runs_are_stacked_leaf_by_leaf():
    stacked = stack_runs([{"w": np.ones(3), "n": np.float32(i)} for i in range(2)])
    assert stacked["w"].shape == (2, 3)
    assert stacked["n"].tolist() == [0.0, 1.0]
