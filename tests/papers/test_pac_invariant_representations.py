"""PAC invariance: covariances against simulation, the elimination tree against solves, exact invariance and probabilities, bounds, and gradients."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from papers.pac_invariant_representations import claims, linear, model, predictors
from papers.pac_invariant_representations.model import SEM
from papers.pac_invariant_representations.replicate import Config, conditions, learning_curves, run, run_pac
from shared.engine import NotRun
from shared.engine.config import build_config
from shared.engine.errors import RequestError
from shared.seeds import numpy_rng


def rng(seed=0):
    return np.random.default_rng(seed)


def simulate(B, om, n, generator):
    """Draws of the equations, one variable after another in causal order."""
    X = np.zeros((n, len(om)))
    for j in range(len(om)):
        X[:, j] = X @ B[j] + generator.normal(size=n) * np.sqrt(om[j])
    return X


def chain(om_2=1.0) -> SEM:
    """X_1 -> Y -> X_2 with unit weights; the site is X_2."""
    B = np.zeros((3, 3))
    B[1, 0] = B[2, 1] = 1
    return SEM(B, np.array([1, 1, om_2]), 1, np.array([2]))


def stack(m=5, count=6, seed=1, **options):
    sem = model.with_child_as_site(model.draw_sem(m, 2, rng(seed)))
    return sem, np.concatenate([model.reference(sem)[None], model.environments(sem, count, rng(seed + 1), **options)])


def subsets(m):
    return [T for size in range(1, m + 1) for T in combinations(range(m), size)]


# ---- models and interventions ----


def test_the_covariance_is_that_of_simulated_draws():
    sem = model.draw_sem(6, 2, rng(3))
    B, om = model.intervene(sem, 1, rng(4))
    for weights, variances in ((sem.B, sem.om), (B[0], om[0])):
        X = simulate(weights, variances, 200_000, rng(5))
        Sigma = model.covariance(weights, variances)
        scale = np.sqrt(np.outer(np.diag(Sigma), np.diag(Sigma)))
        np.testing.assert_allclose(X.T @ X / len(X) / scale, Sigma / scale, atol=0.015)


def test_models_are_as_the_generator_promises():
    for seed in range(20):
        sem = model.draw_sem(8, 3, rng(seed))
        assert (np.triu(sem.B) == 0).all() and sem.target == 4
        np.testing.assert_array_equal((sem.B != 0).sum(axis=1), np.minimum(np.arange(9), 2))
        assert (np.abs(sem.B[sem.B != 0]) > 0.5).all() and (np.abs(sem.B) < 1.5).all() and (sem.om > 0.5).all() and (sem.om < 1.5).all()
        assert len(set(sem.sites)) == 3 and not set(sem.sites) & {0, 4}
        assert sem.parameters == sum(min(j, 2) + 1 for j in sem.sites)
        np.testing.assert_array_equal(model.draw_sem(8, 2, rng(seed)).sites, sem.sites[:2])
    many = [model.draw_sem(7, 2, rng(seed)) for seed in range(60)]
    weights, variances = np.concatenate([sem.B[sem.B != 0] for sem in many]), np.concatenate([sem.om for sem in many])
    assert abs(np.sign(weights).mean()) < 0.15 and np.abs(weights).min() < 0.55 and np.abs(weights).max() > 1.45
    assert variances.min() < 0.55 and variances.max() > 1.45
    assert {sem.target for sem in many} == {3}
    assert set(np.concatenate([sem.sites for sem in many])) == {1, 2, 4, 5, 6, 7}
    assert (np.mean([sem.B != 0 for sem in many], axis=0)[7, :7] > 0.1).all()  # any earlier variable may be a parent


def test_an_intervention_moves_only_what_descends_from_the_sites():
    sem = model.draw_sem(7, 2, rng(8))
    before, B = model.covariance(sem.B, sem.om), np.abs(sem.B)
    reach = np.linalg.inv(np.eye(8) - B) > 0  # [i, j]: a path from j to i, or i = j
    below = reach[:, sem.sites].any(axis=1)
    for kind in model.KINDS:
        after = model.covariance(*model.intervene(sem, 1, rng(9), kind))[0]
        changed = ~np.isclose(before, after)
        assert not changed[np.ix_(~below, ~below)].any()
        assert changed[sem.sites, sem.sites].all()


def test_each_kind_of_intervention_changes_what_it_says():
    sem = model.draw_sem(7, 2, rng(2))
    others = np.setdiff1d(np.arange(8), sem.sites)
    moved = {kind: model.intervene(sem, 400, rng(1), kind) for kind in model.KINDS}
    for B, om in moved.values():
        np.testing.assert_array_equal(B[:, others], np.repeat(sem.B[others][None], 400, axis=0))
        np.testing.assert_array_equal(om[:, others], np.repeat(sem.om[others][None], 400, axis=0))
        assert ((B != 0) <= (sem.B != 0)).all()  # no new edges
    site_B, site_om = sem.B[sem.sites], sem.om[sem.sites]
    factors = moved["soft"][1][:, sem.sites] / site_om
    assert factors.min() == pytest.approx(0.2, abs=0.05) and factors.max() == pytest.approx(3, abs=0.05) and factors.mean() == pytest.approx(1.6, abs=0.1)
    shifts = (moved["soft"][0][:, sem.sites] - site_B)[:, site_B != 0]
    assert -1 <= shifts.min() < -0.95 and 0.95 < shifts.max() <= 1 and abs(shifts.mean()) < 0.05
    assert max(abs(np.corrcoef(draws, rowvar=False)[0, 1]) for draws in (factors, shifts)) < 0.2  # each its own draw
    np.testing.assert_array_equal(moved["noise"][0], np.repeat(sem.B[None], 400, axis=0))
    np.testing.assert_array_equal(moved["weights"][1], np.repeat(sem.om[None], 400, axis=0))
    assert (moved["hard"][0][:, sem.sites] == 0).all() and (moved["hard"][1][:, sem.sites] != site_om).any()
    wide = model.intervene(sem, 400, rng(1), shift=3.0)[0][:, sem.sites] - site_B
    assert wide.max() > 2.9


def test_with_a_child_of_y_as_site_it_is_one_whenever_there_is_one():
    replaced = 0
    for seed in range(40):
        sem = model.draw_sem(6, 2, rng(seed))
        other = model.with_child_as_site(sem)
        children = set(np.flatnonzero(sem.B[:, sem.target]))
        assert not children or children & set(other.sites)
        assert len(set(other.sites)) == 2 and sem.target not in other.sites
        replaced += (other.sites != sem.sites).any()
    assert replaced > 3


def test_two_cancelling_paths_leave_a_parent_uncorrelated_and_their_twin_does_not():
    for seed in range(5):
        sem = model.draw_sem(8, 2, rng(seed))
        for cancel in (True, False):
            other = model.with_two_paths(sem, cancel)
            S = model.reference(other)
            assert set(np.flatnonzero(other.B[4])) == {0, 1} and (np.delete(other.B, 4, axis=0) == np.delete(sem.B, 4, axis=0)).all()
            assert (abs(S[0, -1]) < 1e-12) == cancel
            assert abs(model.optimum(S, np.eye(8)[[0, 1]])[0]) > 0.2


def test_ambient_variables_leave_the_core_as_it_was():
    sem = model.draw_sem(5, 2, rng(1))
    wide = model.with_ambient(sem, 8, rng(2))
    np.testing.assert_array_equal(wide.B[:6, :6], sem.B)
    assert (np.triu(wide.B) == 0).all() and ((wide.B[6:] != 0).sum(axis=1) == 2).all() and (np.abs(wide.B[6:][wide.B[6:] != 0]) > 0.5).all()
    assert any(model.with_ambient(sem, 8, rng(seed)).B[7:, 6:].any() for seed in range(10))  # also below one another
    assert wide.target == sem.target and wide.sites is sem.sites and len(wide.om) == 9
    np.testing.assert_allclose(model.covariance(wide.B, wide.om)[:6, :6], model.covariance(sem.B, sem.om))


def test_sample_covariances_have_the_mean_and_the_spread_of_simulated_ones():
    sem = model.draw_sem(4, 1, rng(0))
    S = model.covariance(sem.B, sem.om)
    drawn = model.sample_covariances(np.repeat(S[None], 4000, axis=0), 12, rng(1))
    simulated = np.stack([(X := simulate(sem.B, sem.om, 12, rng(100 + i))).T @ X / 12 for i in range(3000)])
    scale = np.sqrt(np.outer(np.diag(S), np.diag(S)))
    np.testing.assert_allclose(drawn.mean(axis=0) / scale, S / scale, atol=0.04)
    exact = np.sqrt((S**2 + np.outer(np.diag(S), np.diag(S))) / 12)
    np.testing.assert_allclose(drawn.std(axis=0), exact, rtol=0.07)
    np.testing.assert_allclose(simulated.std(axis=0), exact, rtol=0.07)


def test_latent_observation_is_that_of_simulated_draws_and_the_pseudo_inverse_undoes_it():
    _, S = stack(3, 2)
    M = rng(1).normal(size=(5, 3))
    Z = model.observe(S, M, 2.0)
    draws = rng(2).multivariate_normal(np.zeros(4), S[1], size=200_000)
    observed = np.c_[draws[:, :3] @ M.T + np.sqrt(2) * rng(3).normal(size=(200_000, 5)), draws[:, 3]]
    np.testing.assert_allclose(observed.T @ observed / 200_000, Z[1], rtol=0.03, atol=0.08)
    np.testing.assert_allclose(model.observe(model.observe(S, M, 0.0), np.linalg.pinv(M), 0.0), S, atol=1e-10)


# ---- optimal predictors ----


def test_the_hand_case():
    both, first = np.eye(2), np.eye(2)[:1]
    for om_2, expected in ((1.0, [1 / 2, 1 / 2]), (3.0, [3 / 4, 1 / 4])):
        S = model.reference(chain(om_2))
        np.testing.assert_allclose(model.optimum(S, both), expected)
        np.testing.assert_allclose(model.optimum(S, first), [1.0])


def test_the_elimination_tree_agrees_with_direct_solves_on_every_subset():
    _, S = stack(6, 4)
    found = {T: (w, mse) for T, w, mse in model.subset_optima(S)}
    assert sorted(found, key=lambda T: (len(T), T)) == subsets(6)
    for T, (w, mse) in found.items():
        direct = model.optimum(S, np.eye(6)[list(T)])
        np.testing.assert_allclose(w.T, direct, rtol=1e-9, atol=1e-10)
        Phi_w = np.zeros((5, 6))
        Phi_w[:, T] = direct
        np.testing.assert_allclose(mse, [model.risks(Phi_w[e : e + 1], S[e : e + 1])[0, 0] for e in range(5)])


def test_an_environment_optimum_is_the_regression_on_simulated_data():
    sem = model.draw_sem(5, 2, rng(1))
    B, om = model.intervene(sem, 1, rng(2))
    X = simulate(B[0], om[0], 100_000, rng(3))
    features, Y = np.delete(X, sem.target, axis=1), X[:, sem.target]
    S = model.features_first(model.covariance(B, om), sem.target)[0]
    for T in ((0,), (1, 3), (0, 1, 2, 3, 4)):
        fit = LinearRegression(fit_intercept=False).fit(features[:, T], Y)
        np.testing.assert_allclose(fit.coef_, model.optimum(S, np.eye(5)[list(T)]), atol=0.025)
        w = np.zeros((1, 5))
        w[0, T] = fit.coef_
        assert model.risks(w, S[None])[0, 0] == pytest.approx(((Y - fit.predict(features[:, T])) ** 2).mean(), rel=0.03)


def test_one_changed_equation_moves_the_covariance_by_rank_two_and_the_optimum_by_woodbury():
    """The low-degree algebra behind the theorem: with a = (I - B)^-1 e_j and Sigma_0 the covariance without eta_j, Sigma' = Sigma + U C U^T,
    U = (Sigma_0 d, a), C = [[0, 1], [1, d Sigma_0 d + om'_j - om_j]]."""
    sem = model.draw_sem(6, 1, rng(5))
    j = sem.sites[0]
    B, om = model.intervene(sem, 1, rng(6))
    d, without = B[0, j] - sem.B[j], np.where(np.arange(7) == j, 0, sem.om)
    Sigma_d = model.covariance(sem.B, without) @ d
    U = np.stack([Sigma_d, np.linalg.inv(np.eye(7) - sem.B)[:, j]], axis=1)
    C = np.array([[0, 1], [1, d @ Sigma_d + om[0, j] - sem.om[j]]])
    Sigma = model.covariance(sem.B, sem.om)
    np.testing.assert_allclose(Sigma + U @ C @ U.T, model.covariance(B, om)[0], atol=1e-12)
    for T in ([0, 1], [0, 2, 4, 5, 6]):  # places among the variables; Y is 3
        inverse, cross = np.linalg.inv(Sigma[np.ix_(T, T)]), Sigma[T, 3] + U[T] @ C @ U[3]
        small = np.linalg.inv(np.linalg.inv(C) + U[T].T @ inverse @ U[T])
        woodbury = inverse @ cross - inverse @ U[T] @ small @ U[T].T @ inverse @ cross
        Phi = np.eye(6)[[i - (i > 3) for i in T]]
        np.testing.assert_allclose(woodbury, model.optimum(model.features_first(model.covariance(B, om), 3)[0], Phi), atol=1e-10)


def test_the_parents_of_y_are_exactly_invariant_under_every_kind_of_intervention():
    for seed in range(4):
        for kind in model.KINDS:
            sem, S = stack(7, 10, seed, kind=kind)
            parents = np.flatnonzero(np.delete(sem.B[sem.target], sem.target))
            w = model.optimum(S, np.eye(7)[parents])
            np.testing.assert_allclose(w, np.repeat(sem.B[sem.target, parents][None], 11, axis=0), atol=1e-10)  # parents come before Y, so places agree


# ---- invariance ----


def deviations_of(S, T):
    distance, excess = model.deviations(S)
    i = [subset for subset, _, _ in model.subset_optima(S[:1])].index(tuple(T))
    return distance[i], excess[i]


def test_both_definitions_agree_with_their_formulas():
    _, S = stack(5, 8)
    for T in ((0,), (2, 4), (0, 1, 2, 3, 4)):
        distance, excess = deviations_of(S, T)
        w = model.optimum(S, np.eye(5)[list(T)])
        off = w[1:] - w[0]
        np.testing.assert_allclose(distance, np.linalg.norm(off, axis=1), atol=1e-10)
        np.testing.assert_allclose(excess, np.einsum("ei,eij,ej->e", off, S[1:][:, np.array(T)[:, None], T], off), atol=1e-10)
    assert np.abs(np.stack(model.deviations(np.repeat(S[:1], 3, axis=0)))).max() < 1e-12


def test_distance_depends_on_the_scale_of_a_feature_and_excess_risk_does_not():
    _, S = stack(4, 5)
    scale = np.array([1, 5.0, 1, 1, 1])
    scaled = S * scale[:, None] * scale
    np.testing.assert_allclose(model.optimum(scaled, np.eye(4)), model.optimum(S, np.eye(4)) / scale[:4], atol=1e-10)
    for before, after, same in zip(model.deviations(S), model.deviations(scaled), (False, True), strict=True):
        assert np.allclose(before, after, atol=1e-10) == same


def test_the_violation_probability_of_the_chain_is_exact():
    """w on (X_1, X_2) is (v, 1) / (1 + v), v ~ U[0.2, 3] the noise variance of X_2; so ||w - w_0|| <= eps means |v / (1 + v) - 1/2| <= eps / sqrt 2."""
    eps, S = 0.2, np.concatenate([model.reference(chain())[None], model.environments(chain(), 20_000, rng(0), "noise")])
    low, high = (q / (1 - q) for q in (0.5 - eps / np.sqrt(2), 0.5 + eps / np.sqrt(2)))
    exact = 1 - (min(high, 3) - max(low, 0.2)) / 2.8
    assert 0.2 < exact < 0.8
    distance, excess = deviations_of(S, (0, 1))
    assert (distance > eps).mean() == pytest.approx(exact, abs=0.01)
    v = S[1:, 1, 1] - 2  # Var X_2 = 2 + v
    np.testing.assert_allclose(excess, (v / (1 + v) - 0.5) ** 2 * (1 + v), atol=1e-10)  # (w - w_0) is along (1, -1), and X_1 - X_2 has variance 1 + v
    assert deviations_of(S, (0,))[0].max() < 1e-10


def test_the_worst_consistent_representation_by_hand():
    train = np.array([[0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    worst, survivors = model.worst_consistent(train, np.array([0.4, 0.6, 0.9, 0.1]), [1, 2, 3])
    np.testing.assert_array_equal(worst, [0.6, 0.4, 0.1])
    np.testing.assert_array_equal(survivors, [3, 2, 1])
    np.testing.assert_array_equal(model.worst_consistent(np.ones((2, 2), bool), np.ones(2), [1, 2])[0], [0, 0])
    np.testing.assert_array_equal(model.growth(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 1]], bool), [1, 2, 3]), [2, 2, 3])


def test_learning_curves_fall_and_keep_the_parents():
    config = Config(ns=(1, 2, 4, 8), redraws=3, test=300)
    _, S = stack(6, 3 * 8 + 300)
    curves = learning_curves(config, model.deviations(S)[0] > config.eps)
    assert curves["nu_max"].shape == (3, 4) and (np.diff(curves["nu_max"], axis=1) <= 0).all() and curves["nu_max"].max() > 0.1
    assert (np.diff(curves["survivors"]) <= 0).all() and curves["survivors"][-1] >= 1
    assert (np.diff(curves["patterns"]) >= 0).all() and curves["patterns"][-1] <= curves["class_size"] == 63
    assert (curves["expected_lower"] <= curves["expected_upper"]).all()


# ---- bounds ----


def test_the_uniform_bound_is_the_textbook_one_and_holds_as_often_as_it_says():
    H, delta, n = 200, 0.2, 40
    bound = model.uniform_bound(H, delta, [n])[0]
    assert H * np.exp(-n * bound) == pytest.approx(delta)
    nu = np.full(H, bound * 1.001)  # the worst case: all independent, all just above the bound
    generator = rng(0)
    fails = [model.worst_consistent(generator.random((H, n)) < nu[:, None], nu, [n])[0][0] > bound for _ in range(400)]
    assert 0.5 * H * (1 - bound) ** n < np.mean(fails) <= delta + 0.03


def test_the_expected_worst_violation_lies_between_its_bounds():
    nu, n = np.array([0.02, 0.05, 0.1, 0.3, 0.3, 0.6]), 8
    lower, upper = model.expected_bounds(nu, [n])
    t = (np.arange(20_000) + 0.5) / 20_000
    tail = np.array([min(1, ((1 - nu[nu > level]) ** n).sum()) for level in t])
    assert upper[0] == pytest.approx(tail.mean(), abs=1e-4)
    assert lower[0] == pytest.approx(max(v * (1 - v) ** n for v in nu))
    generator = rng(1)
    independent = np.mean([model.worst_consistent(generator.random((6, n)) < nu[:, None], nu, [n])[0][0] for _ in range(3000)])
    together = np.mean([model.worst_consistent(generator.random((1, n)) < nu[:, None], nu, [n])[0][0] for _ in range(3000)])
    assert lower[0] < together < independent < upper[0]
    single = model.expected_bounds(np.array([0.3]), [n])  # one representation: all equal
    np.testing.assert_allclose(single, 0.3 * 0.7**n)


def test_the_error_of_least_squares_is_exactly_as_expected():
    _, S = stack(5, 1)
    N, T, units = 20, (0, 2, 4), np.array([1, 1, 1, 1, 1, 3.0])  # of Y, so that its residual variance is far from one
    S = S * units[:, None] * units
    many = np.repeat(S[1:], 20_000, axis=0)
    w_hat = model.optimum(model.sample_covariances(many, N, rng(1)), np.eye(5)[list(T)])
    error = ((w_hat - model.optimum(S[1], np.eye(5)[list(T)])) ** 2).sum(axis=1)
    assert error.mean() == pytest.approx(model.expected_squared_error(S[1:], T, N)[0], rel=0.04)


# ---- predictors ----


def test_the_invariant_subset_is_the_best_admitted_one_by_brute_force():
    _, S = stack(5, 12)
    pooled = S.mean(axis=0)
    for eps in (0.02, 0.05, 0.1, 0.2, 0.4):
        best, least = (), pooled[-1, -1]
        for T in subsets(5):
            w = model.optimum(S, np.eye(5)[list(T)])
            risk = pooled[-1, -1] - pooled[-1, T] @ np.linalg.solve(pooled[np.ix_(T, T)], pooled[T, -1])
            if np.linalg.norm(w - w[0], axis=1).max() <= eps and risk < least:
                best, least = T, risk
        assert best and best != tuple(range(5))
        assert predictors.invariant_subset(S, eps) == best
    assert predictors.invariant_subset(S, 1e9) == tuple(range(5))
    assert predictors.invariant_subset(S, -1.0) == ()
    assert (predictors.on_subset(S, ()) == 0).all()
    w = predictors.on_subset(S, best)
    assert model.risks(w[None], S).mean() == pytest.approx(least)


def test_erm_has_the_least_pooled_risk():
    _, S = stack(5, 12)
    w = predictors.erm(S)
    around = w + 0.01 * rng(0).normal(size=(200, 5))
    assert model.risks(w[None], S).mean() < model.risks(around, S).mean(axis=1).min()


def test_the_penalty_is_the_derivative_it_is_said_to_be_and_its_gradient_agrees_with_finite_differences():
    _, S = stack(4, 3)
    w, h = rng(0).normal(size=4), 1e-5
    slope = (model.risks((1 + h) * w[None], S) - model.risks((1 - h) * w[None], S))[0] / (2 * h)
    value, gradient = predictors.irm_objective(w, S, 7.0)
    assert value == pytest.approx((model.risks(w[None], S)[0] + 7 * slope**2).mean(), rel=1e-6)
    numeric = [(predictors.irm_objective(w + h * e, S, 7.0)[0] - predictors.irm_objective(w - h * e, S, 7.0)[0]) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6)


def test_irm_takes_the_penalty_that_does_best_on_held_out_interventions():
    sem, S = stack(5, 10)
    others = model.environments(sem, 10, rng(9))
    each = np.array([predictors.irm(S, others, (lam,)) for lam in (1e-8, 1.0, 1e4)])
    np.testing.assert_allclose(each[0], predictors.erm(S), atol=1e-4)
    worst = model.risks(each, others).max(axis=1)
    np.testing.assert_array_equal(predictors.irm(S, others, (1e-8, 1.0, 1e4)), each[worst.argmin()])
    derivatives = [np.sqrt(np.mean((2 * ((S[:, :-1, :-1] @ w - S[:, :-1, -1]) @ w)) ** 2)) for w in each]
    assert derivatives[2] < 0.1 * derivatives[0]


# ---- linear representations ----


def test_distances_of_coordinate_representations_are_those_of_subsets():
    _, S = stack(5, 6)
    np.testing.assert_allclose(linear.distances(np.eye(5)[None, [1, 3]], S)[0], deviations_of(S, (1, 3))[0], atol=1e-10)
    Phi = linear.orthonormal(rng(0).normal(size=(3, 2, 5)))
    np.testing.assert_allclose(Phi @ np.swapaxes(Phi, 1, 2), np.repeat(np.eye(2)[None], 3, axis=0), atol=1e-12)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    np.testing.assert_allclose(linear.distances(turn @ Phi, S, chunk=2), linear.distances(Phi, S), atol=1e-10)


def test_the_gradient_with_respect_to_a_representation_agrees_with_finite_differences():
    _, S = stack(5, 4)
    Phi, c, h = rng(0).normal(size=(1, 2, 5)), rng(1).normal(size=4), 1e-6

    def value(Phi):
        return (c * linear.distances(Phi, S) ** 2).sum()

    squared, gradient = linear.weighted_gradient(Phi, S, lambda squared: np.broadcast_to(c, squared.shape))
    np.testing.assert_allclose(squared, linear.distances(Phi, S) ** 2, atol=1e-12)
    numeric = np.zeros_like(Phi)
    for i in np.ndindex(*Phi.shape):
        step = np.zeros_like(Phi)
        step[i] = h
        numeric[i] = (value(Phi + step) - value(Phi - step)) / (2 * h)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)


def test_searches_find_invariant_and_deceptive_representations():
    sem, S = stack(6, 12, seed=2)
    shadow, eps = model.environments(sem, 100, rng(50)), 0.3
    start = linear.orthonormal(rng(0).normal(size=(8, 2, 6)))
    smooth = linear.invariant_ones(start, S, 40)
    assert (linear.distances(smooth, S) ** 2).mean() < 0.1 * (linear.distances(start, S) ** 2).mean()
    deceptive = linear.deceptive_ones(smooth, S, shadow, eps, 40)
    seen, unseen = linear.distances(deceptive, S), linear.distances(deceptive, np.concatenate([S[:1], shadow]))
    passes = (seen <= eps).all(axis=1)
    assert passes.sum() >= 4
    before = linear.distances(smooth, np.concatenate([S[:1], shadow]))
    assert (unseen[passes] > eps).mean() > (before > eps).mean() + 0.02


# ---- from curves to claims, and runs ----


def made_up(ns=(1, 4, 8, 16, 32, 64, 128), seeds=8, **condition):
    """Trials whose nu_max is exactly 1 / n."""
    row = {"experiment": "pac", "m": 8, "sites": 2, "kind": "soft"} | condition
    curves = {"ns": np.array(ns), "nu_max": np.tile(1 / np.array(ns), (3, 1)), "bound": 8 / np.array(ns)}
    return pd.DataFrame([row | curves | {"seed": seed} for seed in range(seeds)])


def test_planted_curves_give_their_slope_margin_and_difference():
    trials = made_up()
    slopes = claims.decay(trials)
    assert len(slopes) == 2 and slopes.between(-1.0, -0.93).all()  # the 1e-3 that keeps logarithms finite flattens 1 / n a little
    np.testing.assert_allclose(claims.pac_margin(trials), -7 / 128)
    one = made_up(ns=(1, 4, 8), seeds=1).assign(nu_max=[np.array([[9, 0.5, 0.1], [9, 0.7, 0.2]])], bound=[np.ones(3)])
    np.testing.assert_allclose(claims.pac_margin(one), -0.3)  # n of 4 or more, the worst sequence
    wide = made_up(m=11)
    wide["nu_max"] = [np.tile([1, 1, 1, 1, value, 0, 0], (3, 1)) for value in np.arange(8) / 8]
    differences = claims.dimension_gap(pd.concat([made_up(m=5), wide], ignore_index=True))
    np.testing.assert_allclose(differences, [1.5 / 8 - 1 / 32, 5.5 / 8 - 1 / 32])
    wide["experiment"] = "ambient"
    np.testing.assert_allclose(claims.ambient_gap(pd.concat([made_up(m=5), wide], ignore_index=True)), differences)
    with pytest.raises(NotRun):
        claims.dimension_gap(made_up(m=5))
    with pytest.raises(NotRun):
        claims.decay(made_up(seeds=3))


def test_every_claim_reads_its_own_experiment():
    """A made-up value for each experiment and metric, all different, shows which one a claim takes."""
    ns, halves = np.array([4, 32, 128]), np.array([0.5, 0.5, 0.5])

    def plant(level, **condition):
        curves = {"ns": ns, "nu_max": np.tile(level * halves, (2, 1)), "nu_max_risk": np.tile((level + 0.2) * halves, (2, 1)), "bound": halves}
        bounds = {"expected_lower": 0.1 * halves, "expected_upper": 0.9 * halves, "patterns": np.array([1.0, 2.0, 2.0 ** (0.5 * condition.get("m", 0))])}
        return [condition | curves | bounds | {"seed": seed} for seed in range(4)]

    pac = {"experiment": "pac", "sites": 2, "kind": "soft"}
    rows = [*plant(0.2, m=5, **pac), *plant(0.4, m=8, **pac), *plant(0.7, m=11, **pac), *plant(0.9, **pac | {"m": 11, "sites": 3})]
    rows += [*plant(0.6, experiment="ambient", m=11), *plant(0.3, experiment="latent")]
    rows += [*plant(0.5, experiment="unfaithful", cancel=True), *plant(0.1, experiment="unfaithful", cancel=False)]
    for N in (100, 400, 1600):
        finite = {"nu_max": 1 / N, "nu_max_same_level": 2 / N, "rms_error": 1 / N, "rms_expected": 1.0, "error_ratio": float(N)}
        rows += [{"experiment": "finite", "N": N, "seed": seed} | finite for seed in range(4)]
    for r in (1, 2):
        worst = {f"nu_{name}": 0.01 + np.zeros(3) for name in ("random", "invariant", "deceptive")}
        worst[f"nu_{('random', 'deceptive')[r - 1]}"] = r / ns
        rows += [{"experiment": "linear", "r": r, "seed": seed, "ns": ns} | worst for seed in range(4)]
    trials = pd.DataFrame(rows)
    expected = {
        "pac_margin": -0.3, "pac_margin_risk": -0.2, "dimension_gap": 0.25, "dimension_gap_risk": 0.25, "ambient_gap": 0.2, "enclosed": 3 / 8,
        "pattern_growth": 0.5, "certified_from_samples": 1 / 1600, "certified_at_the_same_level": 2 / 1600, "sampling_error_slope": -1.0,
        "sampling_error_ratio": 700.0, "unfaithful_margin": -0.25, "unfaithful_difference": 0.2, "latent_margin": -0.35,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(claims, name)(trials), value, rtol=1e-5, err_msg=name)
    (slope,) = claims.linear_slope(trials)
    assert slope == pytest.approx(np.polyfit(np.log(ns), np.log(np.maximum(2 / ns, 0.01) + 1e-3), 1)[0])
    rows = trials[(trials.experiment == "pac") & (trials.m == 11)].assign(nu_max_risk=[np.ones((2, 3))] * 8)
    np.testing.assert_allclose(claims.dimension_gap_risk(pd.concat([trials[trials.m == 5], rows], ignore_index=True)), 0.8)


def test_planted_risks_give_the_advantage_of_the_invariant_predictor():
    trials = pd.DataFrame(
        [{"experiment": "ood", "seed": seed, "strong_erm_q95": 2.0 + seed, "strong_invariant_q95": 0.5, "training_law_erm_q95": 9.0} for seed in (0, 1)]
    )
    np.testing.assert_allclose(claims.robustness(trials), [1.5, 2.5])


def test_learning_curves_train_on_the_sequences_and_test_on_the_rest():
    config = Config(ns=(1, 2), redraws=2, test=4)
    violated = np.array([[0, 0, 0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 1, 0]], bool)  # two sequences of two, then four tests
    curves = learning_curves(config, violated)
    np.testing.assert_array_equal(curves["nu_max"], [[0.75, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(curves["survivors"], [1.5, 1])
    np.testing.assert_array_equal(curves["patterns"], [1.5, 2])


SMALL = Config(m=5, site_counts=(1,), ns=(1, 4), redraws=2, test=200, train=6, latent_m=3, latent_p=5, latent_noise=0.5, irm_lams=(1.0,))


def headline_sem(seed=4, m=5):
    return model.draw_sem(m, 2, numpy_rng(seed, "sem"))


def test_a_pac_run_applies_both_thresholds():
    sem, (row,) = headline_sem(), run(SMALL, {"experiment": "pac", "m": 5, "sites": 2, "kind": "soft"}, (4,), "cpu")
    S = np.concatenate([[model.reference(sem)], *(model.environments(sem, n, numpy_rng(4, name)) for n, name in ((8, "train"), (200, "test")))])
    for name, measure, level in (("nu_max", model.deviations(S)[0], 0.3), ("nu_max_risk", model.deviations(S)[1], 0.09)):
        nu = (measure[:, 8:] > level).mean(axis=1)
        np.testing.assert_allclose(row[name][1, 1], nu[(measure[:, 4:8] <= level).all(axis=1)].max(), rtol=1e-6)
        assert 0 < row[name].max() < 1


def assert_same_row(row, expected):
    assert row.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(row[name], value)


def test_each_condition_runs_on_the_model_it_names():
    config = Config(m=5, site_counts=(1,), dimensions=(4, 6), ns=(1, 4), redraws=2, test=60)
    sem, core, seeds = headline_sem(), headline_sem(m=4), (4,)
    (ambient,) = run(config, {"experiment": "ambient", "m": 6}, seeds, "cpu")
    assert_same_row(ambient, run_pac(config, model.with_ambient(core, 6, numpy_rng(4, "ambient")), 4))
    for cancel in (True, False):
        (row,) = run(config, {"experiment": "unfaithful", "cancel": cancel}, seeds, "cpu")
        assert_same_row(row, run_pac(config, model.with_two_paths(sem, cancel), 4))
        assert (row["correlation"] < 1e-10) == cancel
    for kind, sites in (("noise", 2), ("soft", 1)):
        (row,) = run(config, {"experiment": "pac", "m": 5, "sites": sites, "kind": kind}, seeds, "cpu")
        assert_same_row(row, run_pac(config, model.draw_sem(5, sites, numpy_rng(4, "sem")), 4, kind))
    S = model.reference(sem)
    assert row["correlation"] == pytest.approx(abs(S[0, 5]) / np.sqrt(S[0, 0] * S[5, 5]))
    np.testing.assert_array_equal(row["bound"], np.log(31 / 0.05) / np.array([1, 4]))


def test_a_linear_run_certifies_on_n_interventions_and_tests_on_others():
    config = Config(m=5, site_counts=(1,), linear_ns=(2, 6), linear_random=60, linear_searched=4, linear_steps=30, linear_shadow=30, test=80)
    (row,) = run(config, {"experiment": "linear", "r": 2}, (4,), "cpu")
    sem = headline_sem()
    base = model.reference(sem)[None]
    train, shadow, test = (model.environments(sem, n, numpy_rng(4, name)) for name, n in (("train", 6), ("shadow", 30), ("test", 80)))
    drawn = linear.orthonormal(numpy_rng(4, "representations").normal(size=(60, 2, 5)))
    for i, n in enumerate((2, 6)):
        seen = np.concatenate([base, train[:n]])
        smooth = linear.invariant_ones(drawn[:4], seen, 30)
        for name, Phi in (("random", drawn), ("invariant", smooth), ("deceptive", linear.deceptive_ones(smooth, seen, shadow, 0.3, 30))):
            passes = (linear.distances(Phi, seen) <= 0.3).all(axis=1)
            nu = (linear.distances(Phi, np.concatenate([base, test])) > 0.3).mean(axis=1)
            assert row[f"survivors_{name}"][i] == passes.sum() and row[f"nu_{name}"][i] == max([0.0, *nu[passes]])
    assert 0 < row["survivors_random"][1] < row["survivors_random"][0] and row["nu_random"][0] > 0 and row["nu_deceptive"][0] > 0


def test_a_finite_run_certifies_on_samples_and_tests_on_the_population():
    sem, N = headline_sem(), 60
    (row,) = run(SMALL, {"experiment": "finite", "N": N}, (4,), "cpu")
    S = np.concatenate([[model.reference(sem)], model.environments(sem, 6, numpy_rng(4, "train"))])
    seen = model.deviations(model.sample_covariances(S, N, numpy_rng(4, "samples")))[0].max(axis=1)
    unseen = model.deviations(np.concatenate([S[:1], model.environments(sem, 200, numpy_rng(4, "test"))]))[0]
    level = 0.3 + 0.5 * np.sqrt(5 / N)
    assert row["level"] == pytest.approx(level)
    values = []
    for name, certified, tested in (("nu_max", level, 2 * level), ("nu_max_same_level", level, level), ("nu_max_no_slack", 0.3, 0.3)):
        kept = unseen[seen <= certified]
        values.append(max([0.0, *(kept > tested).mean(axis=1)]))
        assert row[name] == values[-1] and row[f"{name}_survivors"] == len(kept)
    assert values[1] > values[0]
    assert row["false_rejections"] == ((seen > level) & (model.deviations(S)[0].max(axis=1) <= 0.3)).sum()


def test_an_ood_run_gives_the_parents_the_noise_of_y_and_the_others_their_exact_risk():
    (row,) = run(SMALL, {"experiment": "ood"}, (2,), "cpu")
    sem = model.with_child_as_site(headline_sem(2))  # a child of Y takes the place of a site, and a parent stays one, so that Var(Y) varies
    assert (sem.sites != headline_sem(2).sites).any()
    base = model.reference(sem)
    S = np.concatenate([base[None], model.environments(sem, 6, numpy_rng(2, "train"))])
    for law, shift in (("strong", 3.0), ("training_law", 1.0)):
        unseen = model.environments(sem, 200, numpy_rng(2, f"unseen {law}"), shift=shift)
        assert row[f"{law}_parents_q95"] == pytest.approx(sem.om[sem.target] / base[-1, -1])
        for name, T in (("erm", range(5)), ("invariant", predictors.invariant_subset(S, 0.05))):
            risk = model.risks(predictors.on_subset(S, T)[None], unseen)[0] / base[-1, -1]
            assert row[f"{law}_{name}_q95"] == pytest.approx(np.quantile(risk, 0.95)) and row[f"{law}_{name}_mean"] == pytest.approx(risk.mean())
    assert row["child_is_site"] and row["strong_erm_q95"] > 1.05 * row["strong_invariant_q95"]


def test_a_latent_run_has_both_kinds_of_representation_with_one_helping_of_noise():
    sem, (row,) = headline_sem(m=3), run(SMALL, {"experiment": "latent"}, (4,), "cpu")
    S = np.concatenate([[model.reference(sem)], *(model.environments(sem, n, numpy_rng(4, name)) for n, name in ((8, "train"), (200, "test")))])
    M = numpy_rng(4, "observation").normal(size=(5, 3))
    unmixed = S.copy()
    unmixed[:, :3, :3] += 0.5 * np.linalg.inv(M.T @ M)  # M^+ M^+T = (M^T M)^-1
    distance = np.concatenate([model.deviations(model.observe(S, M, 0.5))[0], model.deviations(unmixed)[0]])
    expected = learning_curves(SMALL, distance > 0.3)
    assert row["class_size"] == 31 + 7 and row["nu_max"].max() > 0
    for name in ("nu_max", "survivors", "expected_upper"):
        np.testing.assert_allclose(row[name], expected[name])


@pytest.mark.parametrize("values", [{"sites": 8}, {"latent_p": 4}, {"samples": [10]}, {"ns": [0]}, {"kinds": ["firm"]}, {"m": 3}, {"ranks": [9]}])
def test_a_bad_setting_is_one_clear_message(values):
    with pytest.raises(RequestError, match=next(iter(values))):
        build_config(Config, values, "command line")


def test_a_miniature_of_every_experiment_gives_rows_and_depends_on_the_seed():
    config = Config(
        m=5, dimensions=(4, 5), site_counts=(1, 2), kinds=("noise",), ns=(1, 4), redraws=2, test=60, train=4, samples=(20,), latent_m=3, latent_p=4,
        linear_ns=(4,), linear_random=20, linear_searched=3, linear_steps=3, linear_shadow=10,
    )  # fmt: skip
    grid = conditions(config)
    assert len(grid) == 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 2 + 1  # the sweeps meet in the headline
    for condition in grid:
        first, second = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        assert any(np.any(first[name] != second[name]) for name in first)
        again = run(config, condition, (0,), "cpu")[0]
        assert all(np.array_equal(first[name], again[name]) for name in first)
