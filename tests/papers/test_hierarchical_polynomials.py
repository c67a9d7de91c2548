"""The targets' exact moments, the two stages against plain versions and limits, the kernels against scikit-learn, the learning curves against a simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from sklearn.kernel_ridge import KernelRidge

from papers.hierarchical_polynomials import baselines, claims, model, targets, theory
from papers.hierarchical_polynomials.replicate import LAMS2, NETWORK, RIDGES, SCATTERED, Config, conditions, draw_problem, run
from shared.engine import NotRun
from shared.engine.errors import RequestError
from shared.kernels import relu_network_kernel

MANY = 400_000


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def target_of(d: int, seed: int = 0, **kind) -> targets.Target:
    return targets.draw_target(np.random.default_rng(seed), d, **kind)


def data_of(target: targets.Target, n: int, seed: int = 1) -> model.Labelled:
    x = gaussian(seed, n, target.d)
    return model.Labelled(x, target(x))


@pytest.fixture(scope="module")
def cloud() -> torch.Tensor:
    return gaussian(5, MANY, 6)


# --- Targets ------------------------------------------------------------------------------------------------------------------------------------------


def test_hermite_polynomials_are_orthonormal_and_the_links_have_the_mean_slopes_they_claim():
    z, weight = (torch.as_tensor(part) for part in hermegauss(40))
    weight = weight / weight.sum()
    H = torch.stack([torch.ones_like(z), *(targets.hermite(k, z) for k in (1, 2, 3))])
    torch.testing.assert_close((H * weight) @ H.T, torch.eye(4, dtype=H.dtype), atol=1e-10, rtol=0)
    slope = {name: float((weight * z * targets.link(name, z)).sum()) for name in ("generic", "even")}  # E[g'(z)] = E[z g(z)]
    assert slope == pytest.approx({"generic": targets.MEAN_SLOPE, "even": 0.0}, abs=1e-12)
    assert float((weight * targets.link("generic", z) ** 2).sum()) == pytest.approx(1)


@pytest.mark.parametrize(("family", "k", "link"), [("hermite", 2, "generic"), ("hermite", 2, "even"), ("parity", 2, "generic"), ("parity", 3, "generic")])
def test_p_has_mean_0_and_variance_1_and_the_moments_of_h_are_exact(cloud, family, k, link):
    target = target_of(6, family=family, k=k, link=link)
    p, h = target.p(cloud), target(cloud)
    assert abs(float(p.mean())) < 0.01 and float(p.var()) == pytest.approx(1, abs=0.01)
    error = float(((h - h.mean()) ** 2).std()) / math.sqrt(MANY)
    assert float(h.var()) == pytest.approx(target.variance, abs=4 * error) and error < 0.05 * target.variance


def test_the_variance_of_h_for_cubic_features_by_quadrature():
    """d = 2: h is a polynomial of degree 6 in two independent normals."""
    target = target_of(2, k=3)
    z, weight = hermegauss(20)
    grid = torch.as_tensor(np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2))
    W = torch.as_tensor(np.outer(weight, weight).ravel() / weight.sum() ** 2)
    h = target(grid @ target.Q.T)
    assert float((W * h**2).sum() - (W * h).sum() ** 2) == pytest.approx(target.variance)
    degree3 = lambda j: float((W * h * targets.hermite(3, grid[:, j])).sum())  # noqa: E731
    degree2 = lambda j: float((W * h * targets.hermite(2, grid[:, j])).sum())  # noqa: E731
    assert [degree3(j) for j in (0, 1)] == pytest.approx([targets.MEAN_SLOPE * float(s) / math.sqrt(2) for s in target.signs])
    below = sum(degree2(j) ** 2 for j in (0, 1))
    assert below == pytest.approx(9 / 2 / 2)  # (1/2) k^2 / d
    assert target.variance - target.plateau == pytest.approx(below + 1 / 2)
    assert targets.feature_limit(3, 2) == pytest.approx(math.sqrt(0.5 / (0.5 + below)))


def test_the_closed_form_of_the_quadratic_part_is_the_regression_on_the_coordinates(cloud):
    target = target_of(6)
    z = cloud @ target.Q
    basis, h = targets.hermite(2, z), target(cloud)
    fitted = basis @ torch.linalg.lstsq(basis.T @ basis, basis.T @ h[:, None]).solution[:, 0]
    closed = targets.projected_quadratic(target, cloud)
    assert float((fitted - closed).norm() / closed.norm()) < 0.06  # noise of the regression with these heavy tails
    assert float(torch.corrcoef(torch.stack([closed, target.p(cloud)]))[0, 1]) == pytest.approx(targets.feature_limit(2, 6), abs=0.003)
    assert float(((h - closed) ** 2).mean()) == pytest.approx(target.plateau, rel=0.05)


@pytest.mark.parametrize("signs", [(1.0, -1.0), (1.0, 1.0)])
def test_the_closed_form_of_the_quadratic_part_by_quadrature(signs):
    """d = 2: the scalar products of h with he_2(z_1), he_2(z_2) and z_1 z_2, and that nothing else has degree 1 or 2."""
    target = replace(target_of(2), signs=torch.tensor(signs, dtype=torch.float64))
    z, weight = hermegauss(20)
    grid = torch.as_tensor(np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2))
    W = torch.as_tensor(np.outer(weight, weight).ravel() / weight.sum() ** 2)
    basis = torch.stack([*targets.hermite(2, grid).T, grid.prod(dim=1), *grid.T])
    x = grid @ target.Q.T
    h, closed = target(x), targets.projected_quadratic(target, x)
    torch.testing.assert_close(((basis * W) @ h) @ basis, closed, rtol=0, atol=1e-9)
    assert float((W * h**2).sum() - (W * h).sum() ** 2) == pytest.approx(target.variance)
    if sum(signs) == 0:
        assert float((W * (h - closed) ** 2).sum()) == pytest.approx(target.plateau)


def test_with_all_signs_equal_p_is_radial_and_stage_1_would_find_it_exactly(cloud):
    target = replace(target_of(6), signs=torch.ones(6, dtype=torch.float64))
    radial = ((cloud**2).sum(dim=1) - 6) / math.sqrt(2 * 6)
    torch.testing.assert_close(target.p(cloud), radial)
    torch.testing.assert_close(targets.projected_quadratic(target, cloud), targets.MEAN_SLOPE * (1 + 2 / math.sqrt(6)) * radial)
    assert float(target(cloud).var()) == pytest.approx(target.variance, rel=0.03)


def test_sparse_parities_of_two_are_the_balanced_quadratic_in_other_coordinates(cloud):
    parity = target_of(6, family="parity")
    turn = torch.block_diag(*[torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)] * 3)
    same = replace(parity, Q=parity.Q @ turn, signs=torch.tensor([1.0, -1.0] * 3, dtype=torch.float64), family="hermite")
    torch.testing.assert_close(parity.p(cloud), same.p(cloud))
    assert parity.variance == same.variance


def test_targets_are_random_rotations_with_the_signs_asked_for():
    target = target_of(10)
    torch.testing.assert_close(target.Q @ target.Q.T, torch.eye(10, dtype=torch.float64))
    assert float(target.signs.sum()) == 0 and set(target.signs.tolist()) == {-1.0, 1.0}
    draws = [target_of(4, seed, balanced=False) for seed in range(40)]
    assert len({float(t.signs.sum()) for t in draws}) > 2
    traces = [float(t.Q.trace()) for t in draws]
    assert abs(np.mean(traces)) < 0.6  # Haar: mean 0, variance 1; LAPACK's own signs would give a negative mean


# --- Approximate Stein lemma --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [4, 16, 100])
def test_the_gap_to_p_is_2_over_the_root_of_d_whatever_the_signs(d):
    for balanced in (True, False):
        target = target_of(d, seed=3, balanced=balanced)
        A = targets.quadratic_form(target)
        x = gaussian(0, 20, d)
        torch.testing.assert_close(((x @ A) * x).sum(dim=1) - A.trace(), target.p(x))
        assert targets.stein_gap(A) == pytest.approx(2 / math.sqrt(d))


def test_the_sampled_gap_has_no_bias_from_noise():
    """With 4000 points the estimates are mostly noise; a plain norm would be several times too large."""
    target, rng = target_of(10), np.random.default_rng(0)
    squares = [targets.stein_gap_sampled(target, lambda n: torch.as_tensor(rng.standard_normal((n, 10))), 4000, block=700) ** 2 for _ in range(60)]
    assert np.mean(squares) == pytest.approx(4 / 10, abs=4 * np.std(squares) / math.sqrt(60))
    assert np.std(squares) / math.sqrt(60) < 0.04


def test_stein_gap_of_any_quadratic_is_that_of_its_projection():
    """Unequal eigenvalues: the quadratic part of he_2(p), by quadrature in its own coordinates."""
    weights = np.array([0.5, -0.2])
    z, weight = hermegauss(12)
    Z1, Z2 = np.meshgrid(z, z)
    W = np.outer(weight, weight) / weight.sum() ** 2
    p = weights[0] * (Z1**2 - 1) + weights[1] * (Z2**2 - 1)
    f = (p**2 - 1) / math.sqrt(2)
    coefficients = [(W * f * (Z**2 - 1) / math.sqrt(2)).sum() for Z in (Z1, Z2)] + [(W * f * Z1 * Z2).sum()]
    assert targets.stein_gap(torch.diag(torch.as_tensor(weights))) == pytest.approx(np.linalg.norm(coefficients))


# --- The two stages -----------------------------------------------------------------------------------------------------------------------------------


def test_the_first_layer_is_the_polynomial_of_normal_preactivations():
    first = model.draw_first_layer(np.random.default_rng(0), 5, 4000, k=3)
    torch.testing.assert_close(first.V.norm(dim=1), torch.full((4000,), 1 / math.sqrt(2), dtype=torch.float64))
    assert float(first.s.var()) == pytest.approx(0.5, rel=0.1)
    x = gaussian(0, 2, 5)
    t = (first.V @ x.T + first.s[:, None]).T.numpy()
    plain = 1 + t + (t**2 - 1) / math.sqrt(2) + (t**3 - 3 * t) / math.sqrt(6)
    np.testing.assert_allclose(first(x), plain / 4000)
    np.testing.assert_allclose(replace(first, k=2)(x), (1 + t + (t**2 - 1) / math.sqrt(2)) / 4000)
    np.testing.assert_allclose(replace(first, activation="relu")(x), np.maximum(t, 0) / 4000)


def test_the_network_is_its_formula():
    rng = np.random.default_rng(0)
    first, second = model.draw_first_layer(rng, 3, 7), model.draw_second_layer(rng, 5)
    network = model.ThreeLayer(first, second, gaussian(1, 7), gaussian(2, 5))
    x = gaussian(3, 4, 3)
    for i in range(4):
        t = [float(first.V[j] @ x[i] + first.s[j]) for j in range(7)]
        g = sum(float(network.u[j]) * (1 + t[j] + (t[j] ** 2 - 1) / math.sqrt(2)) for j in range(7)) / 7
        h = g + sum(float(network.c[i]) * max(float(second.a[i]) * g + float(second.b[i]), 0) for i in range(5))
        assert float(network.g(x)[i]) == pytest.approx(g) and float(network(x)[i]) == pytest.approx(h)


def test_ridge_is_the_stationary_point_of_its_loss_and_in_stage_1_kernel_ridge_regression():
    target = target_of(4)
    data, first = data_of(target, 60), model.draw_first_layer(np.random.default_rng(2), 4, 30)
    Z, w = first(data.x), None
    for lam, w in zip((1e-3, 0.1), model.ridge(Z, data.y, (1e-3, 0.1)), strict=True):
        torch.testing.assert_close(Z.T @ (Z @ w - data.y) / 60 + lam * w, torch.zeros(30, dtype=torch.float64), atol=1e-10, rtol=0)
    few = Z[:20]  # fewer samples than weights: the other factorisation
    for lam, w in zip((1e-3, 0.1), model.ridge(few, data.y[:20], (1e-3, 0.1)), strict=True):
        torch.testing.assert_close(few.T @ (few @ w - data.y[:20]) / 20 + lam * w, torch.zeros(30, dtype=torch.float64), atol=1e-10, rtol=0)
    x, phi = gaussian(9, 5, 4), lambda x: first(x) * 30
    (w,) = model.ridge(Z, data.y, first.lams([0.5], 60))
    K = phi(data.x) @ phi(data.x).T / 30
    torch.testing.assert_close(first(x) @ w, phi(x) @ phi(data.x).T / 30 @ torch.linalg.solve(K + 0.5 * torch.eye(60), data.y))


def test_features_in_blocks_combine_as_features_at_once():
    first, x, U = model.draw_first_layer(np.random.default_rng(2), 4, 30), gaussian(0, 11, 4), gaussian(1, 30, 3)
    for rows in (1, 4, 11, 256):
        torch.testing.assert_close(first.combined(x, U, rows), first(x) @ U)


def test_enough_quadratic_units_without_penalty_are_least_squares_on_all_monomials():
    d, target = 5, target_of(6)
    x = gaussian(1, 80, d)
    y = target(torch.cat([x, x[:, :1]], dim=1))
    first = model.draw_first_layer(np.random.default_rng(0), d, 42)
    (w,) = model.ridge(first(x), y, first.lams([1e-7], 80))

    def monomials(x):
        return torch.stack([torch.ones(len(x)), *x.T, *(x[:, i] * x[:, j] for i, j in combinations_with_replacement(range(d), 2))], dim=1)

    new = gaussian(2, 20, d)
    torch.testing.assert_close(first(new) @ w, monomials(new) @ torch.linalg.lstsq(monomials(x), y[:, None]).solution[:, 0], rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def small() -> tuple[model.FirstLayer, model.SecondLayer, model.Labelled, model.Labelled]:
    rng, target = np.random.default_rng(0), target_of(6)
    return model.draw_first_layer(rng, 6, 60), model.draw_second_layer(rng, 20), data_of(target, 600), data_of(target, 300, seed=2)


def test_gradient_descent_reaches_the_closed_form_in_both_stages_and_its_loss_falls(small):
    first, second, train, _ = small
    D1, D2 = train.halves()
    stages = [(first(D1.x), D1.y, first.lams([30.0], len(D1))[0]), (second(D2.y), D2.y, 0.05)]
    for Z, y, lam in stages:
        w, losses = model.descend(Z, y, lam, (1, 10, 8000))
        (closed,) = model.ridge(Z, y, [lam])
        assert float((w[-1] - closed).norm() / closed.norm()) < 1e-4 < float((w[1] - closed).norm() / closed.norm())
        assert bool((losses.diff() <= 1e-14).all()) and len(losses) == 8001
        loss = lambda w, Z=Z, y=y, lam=lam: float(((Z @ w - y) ** 2).mean() / 2 + lam * (w @ w) / 2)  # noqa: E731
        assert float(losses[10]) == pytest.approx(loss(w[1])) and float(losses[0]) == pytest.approx(float((y**2).mean()) / 2)
        gradient = -Z.T @ y / len(y)
        H = Z.T @ Z / len(y) + lam * torch.eye(Z.shape[1])
        torch.testing.assert_close(w[0], -gradient / torch.linalg.eigvalsh(H)[-1])


def test_stage_1_sees_the_first_half_and_stage_2_fits_what_is_left_of_the_second(small):
    first, second, train, validation = small
    fitted = model.fit_three_layer(first, second, train, validation, RIDGES, LAMS2)
    network = fitted.predict
    (u,) = model.ridge(first(train.x[:300]), train.y[:300], first.lams([fitted.ridge], 300))
    torch.testing.assert_close(network.u, u)
    g = network.g(train.x[300:])
    (c,) = model.ridge(second(g), train.y[300:] - g, [fitted.lam2])
    torch.testing.assert_close(network.c, c)


def test_both_penalties_are_chosen_together_on_the_validation_points(small):
    first, second, train, validation = small
    chosen = model.fit_three_layer(first, second, train, validation, RIDGES, LAMS2)
    errors = {
        (r, lam2): model.mse(model.fit_three_layer(first, second, train, validation, [r], [lam2]).predict(validation.x), validation.y)
        for r in RIDGES
        for lam2 in LAMS2
    }
    assert (chosen.ridge, chosen.lam2) == min(errors, key=errors.get)


def test_with_p_known_the_second_stage_learns_the_link():
    target = target_of(16)
    second = model.draw_second_layer(np.random.default_rng(0), 300)
    assert set(second.a.tolist()) == {-1.0, 1.0}
    oracle = baselines.fit_oracle(second, target.p, data_of(target, 4000), data_of(target, 1000, seed=2), LAMS2)
    test = data_of(target, 10_000, seed=3)
    assert model.mse(oracle.predict(test.x), test.y) < 0.01 * target.variance


def test_relu_in_the_first_layer_leaks_higher_degrees_into_the_feature():
    target = target_of(16)
    train, validation, test = (data_of(target, n, seed) for seed, n in enumerate((6000, 1000, 4000)))
    second, corr = model.draw_second_layer(np.random.default_rng(0), 60), {}
    for activation in ("polynomial", "relu"):
        first = model.draw_first_layer(np.random.default_rng(1), 16, 400, activation=activation)
        g = model.fit_three_layer(first, second, train, validation, RIDGES, LAMS2).predict.g(test.x)
        corr[activation] = float(torch.corrcoef(torch.stack([g, target.p(test.x)]))[0, 1])
    assert corr["relu"] + 0.05 < corr["polynomial"]


# --- Baselines ----------------------------------------------------------------------------------------------------------------------------------------


def test_kernels_are_their_definitions():
    x, y = gaussian(0, 6, 5), gaussian(1, 4, 5)
    slow = [[math.exp(float(a @ b) / 5) for b in y] for a in x]
    np.testing.assert_allclose(baselines.exponential_kernel(x, y), slow)
    np.testing.assert_allclose(baselines.tangent_kernel(x, y), relu_network_kernel(x.numpy(), y.numpy()) / 5)
    for kernel in baselines.KERNELS.values():
        torch.testing.assert_close(baselines.gram(kernel, x, y, rows=4), kernel(x, y))


@pytest.mark.parametrize("name", baselines.KERNELS)
def test_kernel_ridge_agrees_with_scikit_learn_and_does_not_see_rotations(name):
    target, kernel = target_of(8), baselines.KERNELS[name]
    train, validation, test = data_of(target, 300), data_of(target, 200, seed=2), gaussian(3, 50, 8)
    fitted = baselines.fit_kernel(kernel, train, validation, RIDGES, tolerance=1e-9)
    errors, predictions = [], []
    for r in RIDGES:
        reference = KernelRidge(alpha=r, kernel="precomputed").fit(kernel(train.x, train.x), train.y)
        errors.append(((reference.predict(kernel(validation.x, train.x)) - validation.y.numpy()) ** 2).mean())
        predictions.append(reference.predict(kernel(test, train.x)))
    i = int(np.argmin(errors))
    assert fitted.ridge == RIDGES[i]
    np.testing.assert_allclose(fitted.predict(test), predictions[i], atol=1e-5)
    usual, labels = baselines.fit_kernel(kernel, train, validation, RIDGES), target(test)
    assert model.mse(usual.predict(test), labels) == pytest.approx(model.mse(fitted.predict(test), labels), rel=3e-3)
    R = target_of(8, seed=9).Q
    turned = [model.Labelled(part.x @ R.T, replace(target, Q=R @ target.Q)(part.x @ R.T)) for part in (train, validation)]
    torch.testing.assert_close(turned[0].y, train.y)
    torch.testing.assert_close(baselines.fit_kernel(kernel, *turned, RIDGES, tolerance=1e-9).predict(test @ R.T), fitted.predict(test), rtol=1e-5, atol=1e-6)


def test_one_krylov_space_solves_all_shifts():
    A = gaussian(0, 120, 40)
    K, y = A @ A.T / 40, gaussian(1, 120)
    solved = baselines.shifted_solves(K, y, (1e-2, 1.0, 30.0), tolerance=1e-10)
    for r, dual in zip((1e-2, 1.0, 30.0), solved, strict=True):
        torch.testing.assert_close(dual, torch.linalg.solve(K + r * torch.eye(120), y), rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError, match="residual"):
        baselines.shifted_solves(K, y, (1e-2,), most=5)


def test_random_features_use_all_samples(small):
    first, _, train, validation = small
    fitted = baselines.fit_random_features(first, train, validation, RIDGES)
    (w,) = model.ridge(first(train.x), train.y, first.lams([fitted.ridge], 600))
    torch.testing.assert_close(fitted.predict(validation.x), first(validation.x) @ w)
    others = [model.mse(first(validation.x) @ w, validation.y) for w in model.ridge(first(train.x), train.y, first.lams(RIDGES, 600))]
    assert min(others) == pytest.approx(model.mse(fitted.predict(validation.x), validation.y))


def test_the_trained_network_learns_and_stops_where_validation_is_best():
    target = target_of(2)
    train, validation, test = (data_of(target, 400, seed) for seed in range(3))
    fitted = baselines.fit_relu_network(train, validation, np.random.default_rng(0), 64, 300, (1e-4, 2e-2), every=20)
    assert model.mse(fitted.predict(test.x), test.y) < 0.5 * float(test.y.var())
    untrained = baselines.fit_relu_network(train, validation, np.random.default_rng(0), 64, 0, (1e-4,))
    stuck = baselines.fit_relu_network(train, validation, np.random.default_rng(0), 64, 40, (1e3,), every=40)  # diverges: the start is kept
    torch.testing.assert_close(stuck.predict(test.x), untrained.predict(test.x))


# --- Learning curves ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.5, 2.0, 6.0])
def test_ridge_risk_is_that_of_optimally_tuned_regression_on_gaussian_features(gamma):
    D, noise, risks = 200, 1.5, []
    for seed in range(10):
        X, beta = gaussian(seed, round(gamma * D), D), gaussian(seed + 50, D) / math.sqrt(D)
        y = X @ beta + math.sqrt(noise) * gaussian(seed + 90, len(X))
        risks.append(float(((torch.linalg.solve(X.T @ X + noise * D * torch.eye(D), X.T @ y) - beta) ** 2).sum() / (beta**2).sum()))
    assert np.mean(risks) == pytest.approx(theory.ridge_risk(gamma, noise), rel=0.05)


def test_learning_curves_end_at_the_population_limits():
    d, n = 20, 1e12
    target = target_of(d)
    assert theory.recovery_theory(n, d) == pytest.approx(targets.feature_limit(2, d))
    assert theory.quadratic_theory(n, d) == pytest.approx(target.plateau / target.variance)
    assert theory.three_layer_theory(1e18, 10**6) == pytest.approx(0, abs=1e-4)
    assert theory.three_layer_theory(1, 1000) == pytest.approx(1, abs=0.01) == theory.quadratic_theory(1, 1000)


def test_learning_curves_at_one_point_by_iteration():
    n, d = 300, 10

    def missed(n):
        r = 1.0
        for _ in range(500):
            r = 1 / (1 + n / 55 / (1.2 + r))  # 55 directions, noise (1/2 + 1/d) / (1/2)
        return r

    found = 1 - missed(n / 2)
    rho = found / math.sqrt(found + 0.4)
    assert theory.recovery_theory(n, d) == pytest.approx(rho)
    assert theory.three_layer_theory(n, d) == pytest.approx((1 - rho**2 + 1 - rho**4) / 2 / 1.3)
    assert theory.quadratic_theory(n, d) == pytest.approx((0.6 + missed(n) / 2) / 1.3)


def test_stage_1_follows_its_learning_curve():
    """Small enough for a test, d = 16; the record has d = 32."""
    corr = []
    for seed in range(1000, 1004):
        problem = draw_problem(Config(), seed, "cpu", 16, 2048)
        network = model.fit_three_layer(problem.first, problem.second, problem.train, problem.validation, RIDGES, LAMS2).predict
        corr.append(float(torch.corrcoef(torch.stack([network.g(problem.test.x), problem.target.p(problem.test.x)]))[0, 1]))
    assert np.mean(corr) == pytest.approx(theory.recovery_theory(2048, 16), rel=0.05)


# --- Runs and claims ----------------------------------------------------------------------------------------------------------------------------------


def test_methods_of_one_seed_share_their_data_and_smaller_samples_are_part_of_larger():
    config = Config(test=200, validation=100)
    few, many, other = (draw_problem(config, seed, "cpu", 6, n) for seed, n in ((0, 50), (0, 80), (1, 50)))
    torch.testing.assert_close(few.train.x, many.train.x[:50])
    torch.testing.assert_close(few.test.x, many.test.x)
    torch.testing.assert_close(few.target.Q, many.target.Q)
    torch.testing.assert_close(few.first.V, many.first.V)
    assert not torch.equal(few.train.x, other.train.x) and not torch.equal(few.target.Q, other.target.Q)
    again = draw_problem(config, 0, "cpu", 6, 50, draw=1)
    for part in (lambda q: q.train.x, lambda q: q.test.x, lambda q: q.target.Q, lambda q: q.first.V, lambda q: q.second.b):
        assert not torch.equal(part(few), part(again))
    streams = [few.train.x, few.validation.x, few.test.x]
    assert not any(torch.equal(a[0], b[0]) for i, a in enumerate(streams) for b in streams[:i])


def test_the_grid_caps_samples_by_method():
    grid = conditions(Config(dims=(16,), ratios=(4, 12, 16), max_kernel_samples=2000, max_samples=4000))
    kept = {(c["d"], c["ratio"], c["method"]) for c in grid if c["experiment"] == "sweep"}
    assert {(d, r) for d, r, m in kept if m == NETWORK} == {(16, 4), (16, 12)}
    assert {(d, r) for d, r, m in kept if m in baselines.KERNELS} == {(16, 4)}


def test_the_exponent_has_its_own_draws_and_cap():
    grid = conditions(Config(dims=(16,), recovery_dims=(16, 20), recovery_draws=(3, 1), recovery_ratios=(2, 4), max_recovery_samples=1500))
    recovery = [(c["d"], c["ratio"], c["draw"]) for c in grid if c["experiment"] == "recovery"]
    assert sorted(recovery) == [(16, 2, 1), (16, 2, 2), (16, 2, 3), (16, 4, 1), (16, 4, 2), (16, 4, 3), (20, 2, 1)]
    assert not any("draw" in c for c in grid if c["experiment"] != "recovery")  # the sweep is draw 0: none of the draws repeats it


TINY = Config(
    dims=(6,), recovery_dims=(4,), recovery_draws=(2,), recovery_ratios=(2, 8), ratios=(2, 8), min_width=40, m2=20, validation=100, test=200,
    stein_dims=(4, 8), stein_points=4000, descent_dim=4, descent_steps=50,
    control_ratio=8, cubic_dims=(6,), cubic_ratios=(1,), trained_width=16, trained_steps=50, trained_rates=(1e-2,),
)  # fmt: skip


def test_end_to_end_every_experiment_gives_finite_rows_that_depend_on_the_seed_alone():
    grid = conditions(TINY)
    assert {c["experiment"] for c in grid} == {"sweep", "recovery", "relu", "control", "cubic", "stein", "descent"}
    for condition in grid:
        first, other, again = (run(TINY, condition, (seed,), "cpu")[0] for seed in (3, 4, 3))
        for name, value in first.items():
            assert np.isfinite(value).all()
            np.testing.assert_array_equal(value, again[name])
        assert any(not np.array_equal(value, other[name]) for name, value in first.items())
        if condition.get("method") == NETWORK:
            assert first["sample_p"].shape == first["sample_prediction"].shape == (SCATTERED,)
            assert first["corr_relative"] == pytest.approx(first["corr"] / targets.feature_limit(condition["k"], condition["d"]))


def test_descent_is_measured_against_its_own_closed_forms():
    row = run(replace(TINY, descent_steps=8000), {"experiment": "descent", "d": 4}, (0,), "cpu")[0]
    assert row["monotone"] and row["distance1"][0] > 0.1 and max(row["distance1"][-1], row["distance2"][-1]) < 0.02


def test_draws_of_one_seed_differ_and_the_control_has_the_even_link():
    grid = conditions(TINY)
    few = [c for c in grid if c["experiment"] == "recovery" and c["ratio"] == 2]
    first, second = (run(TINY, c, (0,), "cpu")[0]["corr"] for c in few)
    assert first != second
    assert {c["link"] for c in grid if c["experiment"] == "control"} == {"even"} and {c["link"] for c in grid if c["experiment"] == "sweep"} == {"generic"}


def test_errors_are_divided_by_the_exact_variance_and_plateau():
    condition = {"experiment": "sweep", "k": 2, "family": "hermite", "link": "generic", "d": 6, "ratio": 8.0, "method": "exponential kernel"}
    row = run(TINY, condition, (0,), "cpu")[0]
    problem = draw_problem(TINY, 0, "cpu", 6, 288)
    fitted = baselines.fit_kernel(baselines.exponential_kernel, problem.train, problem.validation, RIDGES)
    error = float(((fitted.predict(problem.test.x) - problem.target(problem.test.x)) ** 2).mean())
    assert row["error"] == pytest.approx(error / 1.5) and row["over_plateau"] == pytest.approx(error / (1 / 2 + 1 / 6)) and row["n"] == 288


def test_penalties_of_the_negative_control_leave_p_undiscovered():
    config, seeds = Config(test=2000, validation=500), (1000, 1001, 1002)
    quadratic = {"experiment": "control", "k": 2, "family": "hermite", "d": 16, "ratio": 8, "method": NETWORK}
    generic, even = ([row["corr"] ** 2 for row in run(config, quadratic | {"link": link}, seeds, "cpu")] for link in ("generic", "even"))
    assert np.mean(even) < 0.1 and min(generic) > 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"dims": (7,)}, {"dims": (0,)}, {"cubic_dims": (8,)}, {"recovery_dims": (15, 28, 40)}, {"recovery_draws": (3,)}, {"ratios": (0,)}, {"m2": 0}, {"test": 10},
     {"stein_points": 1}, {"trained_rates": ()}],
)  # fmt: skip
def test_values_out_of_range_give_one_message(wrong):
    with pytest.raises(RequestError, match=f"--config.{next(iter(wrong))}"):
        conditions(replace(Config(), **wrong))


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"experiment": "sweep", "method": NETWORK, "seed": 0} | columns)


def test_claims_compare_at_the_largest_dimension_with_kernels():
    kernels = list(baselines.KERNELS)
    rows = [
        {"experiment": "sweep", "method": m, "d": d, "ratio": r, "seed": 0, "error": e, "over_plateau": 2 * e, "corr_relative": c}
        for m, d, r, e, c in [(NETWORK, 32, 8, 0.3, 0.9), (kernels[0], 32, 8, 0.6, 0), (kernels[1], 32, 8, 0.5, 0), (NETWORK, 48, 8, 0.1, 0.99),
                              (NETWORK, 32, 1, 0.9, 0.5), (kernels[0], 32, 1, 0.7, 0), (kernels[1], 32, 1, 0.8, 0), (NETWORK, 16, 8, 0.2, 0.9),
                              (kernels[0], 16, 8, 0.1, 0), (NETWORK, 32, 16, 0.1, 0.95)]
    ]  # fmt: skip
    trials = pd.DataFrame(rows)
    assert claims.advantage(trials)[0] == pytest.approx(0.2)
    assert claims.disadvantage(trials)[0] == pytest.approx(0.2)
    assert claims.plateau(trials)[0] == pytest.approx(1.0)
    assert claims.recovery(trials)[0] == pytest.approx(0.95)
    with pytest.raises(NotRun):
        claims.advantage(trials[trials["ratio"] != 8])


def test_the_exponent_is_recovered_from_a_known_law():
    dims, ratios = np.array([12, 16, 24, 48]), np.array([1, 2, 4])
    d, r = (part.ravel() for part in np.meshgrid(dims, ratios))
    n = r * d**2
    trials = table(d=d, n=n, ratio=r, corr_relative=0.8 + 0.2 * np.log(n / (1.5 * d**1.9)), experiment="recovery")
    assert claims.exponent(trials)[0] == pytest.approx(1.9)
    assert claims.exponent(pd.concat([trials, table(d=d, n=n, ratio=r, corr_relative=0.9)]))[0] == pytest.approx(1.9)  # the sweep has no part in it
    noisy = pd.concat([trials, trials[trials["d"] == 12]] * 2)
    noisy["corr_relative"] += np.repeat([0.01, -0.01], len(noisy) // 2)
    assert claims.exponent(noisy)[0] == pytest.approx(1.9)  # draws are averaged
    with pytest.raises(NotRun, match="cross"):
        claims.exponent(table(d=d, n=n, ratio=r, corr_relative=0.9, experiment="recovery"))


def test_the_remaining_claims_read_their_own_rows():
    dims = np.array([8, 32, 128])
    stein = pd.DataFrame({"experiment": "stein", "seed": 0, "d": dims, "gap": 2.2 * dims**-0.4, "gap_exact": 2 * dims**-0.4})
    assert claims.stein_slope(stein)[0] == pytest.approx(-0.4) and claims.stein_constant(stein)[0] == pytest.approx(1.1)
    with pytest.raises(NotRun, match="noise"):
        claims.stein_slope(stein.assign(gap=0.0))
    control = pd.DataFrame({"experiment": "control", "seed": 0, "d": [16, 32], "corr": [0.9, -0.2]})
    assert claims.control(control)[0] == pytest.approx(0.04)
    descent = pd.DataFrame({"experiment": ["descent"], "seed": 0, "distance2": [np.array([1.0, 0.25])]})
    assert claims.descent_distance(descent)[0] == 0.25
    n = np.array([4096, 8192])
    predicted = np.array([theory.recovery_theory(m, 32) for m in n])
    rows = table(d=32, n=n, ratio=[4, 8], corr=1.1 * predicted, method=NETWORK)
    kernel = table(d=[32], n=1024, ratio=1, corr=0, method="exponential kernel")
    extra = table(d=[32], n=1024, ratio=2, corr=0, method=NETWORK)
    assert claims.against_theory(pd.concat([rows, kernel, extra]))[0] == pytest.approx(1.1)
