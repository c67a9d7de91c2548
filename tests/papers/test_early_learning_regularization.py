"""Early-learning regularization: the losses, the linear model's theory, the noisy digits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog
from sklearn.datasets import load_digits

from papers.early_learning_regularization import claims, linear, mlp, replicate
from papers.early_learning_regularization.losses import LOSSES, elr_gradient, elr_penalty, loss, objective, updated_targets
from papers.early_learning_regularization.photographs import NoisyLabelLoss
from papers.early_learning_regularization.replicate import Config, conditions, draw_digits, run
from shared.seeds import jax_key


def kind(name: str) -> jax.Array:
    return jnp.asarray(LOSSES.index(name))


@pytest.fixture
def batch():
    """Scores, one-hot labels and partly built-up targets of 6 examples and 5 classes, away from the clamp."""
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.normal(size=(6, 5)))
    labels = jax.nn.one_hot(rng.integers(0, 5, 6), 5)
    targets = jnp.asarray(rng.dirichlet(np.ones(5), 6) * 0.7)
    return scores, labels, targets


def test_gradient_of_the_elr_loss_is_lemma_2(batch):
    scores, labels, targets = batch
    slope = jax.grad(lambda scores: len(scores) * loss(kind("elr"), scores, labels, targets, 3.0))(scores)
    expected = elr_gradient(jax.nn.softmax(scores), labels, targets, 3.0)
    assert np.allclose(slope, expected, atol=1e-5)
    g = expected - elr_gradient(jax.nn.softmax(scores), labels, targets, 0.0)
    assert np.allclose(g.sum(-1), 0, atol=1e-6)


def test_strength_zero_is_cross_entropy_for_any_targets(batch):
    scores, labels, targets = batch
    expected = F.cross_entropy(torch.tensor(np.asarray(scores)), torch.tensor(np.asarray(labels.argmax(-1)), dtype=torch.long)).item()
    for name in ("ce", "elr", "kl"):
        assert float(loss(kind(name), scores, labels, targets, 0.0)) == pytest.approx(expected, rel=1e-5)


def test_uniform_targets_do_not_pull(batch):
    scores, labels, _ = batch
    p = jax.nn.softmax(scores)
    assert np.allclose(elr_gradient(p, labels, jnp.full((6, 5), 0.2), 3.0), p - labels, atol=1e-6)


def test_targets_after_k_visits_to_a_constant_output(batch):
    scores, _, _ = batch
    p = jax.nn.softmax(scores)
    targets = jnp.zeros_like(scores)
    for visit in range(1, 6):
        targets = updated_targets(targets, scores, 0.7)
        assert np.allclose(targets, (1 - 0.7**visit) * p, atol=1e-6)
        assert np.allclose(targets.sum(-1), 1 - 0.7**visit, atol=1e-6)


def test_no_gradient_flows_through_the_targets(batch):
    scores, labels, targets = batch
    through = jax.grad(lambda s: loss(kind("elr"), s, labels, updated_targets(targets, s, 0.7), 3.0))(scores)
    held = jax.grad(lambda s: loss(kind("elr"), s, labels, updated_targets(targets, scores, 0.7), 3.0))(scores)
    assert np.allclose(through, held, atol=1e-7)


def test_a_one_hot_target_pulls_with_full_strength_until_the_clamp():
    target = jnp.array([[1.0, 0.0, 0.0]])
    for height in (1.0, 3.0, 6.0):
        scores = jnp.array([[height, 0.0, 0.0]])
        p = jax.nn.softmax(scores)[0, 0]
        assert float(elr_penalty(scores, target)[0]) == pytest.approx(float(jnp.log(1 - p)), rel=1e-4)
        slope = jax.grad(lambda s: elr_penalty(s, target)[0])(scores)
        assert float(slope[0, 0]) == pytest.approx(-float(p), rel=1e-4)
    assert float(elr_penalty(jnp.array([[50.0, 0.0, 0.0]]), target)[0]) == pytest.approx(np.log(1e-4), rel=1e-3)


def test_gce_lies_between_cross_entropy_and_the_error(batch):
    scores, labels, targets = batch
    p_y = (jax.nn.softmax(scores) * labels).sum(-1)
    assert float(loss(kind("gce"), scores, labels, targets, 0.0)) == pytest.approx(float(((1 - p_y**0.7) / 0.7).mean()), rel=1e-5)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="mse"):
        objective("mse", 0.7, 1.0)


@pytest.mark.parametrize("name", LOSSES)
def test_the_torch_module_agrees_with_the_jax_losses_over_visits(name):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 8)
    own = NoisyLabelLoss(name, n=8, classes=4, beta=0.7, lam=2.0)
    targets = jnp.zeros((8, 4))
    value_and_slope = jax.value_and_grad(lambda scores, labels, targets: loss(kind(name), scores, labels, targets, 2.0))
    for rows in (np.arange(5), np.array([3, 4, 7]), np.arange(8)):
        scores = rng.normal(size=(len(rows), 4)).astype(np.float32) * 3
        targets = targets.at[rows].set(updated_targets(targets[rows], jnp.asarray(scores), 0.7))
        expected, slope = value_and_slope(jnp.asarray(scores), jax.nn.one_hot(labels[rows], 4), targets[rows])
        leaf = torch.tensor(scores, requires_grad=True)
        value = own(leaf, torch.tensor(labels[rows]), torch.tensor(rows))
        value.backward()
        assert value.item() == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
        assert np.allclose(leaf.grad, slope, atol=1e-5)
    assert np.allclose(own.targets, targets, atol=1e-6)


@pytest.fixture
def points():
    return linear.draw_points(jax_key(0, "data"), 120, 100, 0.3, 0.4)


def test_linear_gradient_is_that_of_the_stated_loss(points):
    theta = np.asarray(jax.random.normal(jax_key(0, "theta"), (100,)), np.float64) * 0.3
    x, eps = np.asarray(points.x, np.float64), np.asarray(points.observed, np.float64)

    def stated(theta):
        return np.logaddexp(0, -2 * eps * (x @ theta)).sum() / (2 * len(x))

    for j in (0, 7, 99):
        shift = np.zeros(100)
        shift[j] = 1e-6
        numeric = (stated(theta + shift) - stated(theta - shift)) / 2e-6
        assert float(linear.gradient(jnp.asarray(theta), points)[j]) == pytest.approx(numeric, abs=1e-4)


def test_unregularised_step_is_plain_gradient_descent(points):
    theta = 0.2 * jax.random.normal(jax_key(0, "theta"), (100,))
    for name, lam in (("ce", 0.0), ("elr", 0.0)):
        stepped, _ = linear.regularised_step(theta, jnp.zeros((120, 2)), points, 0.1, objective(name, 0.7, lam))
        assert np.allclose(stepped, theta - 0.1 * linear.gradient(theta, points), atol=1e-6)


def test_the_softmax_of_the_score_pair_predicts_the_sign(points):
    theta = jax.random.normal(jax_key(0, "theta"), (100,))
    p = jax.nn.softmax(linear.scores(theta, points.x))
    assert np.allclose(p[:, 0], jax.nn.sigmoid(2 * points.x @ theta), atol=1e-5)
    assert ((p[:, 0] > 0.5) == (jnp.sign(points.x @ theta) > 0)).all()


def test_the_first_step_from_zero_points_along_v():
    points = linear.draw_points(jax_key(3, "data"), 20_000, 50, 0.1, 0.4)
    slope = linear.gradient(jnp.zeros(50), points)
    assert np.allclose(-slope, (points.observed[:, None] * points.x).sum(0) / (2 * 20_000), atol=1e-6)
    assert float(-slope @ points.v) == pytest.approx((1 - 0.4) / 2, abs=0.01)


def test_half_of_the_replaced_labels_are_wrong():
    points = linear.draw_points(jax_key(1, "data"), 50_000, 2, 0.1, 0.4)
    assert float(points.wrong.mean()) == pytest.approx(0.2, abs=0.01)


def test_start_lies_on_its_sphere_and_nearly_across_v(points):
    for seed in range(5):
        theta = linear.draw_start(jax_key(seed, "start"), points.v, 2.0, 0.05)
        assert float(jnp.linalg.norm(theta)) == pytest.approx(2.0, rel=1e-5)
        assert abs(float(theta @ points.v)) <= 0.05


def test_noisy_labels_are_separable_and_cross_entropy_ends_by_memorising_them(points):
    x, eps = np.asarray(points.x, np.float64), np.asarray(points.observed)
    feasible = linprog(np.zeros(100), A_ub=-eps[:, None] * x, b_ub=-np.ones(120), bounds=(None, None))
    assert feasible.status == 0
    end = jax.lax.fori_loop(0, 30_000, lambda _, theta: theta - 0.5 * linear.gradient(theta, points), jnp.zeros(100))
    assert float(linear.agreement(end, points.x, points.observed, points.wrong)) == 1.0


def test_the_early_phase_ends_at_the_first_step_that_reaches_its_mark(points):
    start = linear.draw_start(jax_key(0, "start"), points.v, 2.0, 0.05)
    end = linear.run_until_aligned(start, points, 0.02, 0.1, 2000)
    theta, steps = start, 0
    while theta @ points.v < 0.1:
        theta, steps = theta - 0.02 * linear.gradient(theta, points), steps + 1
    assert int(end.step) == steps
    assert np.allclose(end.theta, theta, atol=1e-5)
    slope = linear.gradient(start, points)
    assert float(end.alignment) <= float(-(slope @ points.v) / jnp.linalg.norm(slope)) + 1e-6


def test_an_epoch_of_batches_visits_no_example_twice():
    rows = np.concatenate([mlp.batch_rows(jax_key(0, "order"), jnp.asarray(t), 20, 6) for t in range(3)])
    again = np.concatenate([mlp.batch_rows(jax_key(0, "order"), jnp.asarray(t), 20, 6) for t in range(3, 6)])
    assert len(set(rows.tolist())) == 18
    assert set(rows.tolist()) != set(again.tolist()) or rows.tolist() != again.tolist()


def test_a_step_is_torchs_sgd_with_momentum_and_updates_the_targets_of_its_batch_only():
    key = jax_key(0, "init")
    examples, _ = draw_digits(0, 0.4)
    examples = mlp.Examples(*(jnp.asarray(part[:12]) for part in examples[:3]), examples.x_test, examples.y_test, jax_key(0, "order"))
    run_ = mlp.init(key, (64, 8, 10), 12)
    layers = [torch.nn.Linear(64, 8), torch.nn.Linear(8, 10)]
    for layer, (W, b) in zip(layers, run_.weights, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(np.asarray(W.T)), torch.tensor(np.asarray(b))
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    own = NoisyLabelLoss("elr", 12, 10, 0.7, 3.0)
    step = jax.jit(lambda run, t: mlp.step(run, t, examples, objective("elr", 0.7, 3.0), size=5, rate=0.05, momentum=0.9))
    for t in range(4):
        rows = np.asarray(mlp.batch_rows(examples.key, jnp.asarray(t), 12, 5))
        run_ = step(run_, t)
        optimizer.zero_grad()
        own(
            network(torch.tensor(np.asarray(examples.x[rows]))), torch.tensor(np.asarray(examples.given[rows]), dtype=torch.long), torch.tensor(rows)
        ).backward()
        optimizer.step()
    for layer, (W, b) in zip(layers, run_.weights, strict=True):
        assert np.allclose(layer.weight.detach().T, W, atol=1e-4)
        assert np.allclose(layer.bias.detach(), b, atol=1e-4)
    assert np.allclose(own.targets, run_.targets, atol=1e-4)


def test_full_batch_elr_does_not_depend_on_the_order_of_the_training_set():
    rng = np.random.default_rng(0)
    points = linear.draw_points(jax_key(0, "data"), 30, 10, 0.3, 0.4)
    order = rng.permutation(30)
    shuffled = points._replace(x=points.x[order], true=points.true[order], observed=points.observed[order])
    step = jax.jit(lambda state, points: linear.regularised_step(*state, points, 0.1, objective("elr", 0.7, 3.0)))
    one = other = (jnp.ones(10) * 0.1, jnp.zeros((30, 2)))
    for _ in range(20):
        one, other = step(one, points), step(other, shuffled)
    assert np.allclose(one[0], other[0], atol=1e-5)
    assert np.allclose(one[1][order], other[1], atol=1e-5)


def test_digits_are_split_apart_and_only_training_and_validation_labels_are_noisy():
    examples, (x_valid, y_valid) = draw_digits(0, 0.4)
    assert (len(examples.x), len(x_valid), len(examples.x_test)) == (1259, 179, 359)
    assert (examples.given != examples.true).mean() == pytest.approx(0.36, abs=0.03)
    images, labels = load_digits(return_X_y=True)
    true = {image.tobytes(): label for image, label in zip(images.astype(np.float32), labels, strict=True)}

    def labelled(x):
        return np.array([true[(16 * image).round().astype(np.float32).tobytes()] for image in x])

    assert np.array_equal(labelled(examples.x), examples.true)
    assert np.array_equal(labelled(examples.x_test), examples.y_test)
    assert (labelled(x_valid) != y_valid).mean() == pytest.approx(0.36, abs=0.12)
    parts = [{image.tobytes() for image in x} for x in (examples.x, x_valid, examples.x_test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    again, _ = draw_digits(1, 0.4)
    assert not np.array_equal(examples.x_test, again.x_test)


def test_measures_of_the_digits_network_by_hand():
    answers = jnp.array([0, 1, 2, 3, 0, 1])
    examples = mlp.Examples(
        x=jnp.eye(4)[answers],
        given=jnp.array([0, 1, 0, 3, 2, 0]),
        true=jnp.array([0, 1, 2, 2, 1, 2]),
        x_test=jnp.eye(4)[:2],
        y_test=jnp.array([0, 3]),
        key=jax_key(0, ""),
    )
    targets = jnp.eye(4)[jnp.array([0, 1, 2, 2, 1, 0])]
    identity = mlp.Run([(jnp.eye(4), jnp.zeros(4))], [], targets)
    # Wrong labels: rows 2 to 5, answered 2 (true), 3 (given), 0 and 1 (neither).
    expected = {"right_correct": 1, "wrong_correct": 1 / 4, "wrong_memorised": 1 / 4, "test_accuracy": 1 / 2, "target_accuracy": 5 / 6}
    assert {name: float(value) for name, value in mlp.measure(identity, examples).items()} == pytest.approx(expected)


def test_measures_of_the_linear_model_by_hand():
    points = linear.Points(x=jnp.array([[1.0], [2.0], [3.0], [4.0]]), true=jnp.array([1.0, 1, -1, -1]), observed=jnp.array([1.0, -1, 1, 1]), v=jnp.ones(1))
    targets = jnp.array([[0.6, 0.1], [0.1, 0.6], [0.1, 0.6], [0.6, 0.1]])
    got = replicate.measure_linear((jnp.ones(1), targets), (points, (jnp.array([[1.0], [-1.0], [2.0], [3.0]]), jnp.array([1.0, -1.0, -1.0, 1.0])), None))
    expected = {"right_correct": 1, "wrong_correct": 1 / 3, "wrong_memorised": 2 / 3, "test_accuracy": 3 / 4, "target_accuracy": 1 / 2}
    expected |= {"kappa_right": 1 - np.tanh(1), "kappa_wrong": np.sqrt(((np.tanh(2) + 1) ** 2 + (np.tanh(3) - 1) ** 2 + (np.tanh(4) - 1) ** 2) / 3)}
    assert {name: float(value) for name, value in got.items()} == pytest.approx(expected, rel=1e-4)


def test_the_rate_falls_to_a_hundredth_at_each_decay(monkeypatch):
    monkeypatch.setattr(replicate.mlp, "step", lambda *_, rate, **__: rate)
    step = replicate.digits_step.__wrapped__(64, 0.05, (10, 20))
    assert [float(step(None, t, (None, None, None))) for t in (0, 9, 10, 19, 20)] == pytest.approx([0.05, 0.05, 5e-4, 5e-4, 5e-6])


def test_the_early_phase_is_measured_at_both_ends_and_by_the_seed():
    config = Config(passage_n=60, passage_p=50)
    condition = {"part": "passage", "sigma": 0.02}
    seed = 4
    _, row = run(config, condition, (3, seed), "cpu")
    points = linear.draw_points(jax_key(seed, "data"), 60, 50, 0.02, 0.4)
    theta = np.asarray(linear.draw_start(jax_key(seed, "start"), points.v, 2.0, 0.05))
    x, true, observed = np.asarray(points.x), np.asarray(points.true), np.asarray(points.observed)
    wrong = true != observed
    for when in ("start", "T"):
        squares = (np.tanh(x @ theta) - observed) ** 2
        assert row[f"kappa2_wrong_{when}"] == pytest.approx(squares[wrong].mean(), rel=1e-3)
        assert row[f"kappa2_right_{when}"] == pytest.approx(squares[~wrong].mean(), rel=1e-3)
        assert row[f"wrong_correct_{when}"] == pytest.approx((np.sign(x @ theta) == true)[wrong].mean(), abs=1e-6)
        for _ in range(int(row["T"])):
            theta = theta - 0.02 * x.T @ (np.tanh(x @ theta) - observed) / (2 * 60)


def test_claims_on_planted_trials():
    digits = {"part": "digits", "schedule": "constant", "beta": 0.7, "noise": 0.4, "seed": 7}

    def curves(memorised, accuracy=0.0):
        return {"wrong_memorised": np.array([0.5, memorised]), "test_accuracy": np.array([0.99, accuracy])}

    trials = pd.DataFrame(
        [
            {"part": "passage", "sigma": 0.02, "seed": 7, "kappa2_wrong_T": 1.4, "kappa2_wrong_start": 1.0, "kappa2_right_T": 0.7, "kappa2_right_start": 0.9},
            {"part": "linear", "loss": "ce", "radius": 0.1, "seed": 7, "wrong_correct": np.array([0.5, 0.95, 0.01])},
            digits | {"loss": "ce", "lam": 0.0} | curves(0.9, 0.7),
            digits | {"loss": "elr", "lam": 3.0} | curves(0.2, 0.8),
            *(digits | {"loss": "kl", "lam": lam} | curves(memorised) for lam, memorised in ((1.0, 0.8), (5.0, 0.5), (10.0, 0.6))),
            digits | {"noise": 0.6, "loss": "elr", "lam": 3.0} | curves(0.0, 0.6),
            digits | {"noise": 0.6, "loss": "elr", "lam": 3.0, "beta": 0.0} | curves(0.0, 0.2),
            digits | {"schedule": "decay", "loss": "ce", "lam": 0.0} | curves(1.0, 0.75),
            digits | {"schedule": "decay", "loss": "elr", "lam": 3.0} | curves(0.1, 0.97),
            *(digits | {"schedule": "decay", "loss": "kl", "lam": lam} | curves(memorised) for lam, memorised in ((1.0, 0.9), (5.0, 0.8), (10.0, 0.7))),
        ]
    )
    expected = {
        claims.coefficients_cross: 0.2, claims.early_then_memorise: 0.94, claims.memorised_ce_minus_elr: 0.7, claims.accuracy_elr_minus_ce: 0.1,
        claims.memorised_best_kl_minus_elr: 0.3, claims.accuracy_with_minus_without_averaging: 0.4, claims.decay_memorised_ce_minus_elr: 0.9,
        claims.decay_accuracy_elr_minus_ce: 0.22, claims.decay_memorised_best_kl_minus_elr: 0.6,
    }  # fmt: skip
    for claim, value in expected.items():
        assert claim(trials).to_dict() == pytest.approx({7: value}), claim.__name__


def test_a_miniature_of_the_other_parts_gives_a_row_a_seed():
    config = Config(passage_n=60, passage_p=50, passage_sigmas=(0.02,), linear_n=30, linear_p=20, linear_steps=20, linear_radii=(0.1,), linear_test=50)
    config = dataclasses.replace(config, hidden=8, epochs=1)
    for part in ("linear", "digits"):  # the early phase is run above
        condition = next(c for c in conditions(config) if c["part"] == part)
        rows = run(config, condition, (0, 1), "cpu")
        assert len(rows) == 2
        assert all(np.isfinite(value).all() for row in rows for value in row.values())


def test_photographs_train_and_split_their_curves(monkeypatch):
    from papers.early_learning_regularization import photographs
    from shared.data.images import Images

    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 6)
    images = Images(rng.integers(0, 255, (60, 32, 32, 3), np.uint8), y, rng.integers(0, 255, (20, 32, 32, 3), np.uint8), np.repeat(np.arange(10), 2), "made up")
    monkeypatch.setattr(photographs.cifar10, "load", lambda *_: images)
    config = Config(photographs=True, photo_epochs=2, photo_milestones=(1,), photo_batch=16, photo_small=True)
    condition = next(c for c in conditions(config) if c["part"] == "photographs" and c["loss"] == "elr")
    (row,) = run(config, condition, (0,), "cpu")
    assert row["test_accuracy"].shape == (2,)
    assert np.all(row["wrong_correct"] + row["wrong_memorised"] <= 1 + 1e-6)
    assert row["source"] == "made up"
