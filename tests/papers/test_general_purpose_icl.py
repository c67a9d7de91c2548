"""Tasks, learners and baselines of general-purpose in-context learning, against closed forms, libraries and invariances."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier

from papers.general_purpose_icl.baselines import accuracy, nearest_neighbour, online_sgd, ridge
from papers.general_purpose_icl.data import REPEATED, meta_training_set, unseen_set
from papers.general_purpose_icl.model import (
    UNLIMITED,
    Base,
    Run,
    Sequence,
    Shape,
    accuracy_by_position,
    cross_entropy,
    draw_batch,
    draw_sequence,
    draw_task,
    init_embedding,
    init_learner,
    init_state,
    lstm,
    parameter_count,
    predict,
    probing,
    state_size,
    tokens,
    training_step,
)
from papers.general_purpose_icl.replicate import Config, conditions, plateau_length, run
from shared.optim.many import train_many

D, C, T = 8, 5, 7
KEY = jax.random.key(0)
task_of = jax.jit(draw_task, static_argnums=(3, 4, 5))
sequence_of = jax.jit(draw_sequence, static_argnums=3)
batch_of = jax.jit(draw_batch, static_argnums=(5, 6))
init_of = jax.jit(init_learner, static_argnums=1)
answers_of = jax.jit(predict, static_argnums=1)
accuracy_of = jax.jit(accuracy, static_argnums=(0, 3))
SHAPES = {kind: Shape(kind, 16, 2 if kind == "transformer" else 1, 2, T, D, C) for kind in ("transformer", "lstm", "mlp")}


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Nearly all the time of these tests is compilation: leave out most optimisations."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def base() -> Base:
    return meta_training_set("digits", C)[0]


@pytest.fixture(scope="module")
def batch(base) -> Sequence:
    return jax.tree.map(np.asarray, batch_of(KEY, jax.random.key(1), UNLIMITED, 0.0, base, (6, T, D, C)))


@pytest.fixture(scope="module")
def learners() -> dict:
    return {kind: jax.tree.map(np.asarray, init_of(KEY, shape)) for kind, shape in SHAPES.items()}


# ---- tasks ----


def test_a_projection_keeps_the_variance(base):
    A = jax.vmap(lambda i: task_of(KEY, i, 0.0, D, 64, C).A)(jnp.arange(200))
    assert np.square(base.x).mean() == pytest.approx(1, rel=1e-4)
    assert np.square(np.asarray(base.x) @ np.asarray(A).transpose(0, 2, 1)).mean() == pytest.approx(1, rel=0.05)


def test_a_task_is_a_function_of_its_number_and_numbers_differ():
    one, again, other = (task_of(KEY, i, 0.0, D, 64, C) for i in (3, 3, 4))
    assert np.array_equal(one.A, again.A) and np.array_equal(one.rho, again.rho)
    assert abs(np.corrcoef(np.ravel(one.A), np.ravel(other.A))[0, 1]) < 0.2


@pytest.mark.parametrize("q", [0.0, 0.9])
def test_permutations_are_even_but_for_the_share_q_of_the_fixed_one(q):
    rho = np.asarray(jax.vmap(lambda i: task_of(KEY, i, q, 2, 2, 3).rho)(jnp.arange(3000)))
    assert (np.sort(rho, axis=1) == np.arange(3)).all()
    share = {p: (rho == p).all(axis=1).mean() for p in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]}
    expected = {p: q * (p == (0, 1, 2)) + (1 - q) / 6 for p in share}
    assert share == pytest.approx(expected, abs=0.03)


def test_the_identity_task_is_the_base_set_and_a_permutation_keeps_class_counts(base):
    identity = task_of(KEY, 0, 1.0, 64, 64, C)._replace(A=jnp.eye(64))
    plain = sequence_of(KEY, identity, base, 50)
    permuted = sequence_of(KEY, identity._replace(rho=jnp.array([2, 0, 1, 4, 3])), base, 50)
    at = [np.flatnonzero((base.x == x).all(axis=1))[0] for x in np.asarray(plain.x)]
    assert np.array_equal(plain.y, base.y[at])
    assert np.array_equal(np.bincount(permuted.y, minlength=C)[[2, 0, 1, 4, 3]], np.bincount(plain.y, minlength=C))


def test_a_batch_holds_the_k_tasks_and_no_others(base):
    """With one base example, A x tells the task: K tasks give K inputs, those of the tasks 0 .. K - 1."""
    one = Base(base.x[:1], base.y[:1])
    made = batch_of(KEY, KEY, 3, 0.0, one, (40, 1, D, C))
    x = np.asarray(made.x)[:, 0]
    seen = [np.asarray(task_of(KEY, i, 0.0, D, 64, C).A @ base.x[0]) for i in range(3)]
    assert {int(np.argmin([np.abs(row - s).max() for s in seen])) for row in x} == {0, 1, 2}
    assert max(min(np.abs(row - s).max() for s in seen) for row in x) < 1e-5
    assert {int(y) for y in made.y[:, 0]} == {int(task_of(KEY, i, 0.0, D, 64, C).rho[base.y[0]]) for i in range(3)}
    assert (batch_of(KEY, KEY, 3, 1.0, one, (40, 1, D, C)).y == base.y[0]).all()


def test_distinct_sequences_never_repeat_an_example_and_each_has_an_order_of_its_own(base):
    few = Base(base.x[:T], base.y[:T])
    for distinct in (True, False):
        x = np.asarray(batch_of(KEY, KEY, 1, 0.0, few, (8, T, D, C), distinct).x)[:, :, 0]
        assert all((len(np.unique(row)) == T) == distinct for row in x)
        assert len(np.unique(x, axis=0)) == 8


def test_tokens_hold_the_input_and_the_label_before(batch):
    made = np.asarray(tokens(batch, C))
    for j in range(T):
        before = np.zeros((6, C)) if j == 0 else np.eye(C)[batch.y[:, j - 1]]
        assert np.array_equal(made[:, j], np.concatenate([batch.x[:, j], before], axis=1))


def test_other_data_sets_are_balanced_scaled_and_never_the_training_classes(base):
    rng = np.random.default_rng(0)
    for name, n_classes, dx in (("digits, later classes", 5, 64), ("wine", 3, 13), ("breast_cancer", 2, 30), (REPEATED, 5, 64)):
        other = unseen_set(name, C, 30, rng)
        assert other.x.shape[1] == dx
        assert len(set(np.bincount(other.y))) == 1 and len(np.bincount(other.y)) == n_classes
        assert np.square(other.x).mean() == pytest.approx(1, rel=0.15)
    rows = {x.tobytes() for x in np.round(np.asarray(base.x), 4)}
    assert not rows & {x.tobytes() for x in np.round(meta_training_set("digits", C)[1].x, 4)}


# ---- learners ----


@pytest.mark.parametrize("kind", SHAPES)
def test_an_untrained_learner_says_log_c(kind, batch, learners):
    assert plain_cross_entropy(answers_of(learners[kind], SHAPES[kind], batch), batch.y) == pytest.approx(math.log(C), abs=0.1)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_label_reaches_later_answers_only(kind, batch, learners):
    """Changing y_j leaves the logits of 0 .. j alone and moves that of j + 1, but for the MLP, which hears of no label; likewise x_j moves j, not j - 1."""
    shape, params, j = SHAPES[kind], learners[kind], 3
    before = answers_of(params, shape, batch)
    other_y, other_x = batch.y.copy(), batch.x.copy()
    other_y[:, j] = (other_y[:, j] + 1) % C
    other_x[:, j] += 1.0
    told = np.abs(answers_of(params, shape, batch._replace(y=other_y)) - before).max(axis=(0, 2))
    assert told[: j + 1].max() < 1e-6
    assert (told[j + 1] > 1e-4) == (kind != "mlp")
    shown = np.abs(answers_of(params, shape, batch._replace(x=other_x)) - before).max(axis=(0, 2))
    assert shown[:j].max() < 1e-6 and shown[j] > 1e-4
    assert (shown[j + 1 :].max() > 1e-4) == (kind != "mlp")


def test_the_lstm_is_the_textbook_recurrence(learners):
    p, x, w = learners["lstm"]["body"], np.random.default_rng(0).normal(size=(T, 16)), 16
    W, b, h, c = p["weight"], p["bias"], np.zeros(w), np.zeros(w)
    ours = jax.jit(lstm)(p, x)
    for t in range(T):
        i, f, g, o = np.split(W @ np.concatenate([x[t], h]) + b, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        assert ours[t] == pytest.approx(h, abs=1e-5)


def test_state_sizes_and_parameter_counts(learners):
    assert state_size(SHAPES["transformer"]) == 2 * 2 * T * 16
    assert state_size(SHAPES["lstm"]) == 2 * 16
    assert state_size(SHAPES["mlp"]) == 0
    assert parameter_count(learners["lstm"]) == (D + C + 1) * 16 + (2 * 16 + 1) * 4 * 16 + (16 + 1) * C
    assert parameter_count(learners["mlp"]) == (D + 1) * 16 + (16 + 1) * 16 + (16 + 1) * C


def test_the_parts_of_a_token_enter_alike_and_matrices_have_the_gain_of_their_fan_in(learners):
    embed = jax.jit(init_embedding, static_argnums=(1, 2, 3))(KEY, D, D + C, 2000)
    parts = embed["weight"][:, :D], embed["weight"][:, D:], embed["bias"]
    assert [float(np.square(part).sum()) / 2000 for part in parts] == pytest.approx([1, C, 1], rel=0.1)  # one label of C is on at a time
    query = [layer["q"]["weight"] for layer in learners["transformer"]["body"]["layers"]]
    assert np.std(query) == pytest.approx(1 / math.sqrt(16), rel=0.15)


def plain_cross_entropy(logits, y) -> float:
    """-mean log p(y_j) in plain loops."""
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -float(np.mean([math.log(p[i, j, y[i, j]]) for i in range(y.shape[0]) for j in range(y.shape[1])]))


def test_loss_and_accuracy_against_numpy(batch):
    logits = np.random.default_rng(0).normal(size=(6, T, C))
    assert cross_entropy(logits, batch.y) == pytest.approx(plain_cross_entropy(logits, batch.y), rel=1e-5)
    expected = [np.mean([logits[i, j].argmax() == batch.y[i, j] for i in range(6)]) for j in range(T)]
    assert accuracy_by_position(logits, batch.y) == pytest.approx(expected)


def test_training_memorises_one_task(base):
    """The MLP sees the query alone: on a single task, here one that is biased for sure, that is all it takes."""
    shape, n = SHAPES["mlp"], 2
    keys, tasks = jax.random.split(KEY, (2, n))
    probe = jax.jit(jax.vmap(lambda key, task: draw_batch(key, task, 1, 1.0, base, (64, T, D, C))))(keys, tasks)
    fixed = (np.full(n, value, dtype) for value, dtype in ((1, np.int32), (1, np.float32), (0.01, np.float32)))
    data = Run(keys, tasks, Base(*(np.stack([part] * n) for part in base)), *fixed, probe)
    state = jax.jit(jax.vmap(lambda key: init_state(key, shape)))(keys)
    _, curves = train_many(training_step(shape, 8), probing(shape), [0, 300], state, data)
    assert (curves["loss"][:, 0] > 0.9 * math.log(C)).all()
    assert (curves["loss"][:, 1] < 0.5 * math.log(C)).all()
    assert (curves["first"][:, 1] > 0.7).all() and (curves["last"][:, 1] > 0.7).all()


# ---- baselines ----


def contexts(base: Base, classes: tuple[int, ...], n: int = 30) -> list[Sequence]:
    """Five times n examples of some classes, without repetition."""
    rows, rng = np.flatnonzero(np.isin(base.y, classes)), np.random.default_rng(0)
    return [Sequence(base.x[chosen], base.y[chosen]) for chosen in (rng.choice(rows, n, replace=False) for _ in range(5))]


def test_nearest_neighbours_are_the_same_after_a_rotation_and_those_of_scikit_learn(base):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0].astype(np.float32)
    ours = jax.jit(nearest_neighbour, static_argnums=2)
    for x, y in contexts(base, range(C)):
        theirs = KNeighborsClassifier(1).fit(x[:-1], y[:-1]).predict(x[-1:])[0]
        assert ours(Sequence(x, y), 0.0, C) == theirs
        assert ours(Sequence(x @ rotation, y), 0.0, C) == theirs


def test_ridge_regression_is_that_of_scikit_learn(base):
    ours = jax.jit(ridge, static_argnums=2)
    for x, y in contexts(base, range(C)):
        assert ours(Sequence(x, y), 10.0, C) == Ridge(alpha=10.0).fit(x[:-1], np.eye(C)[y[:-1]]).predict(x[-1:]).argmax()


def test_online_sgd_is_that_of_scikit_learn(base):
    """With two classes, softmax regression with step lr is logistic regression with step 2 lr."""
    ours = jax.jit(online_sgd, static_argnums=2)
    for x, y in contexts(base, (0, 1)):
        theirs = SGDClassifier(loss="log_loss", alpha=0.0, learning_rate="constant", eta0=0.02, shuffle=False, max_iter=1, tol=None)
        theirs.partial_fit(x[:-1], y[:-1], classes=(0, 1))
        assert ours(Sequence(x, y), 0.01, 2) == theirs.predict(x[-1:])[0]


def test_renaming_labels_renames_the_answers(batch):
    sigma = np.array([3, 4, 0, 2, 1])
    for method, strength in (("nearest neighbour", 0.0), ("ridge regression", 1.0), ("online SGD", 0.1)):
        assert accuracy_of(method, strength, batch, C) == accuracy_of(method, strength, batch._replace(y=sigma[batch.y]), C)


# ---- the run ----


def test_the_plateau_ends_at_the_first_loss_below_nine_tenths_of_log_c():
    loss = math.log(C) * np.array([[1.0, 0.95, 0.89, 0.92], [1.0, 0.99, 0.98, 0.97], [0.8, 1.0, 1.0, 1.0]])
    assert plateau_length(loss, np.array([0, 10, 20, 30]), C).tolist() == [20, 30, 0]


def test_a_small_run_gives_rows_that_hold_what_claims_need():
    config = Config(elsewhere=("wine",), T=6, d=4, width=8, widths=(8,), tasks=(2,), head_width=8, biases=(), batches=(), state_transformers=(),
                    state_lstms=(8,), state_tasks=2, steps=4, every=2, probe=8, tests=16, batch=4)  # fmt: skip
    grid = conditions(config)
    assert [condition["learner"] for condition in grid] == ["transformer", "lstm", "mlp", "nearest neighbour", "ridge regression", "online SGD"]
    for condition in grid[2:4]:
        rows = run(config, condition, (0, 1), "cpu")
        assert len(rows) == 2
        assert all(np.isfinite(value).all() for row in rows for value in row.values())
        assert {"unseen_last", "on wine", f"on {REPEATED}"} <= set(rows[0])
    assert rows[0]["unseen_last"] != rows[1]["unseen_last"] or rows[0]["on wine"] != rows[1]["on wine"]
