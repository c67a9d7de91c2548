"""Provable pretraining: closed forms against sampling, limits, invariances and libraries, for factor models, mixtures and pairs; and the run end to end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold

from papers.provable_pretraining import claims, contrastive, images, mixture, model, replicate
from papers.provable_pretraining.model import draw_problem, expected_excess, factor_mle, least_squares_head, limit_floor, posterior_map, sample_covariance
from papers.provable_pretraining.replicate import Config, conditions, run, threshold_m
from shared.effects import log_log_slope
from shared.seeds import numpy_rng


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def problem(rng, d=20, r=3, s=2.0, **options) -> model.FactorProblem:
    return draw_problem(rng, d, r, s, 0.5, **options)


def phase_1(rng, given, m, r=3):
    return posterior_map(factor_mle(sample_covariance(rng, given.S, m), r))


# ---- the linear problem ----


@pytest.mark.parametrize(("options", "n"), [({}, 200_000), ({"rho": 0.5}, 100_000), ({"informative": False}, 100_000)])
def test_the_excess_is_the_difference_of_sampled_risks(rng, options, n):
    given = problem(rng, d=8, **options)
    w = given.w_star + 0.3 * rng.standard_normal(8)
    X, y = given.sample(rng, n)
    risk, best = ((X @ w - y) ** 2).mean(), ((X @ given.w_star - y) ** 2).mean()
    assert risk - best == pytest.approx(given.excess(w), rel=10 / n**0.5)
    assert best == pytest.approx(given.residual, rel=0.01)
    np.testing.assert_allclose(X.T @ X / len(X), given.S, atol=0.05)
    np.testing.assert_allclose(X.T @ y / len(X), given.c, atol=0.03)


def test_the_papers_setting_has_its_residual_and_its_posterior(rng):
    given = problem(rng)
    B, beta = given.B, given.beta
    assert given.residual == pytest.approx(0.25 + beta @ np.linalg.solve(np.eye(3) + B.T @ B, beta)) == pytest.approx(0.45)
    np.testing.assert_allclose(given.true_map, posterior_map(B), atol=1e-12)
    np.testing.assert_allclose(given.true_map @ beta, given.w_star)  # E[y | x] = beta . E[z | x]
    np.testing.assert_allclose(B.T @ B, 4 * np.eye(3), atol=1e-12)


def test_without_information_the_head_learns_nothing_and_the_floor_is_all(rng):
    given = problem(rng, informative=False)
    np.testing.assert_allclose(given.B.T @ given.w_star, 0, atol=1e-12)
    assert given.floor(given.true_map) == pytest.approx(1) == pytest.approx(given.excess(np.zeros(20)))


def test_a_smaller_sample_begins_a_larger_one(rng):
    given = problem(rng)
    small, large = (given.sample(np.random.default_rng(1), n) for n in (5, 50))
    np.testing.assert_array_equal(small[0], large[0][:5])
    np.testing.assert_array_equal(small[1], large[1][:5])


def test_the_floor_is_the_least_excess_in_the_span(rng):
    given, T = problem(rng, rho=0.5), rng.standard_normal((20, 3))
    floor = given.floor(T)
    X, y = given.sample(rng, 100_000)
    assert given.excess(least_squares_head(T, X, y)) == pytest.approx(floor, rel=1e-3)
    assert all(given.excess(T @ rng.standard_normal(3)) > floor for _ in range(20))


# ---- phase 1 of the factor model ----


@pytest.mark.parametrize("m", [3, 5, 12])
def test_the_drawn_covariance_has_the_mean_and_the_variances_of_m_points(rng, m):
    S = problem(rng, d=4, r=2).S
    draws = np.array([sample_covariance(rng, S, m) for _ in range(6000)])
    np.testing.assert_allclose(draws.mean(axis=0), S, atol=5 * np.sqrt(2 / m / 6000) * S.max())
    np.testing.assert_allclose(draws.var(axis=0), (S**2 + np.outer(np.diag(S), np.diag(S))) / m, rtol=0.12)


def test_the_estimate_converges_to_B_up_to_rotation_like_one_over_root_m(rng):
    given, ms = problem(rng), np.array([1000, 4000, 16_000, 64_000])

    def error(m):
        B_hat = factor_mle(sample_covariance(rng, given.S, m), 3)
        return np.linalg.norm(B_hat @ B_hat.T - given.B @ given.B.T)

    errors = np.array([[error(m) for m in ms] for _ in range(10)]).mean(axis=0)
    assert log_log_slope(ms, errors) == pytest.approx(-0.5, abs=0.05)
    B = factor_mle(given.S, 3)
    np.testing.assert_allclose(B @ B.T, given.B @ given.B.T, atol=1e-10)


def test_the_estimate_is_the_maximum_of_the_likelihood_and_has_the_eigenvalues_of_pca(rng):
    given = problem(rng)
    X, _ = given.sample(rng, 300)
    S_hat = X.T @ X / 300
    B_hat = factor_mle(S_hat, 3)
    best = model.log_likelihood(B_hat, S_hat)
    assert best == pytest.approx(multivariate_normal(cov=B_hat @ B_hat.T + np.eye(20)).logpdf(X).mean())
    rivals = [given.B] + [B_hat + 0.02 * rng.standard_normal(B_hat.shape) for _ in range(20)]
    assert best > max(model.log_likelihood(B, S_hat) for B in rivals)
    pca = PCA(3).fit(np.vstack([X, -X]))  # so that the mean is 0
    explained = pca.explained_variance_ * (600 - 1) / 600
    np.testing.assert_allclose(np.sort((B_hat**2).sum(axis=0))[::-1], explained - 1)


def test_rotating_the_latent_changes_no_prediction(rng):
    given = problem(rng)
    B_hat, (X, y) = factor_mle(sample_covariance(rng, given.S, 200), 3), given.sample(rng, 30)
    R = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    ours, turned = (given.excess(least_squares_head(posterior_map(B), X, y)) for B in (B_hat, B_hat @ R))
    assert turned == pytest.approx(ours)


def test_phase_1_does_without_points_and_with_fewer_than_dimensions(rng):
    B_hat = factor_mle(sample_covariance(rng, problem(rng).S, 2), 3)
    assert np.isfinite(B_hat).all() and (B_hat[:, 0] == 0).all()  # two points have two directions


# ---- exact errors of the factor model ----


def test_expected_excesses_are_the_means_over_labels(rng):
    given, n = problem(rng), 100
    T = phase_1(rng, given, 60)  # a floor that shows
    samples = [given.sample(rng, n) for _ in range(1000)]
    for features, k in ((np.eye(20), 20), (given.true_map, 3), (T, 3), (rng.standard_normal((20, 3)), 3)):  # the last sees little of the latent
        floor = given.floor(features)
        mean = np.mean([given.excess(least_squares_head(features, X, y)) for X, y in samples])
        assert mean - floor == pytest.approx(expected_excess(floor, given.residual, k, n) - floor, rel=0.08)
    assert floor > given.residual / 2


def test_the_expected_excess_holds_with_hardly_more_labels_than_features(rng):
    given = problem(rng, d=6)
    mean = np.mean([given.excess(least_squares_head(np.eye(6), *given.sample(rng, 12))) for _ in range(4000)])
    assert mean == pytest.approx(expected_excess(0.0, given.residual, 6, 12), rel=0.07)


@pytest.mark.parametrize(("s", "m"), [(2.0, 300), (1.0, 600)])
def test_the_floor_follows_its_limit(rng, s, m):
    d, given = 60, problem(rng, d=60, s=s)
    floors = [given.floor(phase_1(rng, given, m)) for _ in range(60)]
    assert np.mean(floors) == pytest.approx(limit_floor(d, 3, s, m), rel=0.08)


def test_the_limit_is_the_overlap_of_spiked_covariances(rng):
    d, r, s = 300, 3, 1.3
    for m in (150, 400, 3000):
        g = (d - r) / m
        overlap = max(0, (1 - g / s**4) / (1 + g / s**2))
        assert limit_floor(d, r, s, m) == pytest.approx(1 / (1 + s**2 * overlap) - 1 / (1 + s**2))
    given, m = problem(rng, d=150, s=s), 400
    U = [np.linalg.qr(phase_1(rng, given, m))[0] for _ in range(15)]
    measured = np.mean([np.linalg.norm(u.T @ given.B / s) ** 2 / r for u in U])
    assert measured == pytest.approx((1 - 147 / 400 / s**4) / (1 + 147 / 400 / s**2), rel=0.04)


def test_below_the_threshold_phase_1_finds_nothing(rng):
    given = problem(rng, d=200, s=1.0)
    floor = np.mean([given.floor(phase_1(rng, given, threshold_m(0.1, 200, 3, 1.0))) for _ in range(3)])
    assert floor > 0.85 * limit_floor(200, 3, 1.0, 10) and limit_floor(200, 3, 1.0, 10) == pytest.approx(given.excess(np.zeros(200)))


def test_with_endless_unlabelled_points_pretraining_is_the_oracle(rng):
    given = problem(rng)
    X, y = given.sample(rng, 60)
    pretrained, oracle = (given.excess(least_squares_head(T, X, y)) for T in (phase_1(rng, given, 10_000_000), given.true_map))
    assert pretrained == pytest.approx(oracle, rel=0.02)


def test_a_latent_as_wide_as_the_input_gives_plain_least_squares(rng):
    given = problem(rng, d=6, r=6)
    X, y = given.sample(rng, 30)
    np.testing.assert_allclose(least_squares_head(phase_1(rng, given, 1000, r=6), X, y), np.linalg.solve(X.T @ X, X.T @ y))


def test_with_fewer_labels_than_dimensions_least_squares_interpolates_with_the_least_norm(rng):
    X, y = problem(rng).sample(rng, 12)
    w = least_squares_head(np.eye(20), X, y)
    np.testing.assert_allclose(X @ w, y)
    np.testing.assert_allclose(w, X.T @ np.linalg.solve(X @ X.T, y))


def test_ridge_chooses_its_penalty_by_the_error_on_the_folds(rng):
    given, chosen = problem(rng, d=5, r=2), set()

    def fit(X, y, lam):
        return Ridge(lam * len(y), fit_intercept=False, solver="cholesky").fit(X, y).coef_

    for n in range(11, 31):
        X, y = given.sample(rng, n)
        errors = [sum(((X[b] @ fit(X[a], y[a], lam) - y[b]) ** 2).sum() for a, b in KFold(5).split(X)) for lam in model.LAMBDAS]
        best = model.LAMBDAS[np.argmin(errors)]
        np.testing.assert_allclose(model.ridge(X, y), fit(X, y, best), rtol=1e-6, atol=1e-9)
        chosen.add(best)
    assert len(chosen) > 2


# ---- mixtures ----


def test_em_never_lowers_the_likelihood_and_its_posteriors_are_probabilities(rng):
    given = mixture.draw_mixture(rng, 6, 4, 2.0, 0.1)
    X, _, _ = given.sample(rng, 200)
    u, trace = X[:4], []
    for _ in range(30):
        trace.append(mixture.log_likelihood(X, u))
        u = mixture.em_step(X, u)
    assert (np.diff(trace) >= -1e-12).all() and trace[-1] > trace[0] + 0.1
    P = mixture.posterior(X, u)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    np.testing.assert_allclose(mixture.em_step(X, X[:1])[0], X.mean(axis=0))  # K = 1


def test_posteriors_and_likelihood_are_scikit_learns(rng):
    given = mixture.draw_mixture(rng, 6, 4, 2.0, 0.1)
    X, _, _ = given.sample(rng, 50)
    theirs = GaussianMixture(4, covariance_type="spherical")
    theirs.weights_, theirs.means_, theirs.covariances_, theirs.precisions_cholesky_ = np.full(4, 0.25), given.u, np.ones(4), np.ones(4)
    np.testing.assert_allclose(mixture.posterior(X, given.u), theirs.predict_proba(X), atol=1e-12)
    assert mixture.log_likelihood(X, given.u) == pytest.approx(theirs.score(X))


def test_the_mixture_is_found_with_its_exact_error(rng):
    d, K, m = 20, 5, 2000
    errors = []
    for _ in range(8):
        given = mixture.draw_mixture(rng, d, K, 6.0, 0.1)
        X, _, _ = given.sample(rng, m)
        errors.append(mixture.centre_error(mixture.fit_mixture(X, rng, K, restarts=4), given.u))
    assert np.mean(errors) == pytest.approx(d * K / m, rel=0.1)
    assert np.bincount(given.psi.astype(int)).tolist() == [2, 3]
    np.testing.assert_allclose(np.linalg.norm(given.u, axis=1), 6)


def test_the_restart_of_the_greatest_likelihood_is_kept(rng):
    X, _, _ = mixture.draw_mixture(rng, 4, 6, 2.0, 0.1).sample(rng, 150)
    fits = [mixture.log_likelihood(X, mixture.fit_mixture(X, np.random.default_rng(1), 6, restarts=n, iterations=10)) for n in (1, 2, 4, 8)]
    assert fits == sorted(fits) and fits[-1] > fits[0]


@pytest.mark.parametrize("n", [5, 20, 41])
def test_the_error_of_the_vote_is_its_exact_sum(rng, n):
    K, q, draws = 4, 0.15, 4000
    given = mixture.draw_mixture(rng, 3, K, 60.0, q)  # far apart
    X, y, _ = given.sample(rng, n * draws)
    P = mixture.posterior(X, given.u)
    votes = np.array([mixture.vote(rng, P[i : i + n], y[i : i + n]) for i in range(0, len(y), n)])
    error = (votes != given.psi).mean()
    assert error == pytest.approx(mixture.vote_error(n, K, q), abs=4 * np.sqrt(0.25 / (K * draws)) * 0.8)


def test_the_sum_of_the_vote_in_small_cases():
    assert mixture.vote_error(1, 1, 0.2) == pytest.approx(0.2)
    assert mixture.vote_error(2, 1, 0.2) == pytest.approx(0.04 + 0.5 * 0.32)
    assert mixture.vote_error(1, 2, 0.2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.5)
    assert mixture.vote_error(3, 1, 0.2) == pytest.approx(0.008 + 3 * 0.04 * 0.8)


def test_a_coin_decides_a_component_without_labels_and_a_tie(rng):
    P, y = np.eye(3)[[0, 0, 0, 1, 1]], np.array([True, True, False, True, False])  # a majority, a tie, none
    share = np.mean([mixture.vote(rng, P, y) for _ in range(400)], axis=0)
    assert share[0] == 1 and share[1:] == pytest.approx([0.5, 0.5], abs=0.1)


def test_labels_are_flipped_as_often_as_said_and_rivals_answer(rng):
    given = mixture.draw_mixture(rng, 5, 4, 5.0, 0.1)
    X, y, z = given.sample(rng, 40_000)
    assert (y != given.psi[z]).mean() == pytest.approx(0.1, abs=0.006)
    assert np.bincount(z) / 40_000 == pytest.approx(np.full(4, 0.25), abs=0.01)
    assert (mixture.predict(mixture.posterior(X, given.u), given.psi) == given.psi[z]).mean() > 0.98
    assert mixture.fit_rival("ridge", X[:6], np.ones(6, bool)).predict(X[:3]).all()  # one label only
    fit = mixture.fit_rival("neighbours", X[:60], y[:60])
    assert isinstance(fit, GridSearchCV) and (fit.predict(X) == given.psi[z]).mean() > 0.8


# ---- contrastive pairs ----


def test_the_contrastive_gradient_is_that_of_its_loss_and_rotations_leave_the_loss_alone(rng):
    A = contrastive.draw_embedding(rng, 6, 2, 1.5)
    pairs = contrastive.draw_pairs(rng, A, 40)
    point = rng.standard_normal((2, 6))
    loss, gradient = contrastive.loss_and_gradient(point, pairs)
    numeric = approx_fprime(point.ravel(), lambda flat: contrastive.loss_and_gradient(flat.reshape(2, 6), pairs)[0], 1e-7)
    np.testing.assert_allclose(gradient.ravel(), numeric, atol=1e-6)
    f = ((pairs.x @ point.T) * (pairs.x_prime @ point.T)).sum(axis=1)
    assert loss == pytest.approx(-np.where(pairs.t, np.log(1 / (1 + np.exp(-f))), np.log(1 / (1 + np.exp(f)))).mean())
    R = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    assert contrastive.loss_and_gradient(R @ point, pairs)[0] == pytest.approx(loss)


def test_the_embedding_is_found_up_to_rotation_with_its_exact_error(rng):
    d, r, m = 8, 2, 4000
    ratios = []
    for _ in range(10):
        A = contrastive.draw_embedding(rng, d, r, 1.5)
        pairs = contrastive.draw_pairs(rng, A, m)
        A_hat = contrastive.contrastive_mle(rng, pairs, r, starts=2)
        assert contrastive.loss_and_gradient(A_hat, pairs)[0] <= contrastive.loss_and_gradient(A, pairs)[0]
        ratios.append(contrastive.mean_floor(A_hat, A) / contrastive.limit_floor(d, r, 1.5, m))
    np.testing.assert_allclose(A_hat.T @ A_hat, A.T @ A, atol=0.5)
    assert np.mean(ratios) == pytest.approx(1, abs=0.2)


def test_the_information_of_a_pair_is_the_curvature_of_its_loss(rng):
    """Second difference of the mean loss along a direction that leaves the row space, on many pairs."""
    d, r, s = 4, 2, 1.5
    A = contrastive.draw_embedding(rng, d, r, s)
    pairs, E = contrastive.draw_pairs(rng, A, 400_000), rng.standard_normal((r, d))
    E -= E @ A.T @ A / s**2
    step = 0.02
    up, middle, down = (contrastive.loss_and_gradient(A + sign * step * E, pairs)[0] for sign in (1, 0, -1))
    # E[loss''] along E = information |E|^2 (the term of f'' has mean zero: E[t | x, x'] = sigmoid(f))
    assert (up - 2 * middle + down) / step**2 == pytest.approx(contrastive.information(r, s) * (E**2).sum(), rel=0.03)


def test_the_mean_floor_is_the_floor_averaged_over_directions(rng):
    A, A_hat = contrastive.draw_embedding(rng, 6, 3, 1.5), rng.standard_normal((3, 6))
    basis = [contrastive.downstream(A, w, 0.5).floor(A_hat.T) for w in np.eye(3)]  # the floor is quadratic in w
    assert np.mean(basis) == pytest.approx(contrastive.mean_floor(A_hat, A))
    given = contrastive.downstream(A, np.array([1.0, 0, 0]), 0.5)
    X, y = given.sample(rng, 100_000)
    assert given.residual == pytest.approx(0.25) and ((y - X @ A[0]) ** 2).mean() == pytest.approx(0.25, rel=0.02)


# ---- images ----


def test_probabilistic_pca_is_scikit_learns_and_infers_the_posterior_mean(rng):
    X = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 8)) + 0.3 * rng.standard_normal((200, 8)) + 1
    ours, theirs = images.fit_factors(X, 3), PCA(3).fit(X)
    shrink = 199 / 200
    assert ours.v == pytest.approx(theirs.noise_variance_ * shrink)
    np.testing.assert_allclose(ours.W @ ours.W.T + ours.v * np.eye(8), theirs.get_covariance() * shrink, atol=1e-10)
    C = ours.W @ ours.W.T + ours.v * np.eye(8)
    np.testing.assert_allclose(ours.latent(X), (X - ours.mean) @ np.linalg.solve(C, ours.W), atol=1e-10)  # conditional mean of a Gaussian


def test_images_without_labels_with_labels_and_of_the_test_are_different_and_balanced():
    data = images.load("digits", 0, 300, 50)
    parts = [{row.tobytes() for row in part} for part in (data.unlabelled, data.X, data.X_test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert len(data.unlabelled) == 300 and data.X.max() == 1
    np.testing.assert_array_equal(np.sort(data.y[:20]), np.repeat(np.arange(10), 2))
    assert (images.load("digits", 1, 300, 50).X != data.X).any()


def test_logistic_regression_in_the_span_of_the_points_is_that_on_all_pixels():
    data = images.load("digits", 0, 300, 20)
    X, X_test = images.in_span(data.X, data.X_test)
    assert X.shape[1] == 20
    ours, plain = (LogisticRegression(C=1.0, tol=1e-7, max_iter=2000).fit(a, data.y).predict_proba(b) for a, b in ((X, X_test), (data.X, data.X_test)))
    np.testing.assert_allclose(ours, plain, atol=1e-4)
    assert images.logistic_accuracy(data.X, data.y, data.X_test, data.y_test) > 0.6


def test_phase_1_of_images_sees_those_without_labels_and_phase_2_the_labels_asked_for(monkeypatch):
    phase_1, heads, votes = [], [], []
    monkeypatch.setattr(images, "fit_factors", lambda X, r, fit=images.fit_factors: phase_1.append(len(X)) or fit(X, r))
    monkeypatch.setattr(images, "logistic_accuracy", lambda X, y, *test: heads.append((X.shape[1], len(X), len(y))) or 0.5)
    monkeypatch.setattr(images, "vote_accuracy", lambda P, y, *test: votes.append((len(P), len(y))) or 0.5)
    images.accuracies("digits", 0, 300, (20, 50), 5, 4)
    assert phase_1 == [300] and votes == [(20, 20), (50, 50)]
    assert heads == [(k, n, n) for k in (64, 5, 5) for n in (20, 50)]  # pixels, latents, scaled latents


def test_a_vote_over_pure_components_is_exact():
    P, P_test = np.eye(3)[[0, 1, 2, 2, 2]], np.eye(3)[[2, 0, 1]]
    assert images.vote_accuracy(P, np.array([4, 7, 1, 1, 9]), P_test, np.array([1, 4, 7])) == 1


# ---- from rows to claims, and the run ----


def test_a_planted_crossing_and_planted_exponents_are_recovered():
    n = np.array([10.0, 100.0, 1000.0])
    assert claims.crossing(n, np.array([2.0, 1.0, -1.0])) == pytest.approx(np.log(100) + np.log(10) / 2)
    rows = [{"experiment": "dimension", "d": d, "seed": k, "excess_pretrain": (k + 1) * d**0.2, "excess_ols": d**1.5} for d in (25, 50, 100) for k in (0, 1)]
    trials = pd.DataFrame(rows)
    np.testing.assert_allclose(claims.dimension_gap(trials), 1.3)
    np.testing.assert_allclose(claims.pretrained_over_dimension(trials), 0.2)


MINI = Config(
    draws=1, r=2, d=20, labels=(20,), many_unlabelled=100, unlabelled=(30, 60), many_labels=40, dimensions=(20,), dimension_labels=40, map_d=20,
    map_unlabelled=(30, 60), map_labels=(20, 60), exact_unlabelled=50, exact_labels=40, exact_draws=2, threshold_d=20, threshold_ratios=(2.0,),
    control_labels=40, mixture_d=5, K=3, mixture_unlabelled=(60,), mixture_labels=(20,), mixture_test=50, vote_draws=5, restarts=1,
    rivals=("ridge",), pairs_d=19, pairs=(300,), pairs_labels=(30,), pairs_starts=1, images=("digits",), images_labels=(20,), images_r=4, images_K=4,
)  # fmt: skip


def test_a_miniature_of_every_experiment_gives_rows_that_depend_on_the_seed():
    grid = conditions(MINI)
    assert len({condition["experiment"] for condition in grid}) == 10
    for condition in grid:
        first, second = run(MINI, condition, (0, 1), "cpu")
        assert all(np.isfinite(value).all() for value in first.values())
        assert any(np.any(first[name] != second[name]) for name in first)
        assert all((np.asarray(value) >= 0).all() for name, value in first.items() if name.startswith(("excess", "floor", "error")))


def test_experiments_of_a_seed_share_their_problems_and_labels():
    rows = {condition["n"]: run(MINI, condition, (3,), "cpu")[0] for condition in conditions(MINI) if condition["experiment"] == "map"}
    assert "exact_ols" not in rows[20] and rows[60]["exact_ols"] == pytest.approx(expected_excess(0, 0.45, 20, 60))
    labels = [run(MINI, condition, (3,), "cpu")[0] for condition in conditions(MINI) if condition["experiment"] == "labels"]
    assert labels[0]["excess_ols"] == pytest.approx(rows[20]["excess_ols"])  # the same problem and labels, met from two experiments


def test_no_two_draws_of_a_trial_share_random_numbers(monkeypatch):
    """Labelled and unlabelled points, problems, draws and settings of m: each has a stream of its own, but for the coin, and the starts of EM."""
    config = replace(MINI, draws=2)
    for condition in conditions(config):
        names = []
        monkeypatch.setattr(replicate, "numpy_rng", lambda seed, name, names=names: names.append(name) or numpy_rng(seed, name))
        if condition["experiment"] != "images":  # they are split, not drawn
            run(config, condition, (0,), "cpu")
        assert {name for name, count in Counter(names).items() if count > 1} <= {"coin", "starts"}
        if condition["experiment"] == "unlabelled":
            assert sum("unlabelled" in name for name in names) == 4  # two draws, two m


def test_the_means_of_rows_are_the_exact_ones():
    """Few unlabelled points and few labels, so that both phases and every baseline show in their error."""
    config = replace(MINI, draws=80, exact_draws=80, r=3, labels=(50,), exact_labels=50, map_labels=(50,), dimension_labels=50)
    config = replace(config, many_unlabelled=60, exact_unlabelled=60, map_unlabelled=(60, 200), dimensions=(20, 30), unlabelled_per_dimension=3)
    for condition in conditions(config):
        if condition["experiment"] in ("labels", "exact", "dimension", "map") and condition.get("rho", 0) == 0:
            row = run(config, condition, (5,), "cpu")[0]
            for method in ("pretrain", "ols", "oracle"):
                np.testing.assert_allclose(row[f"excess_{method}"], row[f"exact_{method}"], rtol=0.25)
            assert row["excess_oracle"] < row["excess_ridge"] < 0.42 * row["excess_ols"]
            assert (row["excess_pretrain"] > row["excess_oracle"]).all() and (row["excess_pretrain"] > row["floor"]).all()


def test_rows_show_an_empty_latent_unexpected_noise_and_the_settings_asked_for():
    grid = conditions(replace(MINI, dimensions=(20, 30)))
    shown = ("control", "labels", "unlabelled", "threshold")
    rows = [condition | run(MINI, condition, (0,), "cpu")[0] for condition in grid if condition["experiment"] in shown]
    for row in rows:
        if row["experiment"] == "control":
            assert row["floor"] > 0.5 and row["excess_pretrain"] > row["excess_ols"]
        elif row["experiment"] == "threshold":
            assert row["zero_excess"] == pytest.approx(0.5)  # s = 1
        else:
            assert ("exact_pretrain" in row) == (row["rho"] == 0)
        if row["experiment"] == "unlabelled":
            assert (row["population_floor"] > 0.02) == (row["rho"] > 0)
    assert {row["m"] / row["d"] for row in grid if row["experiment"] == "dimension"} == {200}
    assert threshold_m(4.0, 103, 3, 2.0) == 25


def test_mixtures_and_pairs_learn_from_the_points_asked_for(monkeypatch):
    config, fitted, taught = replace(MINI, mixture_labels=(20, 40), pairs_labels=(30, 300)), [], []
    monkeypatch.setattr(mixture, "fit_mixture", lambda X, *rest, fit=mixture.fit_mixture: fitted.append(len(X)) or fit(X, *rest))
    monkeypatch.setattr(mixture, "fit_rival", lambda name, X, y, fit=mixture.fit_rival: taught.append((len(X), len(y))) or fit(name, X, y))
    for condition in conditions(config):
        if condition["experiment"] == "mixture":
            run(config, condition, (0,), "cpu")
        elif condition["experiment"] == "contrastive":
            row = run(config, condition, (0,), "cpu")[0]
            assert (row["excess_pretrain"] > row["excess_oracle"] + 0.01).all()  # few pairs
            assert row["excess_ols"][0] > 3 * row["excess_ols"][1] and row["excess_ridge"][0] > 3 * row["excess_ridge"][1]
    assert fitted == [60, 20, 40] and taught == [(20, 20), (40, 40)]


def test_claims_read_the_cells_that_they_name():
    m, n = np.array([100, 200, 400, 800]), np.array([40, 60])
    ols, exact_ols = {160: 3.0, 320: 1 / 3, 640: 0.1}, {160: 9.0, 320: 3.0, 640: 1 / 3}
    images_n = np.array([20, 50])
    rows = [
        {"experiment": "labels", "n": 80, "rho": 0.0, "excess_ols": 6.0, "excess_ridge": 4.0, "excess_pretrain": 0.5},
        {"experiment": "labels", "n": 40, "rho": 0.0, "excess_ols": 1.0, "excess_ridge": 1.0, "excess_pretrain": 0.5},
        {"experiment": "labels", "n": 80, "rho": 0.5, "excess_ols": 1.0, "excess_ridge": 1.0, "excess_pretrain": 0.5},
        {"experiment": "control", "excess_pretrain": 2.0, "excess_ols": 1.0},
        {"experiment": "exact", "excess_pretrain": 3.0, "exact_pretrain": 2.0},
        {"experiment": "unlabelled", "rho": 0.0, "m": m, "excess_pretrain": 1.0 / m, "floor": np.full(4, 2.0), "limit_floor": np.array([1, 2, 4, 4.0])},
        {"experiment": "unlabelled", "rho": 0.5, "m": np.tile(m, 2), "floor": np.concatenate([9.0 / m, m**-0.3])},
        {"experiment": "threshold", "ratio": 0.25, "floor": 3.0, "limit_floor": 2.0, "zero_excess": 4.0},
        {"experiment": "threshold", "ratio": 4.0, "floor": 1.0, "limit_floor": 2.0, "zero_excess": 4.0},
        *({"experiment": "map", "d": 100, "n": k, "m": np.array([200, 400]), "excess_ols": ols[k], "exact_ols": exact_ols[k],
           "excess_pretrain": np.array([1, ols[k] / exact_ols[k]]), "exact_pretrain": np.ones(2)} for k in ols),
        *({"experiment": "mixture", "method": "pretrain", "m": k, "n": n, "error": np.array([e, 0]), "mean_error": np.array([0.3, e]),
           "exact_error": np.full(2, e), "bayes_error": 0.05, "centre_error": 2.0, "limit_centre_error": 400 / k} for k, e in ((100, 0.5), (200, 0.1))),
        *({"experiment": "mixture", "method": k, "n": n, "error": np.array([e, 0])} for k, e in (("labels only", 0.5), ("ridge", 0.4), ("logistic", 0.6))),
        *({"experiment": "contrastive", "m": k, "n": n, "excess_ols": np.array([9, e]), "excess_pretrain": np.ones(2), "mean_floor": k / 100,
           "limit_floor": 2.0} for k, e in ((100, 2.0), (200, 1.1))),
        *({"experiment": "images", "dataset": k, "n": images_n, "accuracy_pixels": np.array([0.9, e]), "accuracy_factors": np.array([0.1, 0.6]),
           "accuracy_mixture": np.array([0.1, 0.8])} for k, e in (("digits", 0.4), ("mnist", 0.6))),
    ]  # fmt: skip
    trials = pd.DataFrame([row | {"seed": seed} for row in rows for seed in (0, 1)])
    read = {
        claims.advantage: 8, claims.harm_without_information: np.log(2), claims.factor_error: 1.5, claims.unlabelled_rate: -1, claims.unlabelled_error: 1,
        claims.left_below_the_threshold: 0.75, claims.left_above_the_threshold: 0.25, claims.crossover: -np.log(2) / 2, claims.misspecified_rate: -0.3,
        claims.mixture_gain: 0.3, claims.both_gains: np.log(1.1), claims.mixture_error: 0.05, claims.mixture_centres: 1, claims.contrastive_error: 0.75,
        claims.factors_on_images: 0.1, claims.mixture_on_images: 0.3,
    }  # fmt: skip
    for claim, value in read.items():
        np.testing.assert_allclose(claim(trials), np.full(2, value), err_msg=claim.__name__)
