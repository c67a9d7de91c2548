"""In-context learning of Boolean functions: the generators against loops and published statistics, predictors against libraries, models against torch."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from papers.icl_discrete_functions import claims, model, predictors, replicate, tasks
from papers.icl_discrete_functions.replicate import Config, conditions, run
from papers.icl_discrete_functions.tasks import Task
from shared.lms import jax_model
from shared.seeds import jax_key, jax_keys

KEY = jax_key(0, "test")
draw = jax.jit(tasks.draw_prompts, static_argnums=(1, 2))


def points(B: int = 3, m: int = 12, n: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], (B, m, n)).astype(np.float32), rng.choice([-1.0, 1.0], (B, m)).astype(np.float32)


def literals(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], shape, p=[0.25, 0.5, 0.25])


def holds(w: np.ndarray, x: np.ndarray) -> list[bool]:
    """Whether each literal of w holds at x."""
    return [bool(x[i] == w[i]) for i in range(len(w)) if w[i] != 0]


# ---- functions ----


def test_formulas_equal_loops_over_literals():
    W, xs = literals((20, 3, 6)), points(20, 1, 6)[0][:, 0]
    for clauses, x in zip(W, xs, strict=True):
        assert tasks.conjunction(clauses[0], x) == (1 if all(holds(clauses[0], x)) else -1)
        assert tasks.disjunction(clauses[0], x) == (1 if any(holds(clauses[0], x)) else -1)
        assert tasks.dnf(clauses, x) == (1 if any(all(holds(w, x)) for w in clauses) else -1)
        assert tasks.cnf(clauses, x) == (1 if all(any(holds(w, x)) for w in clauses) else -1)
    empty = np.zeros(6)
    assert tasks.conjunction(empty, x) == 1 and tasks.disjunction(empty, x) == -1


def test_threshold_counts_the_weights():
    w, x = np.array([3.0, -2.0, 0.0]), np.array([1.0, 1.0, -1.0])
    assert tasks.threshold(w, 0.5, x) == 1 and tasks.threshold(w, 1.5, x) == -1


def test_parity_is_odd_and_flips_with_each_relevant_bit_and_no_other():
    w = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    for x in points(1, 8, 5)[0][0]:
        y = tasks.parity(w, x)
        assert y == (1 if sum(x[i] == 1 for i in (0, 2, 3)) % 2 else -1)
        for i in range(5):
            assert tasks.parity(w, np.where(np.arange(5) == i, -x, x)) == (-y if w[i] else y)


def test_permuting_the_coordinates_of_points_and_function_alike_changes_no_label():
    order, (x, _), W = np.random.default_rng(1).permutation(6), points(1, 30, 6), literals((3, 6))
    for f in (tasks.dnf, tasks.cnf):
        np.testing.assert_array_equal(f(W, x), f(W[:, order], x[..., order]))
    for f in (tasks.conjunction, tasks.disjunction, tasks.parity):
        np.testing.assert_array_equal(f(W[0], x), f(W[0][order], x[..., order]))


# ---- generators ----


NEGATIVE = {
    "conjunction": 0.695, "disjunction": 0.31, "sparse_disjunction": 0.3 + 0.7 / 16, "dnf": 0.55, "cnf": 0.40, "majority": 0.57, "threshold": 0.5,
    "halfspace": 0.52, "parity": 0.5, "sparse_parity": 0.5, "nearest_neighbour": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", NEGATIVE)
def test_prompts_have_the_class_balance_of_the_official_generators_and_differ_with_the_key(name):
    """Not compiled: all tasks have one size and share their operations."""
    task = Task(name, 28, 40, 0.2, start=6)
    prompts, other = tasks.draw_prompts(KEY, task, 2000), tasks.draw_prompts(jax_key(1, "test"), task, 2000)
    assert prompts.x.shape == (2000, 40, 28) and prompts.y.shape == (2000, 40)
    assert set(np.unique(prompts.x)) == set(np.unique(prompts.y)) == {-1, 1}
    assert (prompts.x != other.x).any() and (prompts.y != other.y).any()
    assert float((prompts.y < 0).mean()) == pytest.approx(NEGATIVE[name], abs=0.02)


@pytest.mark.parametrize(
    ("name", "n", "deciding", "rate"), [("conjunction", 6, 1, 0.3), ("disjunction", 6, -1, 0.3), ("dnf", 80, 1, 0.35), ("cnf", 80, -1, 0.3)]
)
def test_points_are_forced_and_literals_drawn_at_the_published_rates(name, n, deciding, rate):
    """A conjunction of L literals holds at a uniform point with probability 2^-L, 0.85^n on average; clauses of some forty literals hardly ever decide."""
    prompts = tasks.draw_prompts(KEY, Task(name, n, 40, 0.5), 24_000 // n)
    unforced = 0.85**n if n == 6 else 0.0
    assert float((prompts.y == deciding).mean()) == pytest.approx(rate + (1 - rate) * unforced, abs=0.015)


def test_thresholds_are_constant_on_one_bit_as_often_as_their_weights_and_biases_say():
    """One bit decides when it has a weight (0.3) and the bias is -1/2 or 1/2, two of six."""
    y = np.asarray(tasks.draw_prompts(KEY, Task("threshold", 1, 30), 10_000).y)
    assert (y != y[:, :1]).any(1).mean() == pytest.approx(0.1, abs=0.01)


def test_subsets_have_k_elements_at_even_rates():
    w = tasks.draw_subsets(KEY, 4000, 10, 2)
    np.testing.assert_array_equal(w.sum(1), 2)
    np.testing.assert_allclose(w.mean(0), 0.2, atol=0.03)


def test_sparse_parity_depends_on_two_bits():
    xs, ys, _ = draw(KEY, Task("sparse_parity", 6, 60), 20)
    for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True):
        assert any((np.where((x[:, i] > 0) ^ (x[:, j] > 0), 1, -1) == y).all() for i, j in itertools.combinations(range(6), 2))


def test_nearest_neighbour_labels_follow_a_plain_loop():
    start = 5
    xs, ys, _ = draw(KEY, Task("nearest_neighbour", 4, 20, start=start), 50)
    labels_at_start = set()
    for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True):
        for k in range(1, 20):
            gap = [(x[k] != x[i]).sum() for i in range(k)]
            if k >= start or min(gap) == 0:
                assert y[k] == y[int(np.argmin(gap))]
        labels_at_start.add(tuple(y[:3]))
    assert len(labels_at_start) == 8


# ---- teaching sequences ----


def test_teaching_sequence_identifies_a_monotone_conjunction_by_brute_force():
    n = 6
    everything = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    sequences, lengths = tasks.teaching_sequence(jnp.asarray(everything)[:, None])
    for w, sequence, t in zip(everything, np.asarray(sequences), np.asarray(lengths), strict=True):
        assert t == w.sum() + 1
        labels = tasks.conjunction(w, sequence[:t])
        np.testing.assert_array_equal(labels, [1] + [-1] * (t - 1))
        agrees = (np.where((everything[:, None] * (sequence[:t] < 0)).any(-1), -1, 1) == labels).all(1)  # functions v: -1 where a literal of v is false
        np.testing.assert_array_equal(agrees, (everything == w).all(1))


def test_teaching_sequence_of_a_dnf_goes_clause_by_clause():
    W = np.array([[1.0, 1, 0], [0, 0, 1]])
    sequence, t = tasks.teaching_sequence(jnp.asarray(W)[None])
    assert int(t[0]) == 5
    np.testing.assert_array_equal(sequence[0, :5], [[1, 1, -1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1], [-1, -1, -1]])


def test_vanilla_twins_share_all_but_the_teaching_sequence():
    tests = replicate.draw_tests(jax_keys((0, 1), "test"), Task("teaching_conjunction", 6, 20), 400)
    x, y, t = (np.asarray(a) for a in tests)
    assert (t[:, :200] > 0).all() and (t[:, 200:] == 0).all() and (x[0] != x[1]).any()
    later = np.arange(20) >= t[:, :200, None]
    np.testing.assert_array_equal(x[:, :200][later], x[:, 200:][later])
    np.testing.assert_array_equal(y[:, :200][later], y[:, 200:][later])
    exact = predictors.consistent_conjunction(x[0, :200], y[0, :200], monotone=True)
    np.testing.assert_array_equal(np.asarray(exact)[:, 1:], y[0, :200, 1:])  # the first example alone says what is in w


def test_half_of_the_training_prompts_are_taught_and_literals_and_positives_come_at_the_published_rates():
    _, y, t = (np.asarray(a) for a in draw(KEY, Task("teaching_conjunction", 60, 20), 3000))
    assert (t > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert t[t > 0].mean() == pytest.approx(1 + 0.3 * 60, abs=0.4)
    assert (y[t == 0] > 0).mean() == pytest.approx(0.4, abs=0.02)


# ---- predictors ----


def test_optimal_conjunction_learner_equals_elimination_and_errs_on_one_side():
    prompts = draw(KEY, Task("conjunction", 6, 25), 1000)
    predicted = np.asarray(predictors.consistent_conjunction(prompts.x, prompts.y))
    x, y = np.asarray(prompts.x), np.asarray(prompts.y)
    for b in range(30):
        hypothesis, seen = set(itertools.product(range(6), (-1, 1))), False
        for k in range(25):
            assert predicted[b, k] == (1 if seen and all(x[b, k, i] == s for i, s in hypothesis) else -1)
            if y[b, k] == 1:
                hypothesis, seen = {(i, s) for i, s in hypothesis if x[b, k, i] == s}, True
    assert not ((predicted == 1) & (y == -1)).any()
    positives = np.cumsum(y == 1, axis=1) - (y == 1)
    errors = [((predicted != y) & (positives == p))[positives == p].mean() for p in (0, 2, 5, 9)]
    assert (np.diff(errors) < 0).all() and errors[-1] < 0.05


def test_nearest_neighbours_equal_scikit_learn_where_no_two_are_equally_near():
    x, y = points(20, 12, 9)
    ours = {k: np.asarray(predictors.nearest_neighbours(jnp.asarray(x), jnp.asarray(y), k)) for k in (1, 3)}
    compared = 0
    for b, (k, i) in itertools.product(range(20), itertools.product((1, 3), range(4, 12))):
        gaps = np.sort((x[b, :i] != x[b, i]).sum(1))
        if gaps[k - 1] < gaps[k]:
            assert np.sign(ours[k][b, i]) == KNeighborsClassifier(k).fit(x[b, :i], y[b, :i]).predict(x[b, i : i + 1])[0]
            compared += 1
    assert compared > 60
    assert (ours[1][:, 0] == 0).all() and (ours[3][:, 0] == 0).all()


def test_first_of_equally_near_points_decides():
    x = jnp.array([[[1.0, 1], [-1, -1], [1, -1]]])
    for y in ([1.0, -1, 1], [-1.0, 1, 1]):
        assert predictors.nearest_neighbours(x, jnp.array([y]), 1)[0, 2] == y[0]


def test_averaging_and_null_and_ties():
    x, y = points()
    expected = [[(y[b, :k, None] * x[b, :k]).sum(0) @ x[b, k] for k in range(12)] for b in range(3)]
    np.testing.assert_allclose(predictors.averaging(jnp.asarray(x), jnp.asarray(y)), expected, atol=1e-5)
    y = jnp.array([[1.0, 1, -1], [1, 1, -1]])
    np.testing.assert_allclose(predictors.null_accuracy(y), [1, 1, 0])
    np.testing.assert_allclose(predictors.accuracy(jnp.array([[2.0, -2, 0], [0, 0, 0]]), y), [0.75, 0.25, 0.5])


def test_a_fitted_network_learns_what_a_line_separates_and_sees_no_later_label():
    x, _ = points(20, 41, 3)
    y = x[..., 0]
    fit = jax.jit(predictors.fitted_network, static_argnums=(4, 5))
    score = np.asarray(fit(KEY, x, y, 40, 16, 60, 0.03))
    np.testing.assert_array_equal(np.sign(score), y[:, 40])
    changed = np.asarray(fit(KEY, x, np.concatenate([y[:, :40], -y[:, 40:]], 1), 40, 16, 60, 0.03))
    np.testing.assert_array_equal(score, changed)


# ---- models ----

TASK = Task("conjunction", 5, 6)


def network(backbone: str) -> tuple[model.Network, dict]:
    net = model.Network(backbone, 2 if backbone == "lstm" else 1, 16, 2)
    return net, jax.jit(model.init_params, static_argnums=(1, 2))(KEY, net, TASK)


def test_networks_start_at_their_scales():
    """Transformers from Xavier's normal, LSTMs uniform in +-1/sqrt(d), as torch does."""
    transformer, lstm = network("transformer")[1]["backbone"], network("lstm")[1]["backbone"]
    assert float(transformer["layers"][0]["up"]["weight"].std()) == pytest.approx((2 / (16 + 64)) ** 0.5, rel=0.1)
    for value in lstm[0].values():
        assert 0.23 < float(jnp.abs(value).max()) <= 0.25


def test_tokens_are_interleaved():
    x, y = points(2, 3, 4)
    found = np.asarray(model.tokens(jnp.asarray(x), jnp.asarray(y)))
    np.testing.assert_array_equal(found[:, ::2], x)
    np.testing.assert_array_equal(found[:, 1::2, 0], y)
    assert not found[:, 1::2, 1:].any()


@pytest.mark.parametrize("backbone", ["transformer", "lstm", "retnet"])
def test_a_logit_depends_on_all_that_came_before_and_on_its_point_but_not_on_its_label_or_later(backbone):
    net, params = network(backbone)
    logits = jax.jit(model.logits, static_argnums=(1, 2))
    x, y = points(2, 6, 5)
    before = np.asarray(logits(params, net, TASK, x, y))
    flipped_y, flipped_x = y.copy(), x.copy()
    flipped_y[:, 3] *= -1
    flipped_x[:, 3] *= -1
    for changed, first in ((logits(params, net, TASK, x, flipped_y), 4), (logits(params, net, TASK, flipped_x, y), 3)):
        np.testing.assert_allclose(changed[:, :first], before[:, :first], atol=1e-6)
        assert (np.abs(np.asarray(changed)[:, first:] - before[:, first:]) > 1e-6).all()


def test_lstm_equals_torch_on_copied_weights():
    _, params = network("lstm")
    theirs = torch.nn.LSTM(16, 16, num_layers=2, batch_first=True)
    with torch.no_grad():
        for i, layer in enumerate(params["backbone"]):
            for name, value in layer.items():
                getattr(theirs, f"{name}_l{i}").copy_(torch.tensor(np.asarray(value)))
        x = np.random.default_rng(0).normal(size=(3, 7, 16)).astype(np.float32)
        np.testing.assert_allclose(model.lstm(params["backbone"], jnp.asarray(x)), theirs(torch.tensor(x))[0], atol=1e-5)


def test_retention_equals_its_recurrence():
    """S_t = gamma S_{t-1} + k_t v_t^T, read as q_t S_t / sqrt(c): one state for each head."""
    net, params = network("retnet")
    config, p = model.transformer_config(net, TASK), params["backbone"]["layers"][0]
    x = np.random.default_rng(0).normal(size=(1, 7, 16)).astype(np.float32)
    angles = np.arange(7)[:, None] * np.asarray(config.frequencies)
    ours = jax.jit(model.retention, static_argnums=1)(p, config, jnp.asarray(x), jnp.asarray(angles))
    q, k, v = (np.asarray(x[0] @ p[name]["weight"].T).reshape(7, 2, 8) for name in "qkv")

    def turned(a: np.ndarray) -> np.ndarray:
        z = (a[..., :4] + 1j * a[..., 4:]) * np.exp(1j * angles)[:, None]
        return np.concatenate([z.real, z.imag], -1)

    q, k, heads = turned(q), turned(k), []
    for h, gamma in enumerate((1 - 1 / 32, 1 - 1 / 64)):
        S, out = np.zeros((8, 8)), []
        for t in range(7):
            S = gamma * S + np.outer(k[t, h], v[t, h])
            y = q[t, h] @ S / 8**0.5
            out.append(y / np.sqrt((y**2).mean() + 1e-5))
        heads.append(out)
    y, z = np.concatenate(heads, axis=-1), x[0] @ np.asarray(p["gate"]["weight"]).T + np.asarray(p["gate"]["bias"])
    np.testing.assert_allclose(ours[0], (z / (1 + np.exp(-z)) * y) @ np.asarray(p["o"]["weight"]).T, atol=1e-4)


def test_loss_is_binary_cross_entropy_over_the_positions_that_count():
    task = Task("nearest_neighbour", 5, 6, start=2)
    net, params = network("transformer")
    x, y = points(4, 6, 5)
    logits = torch.tensor(np.asarray(jax.jit(model.logits, static_argnums=(1, 2))(params, net, task, x, y)))[:, 2:]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor((y[:, 2:] + 1) / 2))
    assert float(jax.jit(model.loss, static_argnums=(1, 2))(params, net, task, tasks.Prompts(x, y, None))) == pytest.approx(expected.item(), rel=1e-5)


def test_attention_to_the_neighbour_is_found_where_it_is_put():
    """With queries and keys at zero, attention is even over the 2k + 1 tokens that x_k sees (k = 0, 1, ..)."""
    task = Task("nearest_neighbour", 5, 6, start=2)
    net, params = network("transformer")
    for layer in params["backbone"]["layers"]:
        layer["q"] = jax.tree.map(jnp.zeros_like, layer["q"])
    x, y = points(4, 6, 5)
    share = jax.jit(model.neighbour_attention, static_argnums=(1, 2))(params, net, task, tasks.Prompts(x, y, None))
    assert share.shape == (1, 2, 6)
    np.testing.assert_allclose(share, np.tile([0, 1 / 3, 1 / 5, 1 / 7, 1 / 9, 1 / 11], (1, 2, 1)), rtol=1e-5)


def test_attention_to_the_neighbour_is_that_on_its_label_not_on_its_point():
    task = Task("nearest_neighbour", 5, 6, start=2)
    net, params = network("transformer")
    x, y = points(4, 6, 5)
    share = jax.jit(model.neighbour_attention, static_argnums=(1, 2))(params, net, task, tasks.Prompts(x, y, None))
    h = model.through(params["read_in"], model.tokens(jnp.asarray(x), jnp.asarray(y)))
    patterns = np.asarray(jax_model.attention_patterns(params["backbone"], model.transformer_config(net, task), h))  # (layers, B, H, T, T)
    for k in range(1, 6):
        neighbours = [int(np.argmin([(x[b, k] != x[b, i]).sum() for i in range(k)])) for b in range(4)]
        expected = np.mean([patterns[:, b, :, 2 * k, 2 * i + 1] for b, i in enumerate(neighbours)], axis=0)
        np.testing.assert_allclose(share[..., k], expected, atol=1e-5)


# ---- training ----


@pytest.mark.parametrize("backbone", ["transformer", "frozen"])
def test_training_steps_lower_the_loss_and_leave_a_frozen_backbone_as_it_was(backbone):
    net, course = model.Network(backbone, 1, 16, 2), model.Course(40, 16, 5, 0.0)
    state = jax.jit(model.init_state, static_argnums=(1, 2))(KEY, net, TASK)
    first, step = state, jax.jit(model.training_step(net, TASK, course))
    data, prompts = model.Data(KEY, None, jnp.asarray(0.01)), draw(jax_key(1, "test"), TASK, 200)
    for t in range(40):
        state = step(state, t, data)
    loss = jax.jit(model.loss, static_argnums=(1, 2))
    assert loss(state.params, net, TASK, prompts) < loss(first.params, net, TASK, prompts) - 0.02
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), first.params["backbone"], state.params["backbone"])
    assert any(jax.tree.leaves(moved)) == (backbone == "transformer")


def test_a_step_is_one_of_adam_on_a_batch_of_its_own(monkeypatch):
    """With a loss that is linear in the parameters, two steps against optax's Adam on the batches of steps 0 and 1."""

    def linear_loss(params, net, task, prompts):
        return (params["w"] * (prompts.x * prompts.y[..., None]).mean(0)).sum()

    monkeypatch.setattr(model, "loss", linear_loss)
    course = model.Course(4, 16, 2, 0.5)
    step = jax.jit(model.training_step(model.Network("linear", 1, 1, 1), TASK, course))
    params = {"w": jnp.zeros((6, 5))}
    state, data = model.State(params, model.ADAM.init(params)), model.Data(KEY, None, jnp.asarray(0.1))
    adam = optax.adam(lambda t: 0.1 * jnp.array([0.5, 1 - 0.5 / 4])[t])
    moments = adam.init(params)
    for t in range(2):
        state = step(state, t, data)
        gradient = jax.grad(linear_loss)(params, None, TASK, draw(jax.random.fold_in(KEY, t), TASK, 16))
        updates, moments = adam.update(gradient, moments)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(state.params["w"], params["w"], atol=1e-5)


def test_each_architecture_has_its_step_size_and_seeds_have_streams_of_their_own_for_training_and_tests(monkeypatch):
    def train_many(step, measure, schedule, state, data):
        caught.append((schedule, data))
        raise InterruptedError

    caught: list[tuple] = []
    for name, stand_in in (("init_states", lambda keys, *_: keys), ("draw_tests", lambda keys, *_: keys), ("train_many", train_many)):
        monkeypatch.setattr(replicate, name, stand_in)
    for learner, lr in (("transformer", 0.1), ("lstm", 0.2), ("retnet", 0.1)):
        with pytest.raises(InterruptedError):
            replicate.run_network(Config(lr=0.1, lstm_lr=0.2, steps=9, evaluations=3), TASK, learner, (0, 1))
        schedule, data = caught.pop()
        np.testing.assert_array_equal(schedule, [3, 6, 9])
        np.testing.assert_allclose(data.lr, [lr, lr])
        streams = [tuple(np.asarray(jax.random.key_data(key))) for keys in (data.key, data.tests) for key in keys]
        assert len(set(streams)) == 4


def test_step_size_warms_up_and_falls_on_a_line():
    course = model.Course(100, 8, 10, 0.2)
    assert float(model.step_size(course, 4)) == pytest.approx(0.5 * (1 - 0.8 * 0.04))
    assert float(model.step_size(course, 100)) == pytest.approx(0.2)


def test_accuracies_after_teaching_are_at_the_positions_behind_the_sequence():
    task, y = Task("teaching_conjunction", 4, 20), jnp.ones((2, 20))
    tests = tasks.Prompts(None, y, jnp.array([3, 0]))
    right_at = jnp.where(jnp.arange(20) >= 3, 1.0, -1.0)
    found = model.accuracies(jnp.stack([right_at, -right_at]), task, tests)
    np.testing.assert_array_equal(found["taught_after"], 1)
    np.testing.assert_array_equal(found["vanilla_after"], 0)
    np.testing.assert_array_equal(found["taught"], right_at > 0)


# ---- claims and whole runs ----


def test_ends_are_the_last_positions_and_those_that_count():
    found = replicate.ends(Task("nearest_neighbour", 4, 20, start=5), {"accuracy": np.arange(20.0)[None]})
    assert (found["last"], found["counted"]) == (14.5, 12)


def test_claims_on_planted_trials():
    """Numbers all apart, so that a wrong row, column, position or sign gives another result; the second seed is shifted, and comes first."""
    curve, after = np.arange(20) / 100, np.r_[np.full(5, 0.9), np.full(5, 0.1)]
    rows = []
    for seed, shift in ((4, 0.01), (3, 0.0)):
        rows += [
            {"task": "conjunction", "learner": "transformer", "last": 0.89 - shift, "counted": 0.3, "accuracy": curve + 0.7},
            {"task": "conjunction", "learner": "lstm", "last": 0.81, "counted": 0.2, "accuracy": curve},
            {"task": "conjunction", "learner": "predictors", "optimal_last": 0.96, "optimal_counted": 0.5, "nearest_last": 0.8, "nearest_counted": 0.4},
            {"task": "dnf", "learner": "transformer", "last": 0.6, "counted": 0.55, "accuracy": curve + 0.65 - shift},
            {"task": "parity", "learner": "transformer", "last": 0.51 + shift, "counted": 0.53, "accuracy": curve},
            {"task": "teaching_conjunction", "learner": "transformer", "taught_after": after + 0.08, "vanilla_after": after - 0.2 - shift},
            {"task": "nearest_neighbour", "learner": "transformer", "last": 0.11, "counted": 0.83, "accuracy": curve},
            {"task": "nearest_neighbour", "learner": "lstm", "last": 0.12, "counted": 0.66, "accuracy": curve},
        ]
        for row in rows[-8:]:
            row["seed"] = seed
    expected = {
        claims.near_optimal: (0.07, 0.08), claims.beats_nearest_neighbour: (0.09, 0.08), claims.complex_tasks_degrade: (0.05, 0.06),
        claims.parity_fails: (0.51, 0.52), claims.teaching_helps: (0.28, 0.29), claims.attention_matters: (0.09, 0.10),
    }  # fmt: skip
    for claim, values in expected.items():
        found = claim(pd.DataFrame(rows))
        assert list(found.index) == [3, 4]
        np.testing.assert_allclose(found, values, atol=1e-9)


def test_a_miniature_of_every_experiment_gives_rows_that_depend_on_the_seed():
    config = Config(
        tasks=("conjunction", "teaching_conjunction", "nearest_neighbour"), bits=(4,) * 3, points=(16,) * 3, start=4, lstm_tasks=("conjunction",),
        retnet_tasks=(), frozen_tasks=(), layers=1, width=8, steps=3, batch=4, tests=32, evaluations=2, shown=4, fitted_prompts=4, fitted_width=4,
        fitted_steps=3, fitted_sizes=1,
    )  # fmt: skip
    grid = conditions(config)
    assert [(c["task"], c["learner"]) for c in grid[:2]] == [("conjunction", "transformer"), ("teaching_conjunction", "transformer")]
    for condition in (c for c in grid if (c["task"], c["learner"]) in (("nearest_neighbour", "transformer"), ("conjunction", "predictors"))):
        first, second = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        assert any((first[name] != second[name]).any() for name in first)
