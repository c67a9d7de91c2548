"""Lazy-to-rich grokking: the closed dynamics against the net itself, the loss formula against sampling, the kernel against autodiff, and the limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch

from papers.grokking_lazy_to_rich import claims, images, model
from papers.grokking_lazy_to_rich.model import Problem, Quadratic, Summary, draw_problem, initial_weights, summarise
from papers.grokking_lazy_to_rich.replicate import Config, closed_losses, conditions, log_schedule, run
from shared.optim.many import stack_runs, train_many


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def problem(seed=0, D=6, P=20, N=50, alpha=1.5, eps=0.4, eta0=0.3, **options) -> Problem:
    return draw_problem(seed, D, P, N, alpha, eps, eta0, **({"test_points": 30} | options))


def losses(weights: Summary, problem: Problem):
    """Train loss, the three terms of the test loss, and f - f_0 on the test points."""
    predicted = model.predictor(weights, problem)
    return model.train_loss(predicted, problem), model.test_loss_terms(predicted, problem.beta), predicted(problem.X_test)


def closed_run(problem: Problem, schedule):
    """Last statistics, and `losses` at each entry of the schedule; tests that give four entries share one compiled program."""
    last, measured = train_many(model.closed_step, losses, schedule, *jax.tree.map(lambda leaf: np.asarray(leaf)[None], (problem.start, problem)))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), (last, measured))


def first_weight(W, problem):
    """Something to measure; a function of the module, so that all runs share one compiled program."""
    return W[0, 0]


def sampled(D, n, seed=5):
    return np.random.default_rng(seed).normal(size=(n, D)) / np.sqrt(D)


# ---- the closed dynamics ----


@pytest.mark.parametrize("centred", [True, False])
def test_the_closed_dynamics_are_gradient_descent_on_the_net(centred):
    given, W = problem(centred=centred), jnp.asarray(initial_weights(0, 50, 6))
    W_end, _ = train_many(model.network_step, first_weight, [200], W[None], jax.tree.map(lambda leaf: np.asarray(leaf)[None], given))
    weights, (train, _, values) = closed_run(given, [0, 1, 2, 200])
    expected = np.asarray(model.network(W_end[0], given.X_test, given.alpha, given.eps))
    if centred:
        expected = expected - np.asarray(model.network(W, given.X_test, given.alpha, given.eps))
    np.testing.assert_allclose(values[-1], expected, atol=1e-8)
    np.testing.assert_allclose(weights.wbar, W_end[0].mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(weights.M, summarise(np.asarray(W_end[0])).M, atol=1e-10)
    assert train[-1] == pytest.approx(float(jax.jit(model.network_loss)(W_end[0], given)), rel=1e-8)
    assert train[-1] < 0.2 * train[0] and np.abs(values[-1] - values[0]).max() > 0.1  # and something was learned


def test_one_step_by_hand():
    """One neuron, one dimension, one example: w' = w - 2 (eta0 N / alpha^2) (f - f_0 - y) (alpha/N) (1 + eps w x) x."""
    w, x, beta, alpha, eps, eta0 = 0.7, 1.3, 0.9, 2.0, 0.5, 0.1
    start = Summary(np.array([w]), np.array([[w * w]]))
    given = Problem(np.array([[x]]), np.array([(beta * x) ** 2 / 2]), np.array([[x]]), np.array([beta]), start, start, alpha, eps, eta0)
    expected = w + 2 * eta0 / alpha * (beta * x) ** 2 / 2 * (1 + eps * w * x) * x
    moved = model.closed_step(start, 0, given)
    assert float(moved.wbar[0]) == pytest.approx(expected) and float(moved.M[0, 0]) == pytest.approx(expected**2)


def test_closed_matrices_stay_symmetric_and_positive():
    weights, _ = closed_run(problem(N=3), [0, 1, 2, 3000])
    np.testing.assert_allclose(weights.M, weights.M.T, atol=1e-12)
    assert np.linalg.eigvalsh(weights.M - np.outer(weights.wbar, weights.wbar)).min() > -1e-12


def test_rotating_data_teacher_and_weights_together_changes_no_loss():
    given = problem()
    R = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    start = Summary(R @ given.start.wbar, R @ given.start.M @ R.T)
    turned = given._replace(X=given.X @ R.T, X_test=given.X_test @ R.T, beta=R @ given.beta, start=start, origin=start)
    for one, other in zip(closed_run(given, [0, 10, 100, 300])[1], closed_run(turned, [0, 10, 100, 300])[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_initial_statistics_have_their_expected_size():
    D, N = 60, 400
    starts = [summarise(initial_weights(seed, N, D)) for seed in range(20)]
    assert np.mean([np.trace(start.M) / D for start in starts]) == pytest.approx(1, abs=0.01)
    assert np.mean([start.wbar @ start.wbar for start in starts]) == pytest.approx(D / N, rel=0.1)


def test_problems_share_draws_across_knobs_and_train_sizes_and_differ_across_seeds():
    small, large, other = problem(P=20, alpha=1.0), problem(P=30, alpha=4.0), problem(seed=1)
    np.testing.assert_array_equal(small.X, large.X[:20])
    np.testing.assert_array_equal(small.start.M, large.start.M)
    np.testing.assert_array_equal(small.y, (small.X @ small.beta) ** 2 / 2)
    assert (small.X != other.X).all() and (small.beta != other.beta).all() and (small.X_test != other.X_test).all()
    assert (small.start.M != other.start.M).all() and (small.start.wbar != other.start.wbar).all()
    assert not problem(centred=False).origin.M.any() and problem().origin is not None


# ---- the test loss ----


def test_the_three_terms_add_up_to_the_sampled_test_loss():
    given = problem(centred=False)
    weights, _ = closed_run(given, [0, 1, 2, 40])
    predicted = model.predictor(weights, given)
    X = sampled(6, 1_000_000)
    squares = (np.asarray(predicted(X)) - (X @ given.beta) ** 2 / 2) ** 2
    terms = np.asarray(model.test_loss_terms(predicted, given.beta))
    assert (terms > 1e-3 * terms.sum()).all()  # none of the three is hidden by the others
    assert abs(squares.mean() - terms.sum()) < min(0.01 * terms.sum(), 4 * squares.std() / 1000)


def test_the_terms_are_those_of_the_paper():
    """(|beta|^2 - alpha eps tr M)^2 / 4 D^2, ||alpha eps M - beta beta^T||^2 / 2 D^2, alpha^2 |wbar|^2 / D, for f itself."""
    given, D = problem(centred=False), 6
    (wbar, M), beta, scale = given.start, given.beta, given.alpha * given.eps
    paper = [
        (beta @ beta - scale * np.trace(M)) ** 2 / (4 * D**2),
        np.linalg.norm(scale * M - np.outer(beta, beta)) ** 2 / (2 * D**2),
        given.alpha**2 * wbar @ wbar / D,
    ]
    np.testing.assert_allclose(model.test_loss_terms(model.predictor(given.start, given), beta), paper)


# ---- the kernel ----


def test_the_kernel_is_the_gram_matrix_of_the_jacobian():
    given, N, W = problem(), 50, jnp.asarray(initial_weights(0, 50, 6))
    X, Z = given.X[:8], given.X_test[:5]
    jacobian = jax.jit(lambda points: jax.jacobian(model.network)(W, points, given.alpha, given.eps).reshape(len(points), -1))
    J = jacobian(jnp.concatenate([X, Z]))
    J_X, J_Z = J[:8], J[8:]
    np.testing.assert_allclose(given.alpha**2 / N * model.kernel(given.start, given.eps, X, Z), J_X @ J_Z.T, atol=1e-10)


def test_kernel_expansions_are_the_quadratic_functions_they_are_said_to_be():
    given, c = problem(), np.random.default_rng(2).normal(size=20)
    expected = np.asarray(model.kernel(given.start, given.eps, given.X_test, given.X)) @ c
    np.testing.assert_allclose(model.combine(c, given)(given.X_test), expected, atol=1e-12)


def test_kernel_regression_interpolates_and_is_where_the_linearised_net_ends():
    given = problem(eps=1.0)
    exact = jax.jit(model.kernel_regression)(given)
    np.testing.assert_allclose(exact(given.X), given.y, atol=1e-6)
    late = jax.tree.map(lambda leaf: leaf[-1], jax.jit(model.linearised)(given, np.array([1.0, 1e2, 1e4, 1e6])))
    test = [float(model.test_loss_terms(predicted, given.beta).sum()) for predicted in (exact, late)]
    assert test[1] == pytest.approx(test[0], rel=0.02)


def test_the_linearised_net_takes_plain_gradient_steps():
    given, steps = problem(), np.array([0.0, 1.0, 7.0, 40.0])
    k = np.asarray(model.kernel(given.start, given.eps, given.X, given.X))
    lin = jax.jit(model.linearised)(given, steps)
    for i, t in enumerate(steps):
        c = np.zeros(20)
        for _ in range(int(t)):
            c -= 2 * given.eta0 / 20 * (k @ c - given.y)
        np.testing.assert_allclose(Quadratic(lin.a[i], lin.B[i])(given.X), k @ c, atol=1e-10)


def test_a_lazy_net_is_its_linearisation_up_to_one_over_alpha():
    schedule, differences = np.array([1.0, 10.0, 100.0, 1000.0]), []
    for alpha in (1.0, 1e3, 1e4):
        given = problem(alpha=alpha)
        lin = jax.jit(model.linearised)(given, schedule)
        expected = np.stack([Quadratic(a, B)(given.X_test) for a, B in zip(*lin, strict=True)])
        differences.append(np.linalg.norm(closed_run(given, schedule)[1][2] - expected, axis=1) / np.linalg.norm(expected, axis=1))
    rich, lazy, lazier = differences
    assert rich.max() > 0.1 and lazier.max() < 1e-3
    np.testing.assert_allclose(lazy, 10 * lazier, rtol=0.05)


def test_without_the_quadratic_part_the_kernel_stays_and_no_linear_predictor_is_beaten():
    runs = stack_runs([problem(seed, eps=0.0) for seed in (0, 1)])
    _, curves = train_many(model.closed_step, model.measure, [0, 5, 50, 500], runs.start, runs)
    np.testing.assert_allclose(curves["alignment"], np.tile(curves["alignment"][:, :1], (1, 4)), rtol=1e-12)
    terms = np.asarray(curves["test_terms"])
    best_linear = 3 / 4 * (runs.beta @ runs.beta.T).diagonal() ** 2 / 6**2  # E y^2, of the zero function: x and y are uncorrelated
    assert (terms.sum(axis=2) >= best_linear[:, None] - 1e-12).all()
    assert (curves["train_loss"][:, -1] < curves["train_loss"][:, 0]).all()


def test_alignment_is_one_for_the_task_itself_and_small_for_noise():
    draw = np.random.default_rng(0)
    y = draw.normal(size=300)
    features = draw.normal(size=(300, 2000))
    assert float(model.alignment(np.outer(y, y) + 3.0, y)) == pytest.approx(1)
    assert float(model.alignment(features @ features.T, y)) < 0.1
    H = np.eye(300) - 1 / 300
    k = features[:, :5] @ features[:, :5].T + np.outer(np.ones(300), np.arange(300)) / 100
    k = (k + k.T) / 2
    y_c, k_c = H @ y, H @ k @ H
    assert float(model.alignment(k, y)) == pytest.approx(y_c @ k_c @ y_c / (np.linalg.norm(k_c) * (y_c @ y_c)))


def test_measured_curves_are_the_losses_of_the_predictor():
    runs = stack_runs([problem(seed) for seed in (0, 1)])
    _, curves = train_many(model.closed_step, model.measure, [0, 10, 20, 30], runs.start, runs)
    for i in (0, 1):
        (wbar, M), (train, terms, _) = closed_run(problem(i), [0, 10, 20, 30])
        X, beta, H = runs.X_test[i], runs.beta[i], np.eye(30) - 1 / 30
        linear = X @ wbar
        k = H @ ((X @ X.T) * (1 + 0.4 * (linear[:, None] + linear) + 0.4**2 * X @ M @ X.T)) @ H
        y = H @ (X @ beta) ** 2 / 2
        assert float(curves["alignment"][i, -1]) == pytest.approx(y @ k @ y / (np.linalg.norm(k) * (y @ y)))  # of the kernel as it is by now
        np.testing.assert_allclose(curves["train_loss"][i], train, rtol=1e-9)
        np.testing.assert_allclose(curves["test_terms"][i], terms, rtol=1e-9)
        assert float(curves["trace"][i, 0]) == pytest.approx(np.trace(problem(i).start.M))


# ---- images ----


def test_the_mlp_trains_as_its_torch_twin_does():
    draw, size, scale, decay = np.random.default_rng(0), 3.0, 2.0, 0.1
    X, labels = draw.uniform(size=(12, 7)).astype(np.float32), draw.integers(10, size=12)
    weights = images.initial_weights(0, (7, 6, 5, 10), size)
    assert np.std(np.concatenate([W.ravel() * np.sqrt(len(W)) for W in weights])) == pytest.approx(np.sqrt(2) * size, rel=0.15)
    theirs = [torch.tensor(W, requires_grad=True) for W in weights]

    def forward(X):
        h = torch.tensor(X)
        for W in theirs[:-1]:
            h = torch.relu(h @ W / W.shape[0] ** 0.5)
        return scale * h @ theirs[-1] / theirs[-1].shape[0]

    optimiser = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=decay)
    with jax.enable_x64(False):
        pictures = images.Pictures(X, labels, X, labels, np.float32(scale), np.float32(decay))
        state, step = images.initial_state(weights), jax.jit(images.training_step(1e-2, 5))
        for t in range(4):
            rows = (5 * t + np.arange(5)) % 12
            loss = torch.square(forward(X[rows]) - torch.nn.functional.one_hot(torch.tensor(labels[rows]), 10)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            state = step(state, t, pictures)
        measured = jax.jit(images.measure)(state, pictures)
    f = forward(X).detach().numpy()
    assert float(measured["train_loss"]) == pytest.approx(((f - np.eye(10)[labels]) ** 2).mean(), rel=1e-4)
    assert float(measured["test_accuracy"]) == pytest.approx((f.argmax(axis=1) == labels).mean())
    for ours, expected in zip(state.weights, theirs, strict=True):
        np.testing.assert_allclose(ours, expected.detach(), rtol=1e-4, atol=1e-5)


def test_digits_are_split_anew_for_each_seed_and_no_image_lies_in_both_parts():
    first, other = (images.load("digits", seed) for seed in (0, 1))
    assert len(first[0]) == pytest.approx(1000, abs=5) and len(first[0]) + len(first[2]) == 1797
    assert first[0].min() == 0 and first[0].max() == 1
    assert np.bincount(first[1]).min() > 90 and (first[1] != np.sort(first[1])).any() and (first[1][:900] != other[1][:900]).any()
    train, test, test_of_other = ({row.tobytes() for row in part} for part in (first[0], first[2], other[2]))
    assert not train & test
    assert len(test & test_of_other) < 0.6 * len(test)


# ---- from curves to claims ----


def test_the_step_of_a_crossing_is_found_between_measurements_and_censored_at_the_end():
    steps = np.array([0, 1, 10, 100, 1000])
    falling = np.array([1.0, 0.9, 0.5, 0.1, 0.05])
    assert claims.log10_step(steps, falling, 0.3) == pytest.approx(1.5)
    assert claims.log10_step(steps, 1 - falling, 0.7, above=True) == pytest.approx(1.5)
    assert claims.log10_step(steps, falling, 0.95) == 0
    assert claims.log10_step(steps, falling, 0.01) == 3


def test_a_planted_delay_and_its_slope_over_alpha_are_recovered():
    steps, rows = np.array([0, 10, 100, 1000, 10_000]), []
    for alpha, generalises in ((1.0, 2), (2.0, 3), (4.0, 4)):
        test = np.where(np.arange(5) >= generalises, 0.2, 0.4)
        test[0] = 1
        terms = np.stack([test - 0.1, np.full(5, 0.06), np.full(5, 0.04)], axis=1)
        row = {"experiment": "dynamics", "alpha": alpha, "eps": claims.EPS, "centred": True, "steps": steps, "test_terms": terms}
        rows += [row | {"seed": seed, "train_loss": np.array([1, 0.09, 0.01, 0, 0])} for seed in (0, 1)]
    trials = pd.DataFrame(rows)
    np.testing.assert_allclose(claims.grokking_delay(trials), 2.5 - 1)
    np.testing.assert_allclose(claims.delay_slope(trials), 1.0)


def test_schedules_begin_at_zero_and_end_with_the_last_step():
    schedule = log_schedule(1000, 30)
    assert schedule[0] == 0 and schedule[1] == 1 and schedule[-1] == 1000 and (np.diff(schedule) > 0).all()


def given_baselines(given: Problem, steps: int):
    """For each of stacked problems, in plain NumPy: train loss of the linearised net after so many steps, and test loss of kernel regression."""
    for X, y, beta, (wbar, M), alpha, eps, eta0 in zip(
        given.X, given.y, given.beta, zip(*given.start, strict=True), given.alpha, given.eps, given.eta0, strict=True
    ):
        P, D = X.shape
        linear = X @ wbar
        k = (X @ X.T) * (1 + eps * (linear[:, None] + linear) + eps**2 * X @ M @ X.T)
        r = y - alpha * linear - alpha * eps / 2 * ((X @ M) * X).sum(axis=1)  # not centred
        for _ in range(steps):
            r = r - 2 * eta0 / P * k @ r
        c = np.linalg.solve(k + 1e-10 * np.trace(k) / P * np.eye(P), y)
        a, B = (c * (1 + eps * linear)) @ X, eps * np.outer(wbar, c @ X) + eps**2 * M @ ((X.T * c) @ X)
        C = (B + B.T) / 2 - np.outer(beta, beta) / 2
        yield (r**2).mean(), (np.trace(C) ** 2 + 2 * (C**2).sum()) / D**2 + a @ a / D


def test_planted_numbers_come_back_from_every_other_claim():
    steps, rows, held = np.array([0, 1, 10, 100, 1000]), [], np.array([0.5, 0.5, 0.0])

    def toy(experiment, test, **more):
        train = np.array([2, 2, 0.18, 0, 0])  # below a tenth of its start at the third measurement
        return {"experiment": experiment, "steps": steps, "train_loss": train, "test_terms": np.multiply.outer(np.array(test), held)} | more

    for i, eps in enumerate((0.25, 0.5, 1.0, 2.0, 4.0)):
        for centred, sign in ((True, 1), (False, -2)):  # ends at 0.1 e^(i / 5) and 0.1 e^(-2 i / 5); crosses at steps 1000, 100, 10 in turn
            test = np.where(np.arange(5) > 3 - min(i, 2), 0.1 * np.exp(sign * i / 5), 4.0)
            rows.append(toy("dynamics", test, alpha=1.0, eps=eps, centred=centred, kernel_test_loss=0.4, trace=np.array([2, 1, 3, 4, 5.0])))
            rows[-1]["alignment"] = np.array([0.1, 0.3, 0.2, 0.7, 0.8])
    for P, test in ((20, (2, 2, 2, 2, 3)), (110, (1, 1, 1, 1, 0.1)), (800, (1, 1, 0.1, 0, 0))):
        rows.append(toy("data", test, D=20, P=P))
    rows += [{"experiment": "concentration", "D": D, "test_loss_spread": D**-0.4, "train_loss_spread": 1.0} for D in (8, 20, 80)]
    rows += [{"experiment": "finite", "N": N, "deviation": deviation} for N, deviation in ((50, 1e-9), (500, 3e-9))]
    for scale, decay, late in ((1.0, 0.01, 2), (9.0, 0.01, 3), (1.0, 0.0, 2), (9.0, 0.0, 4)):
        train, test = (np.where(np.arange(5) >= at, 0.95, 0.1) for at in (2, late))
        rows.append({"experiment": "images", "scale": scale, "decay": decay, "steps": steps, "train_accuracy": train, "test_accuracy": test})
    trials = pd.DataFrame([row | {"seed": seed} for row in rows for seed in (3, 4)])
    expected = {
        claims.norm_growth: 1.5, claims.final_over_kernel: 0.25, claims.alignment_gain: 4, claims.final_loss_slope: 0.2,
        claims.final_loss_slope_uncentred: -0.4, claims.closure_deviation: 3e-9, claims.spread_slope: -0.4, claims.never_generalises: 1.5,
        claims.image_effect: 1, claims.image_effect_without_decay: 2,
    }  # fmt: skip
    for claim, value in expected.items():
        of_seeds = claim(trials)
        assert sorted(of_seeds.index.get_level_values("seed")) == [3, 4]
        np.testing.assert_allclose(of_seeds, value, err_msg=claim.__name__)
    assert (claims.delay_lost(trials) > 1.9).all() and (claims.eps_delay_slope(trials) < -0.3).all()


def test_a_miniature_of_every_experiment_gives_rows_and_depends_on_the_seed():
    config = Config(
        D=6, N=10, steps=20, points=6, test_points=10, epsilons=(0.25, 0.5), data_D=6, data_ratios=(5.5,), data_steps=20, finite_widths=(10,), finite_steps=10,
        crowd_dimensions=(6,), crowd=3, crowd_steps=1, images_hidden=8, images_steps=10, images_batch=20,
    )  # fmt: skip
    grid = conditions(config)
    assert len(grid) == 1 + 4 + 1 + 2 + 1 + 1 + 1 + 8  # the headline belongs to two sweeps
    last_of_each = {condition["experiment"]: condition for condition in grid}
    with jax.enable_x64(False):  # run() sets its own precision
        for condition in last_of_each.values():
            first, second = run(config, condition, (0, 1), "cpu")
            assert not set(first) & set(condition)
            assert all(np.isfinite(value).all() for value in first.values())
            assert any(np.any(first[name] != second[name]) for name in first)
            if condition["experiment"] == "dynamics":  # all start from the same function
                assert first["linear_train_loss"][0] == pytest.approx(first["train_loss"][0])
                assert first["linear_test_loss"][0] == pytest.approx(first["test_terms"][0].sum())
                assert condition["alpha"] == 1 and condition["eps"] == 0.5 and not condition["centred"]
                given = stack_runs([draw_problem(seed, 6, 33, 10, 1.0, 0.5, config.eta0, False, 10) for seed in (0, 1)])
                with jax.enable_x64(True):
                    curves = train_many(model.closed_step, model.measure, log_schedule(20, 6), given.start, given)[1]
                for name, values in curves.items():
                    np.testing.assert_allclose(second[name], values[1], rtol=1e-10)
                for row, expected in zip((first, second), given_baselines(given, 20), strict=True):
                    np.testing.assert_allclose([row["linear_train_loss"][-1], row["kernel_test_loss"]], expected, rtol=1e-5)
            if condition["experiment"] == "images":
                for seed, row in enumerate((first, second)):
                    X, labels, X_test, labels_test = images.load("digits", seed)
                    readout = images.initial_weights(seed, (64, 8, 8, 10), config.images_size)
                    for part, h, truth in (("train", X, labels), ("test", X_test, labels_test)):
                        for W in readout[:-1]:
                            h = np.maximum(h @ W / np.sqrt(len(W)), 0)
                        f = condition["scale"] * h @ readout[-1] / 8
                        assert row[f"{part}_loss"][0] == pytest.approx(((f - np.eye(10)[truth]) ** 2).mean(), rel=1e-4)
                assert all((W != V).all() for W, V in zip(readout, images.initial_weights(0, (64, 8, 8, 10), config.images_size), strict=True))
            if condition["experiment"] == "concentration":
                crowd = stack_runs([draw_problem(draw, 6, 33, 30, 1.0, config.headline_eps, config.eta0, True, 2) for draw in range(6)])
                with jax.enable_x64(True):
                    curves = train_many(model.closed_step, closed_losses, log_schedule(6, 20), crowd.start, crowd)[1]["test_loss"]
                later = np.asarray(curves)[3:, 1:] / np.asarray(curves)[3:, :1]
                assert second["test_loss_spread"] == pytest.approx(np.log(later).std(axis=0, ddof=1).mean())
            if condition["experiment"] == "finite":
                assert first["deviation"] < 1e-10  # float64 throughout
