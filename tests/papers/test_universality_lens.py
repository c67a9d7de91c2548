"""The Universality Lens: mixtures against plain sums, the theorem on exact regrets, closed forms against direct densities, samplers against known laws."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from papers.universality_lens import claims, conjugate, diagnostics, model
from papers.universality_lens.langevin import (
    Data,
    Model,
    langevin_step,
    linear_posterior,
    log_posterior,
    mixture_log_loss,
    position,
    step_size_variance,
)
from papers.universality_lens.replicate import TASKS, Config, conditions, first_below, run
from shared.data import bundled
from shared.engine.errors import RequestError
from shared.optim.many import train_many

Q = 0.1


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Programs that run once or twice: compiling them well takes longer than running them."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_prior(d: int, seed: int = 0, share: float = 0.7) -> model.Prior:
    """Weights of very different sizes on a part of the tables."""
    codes = np.flatnonzero(rng(seed).random(2**2**d) < share)
    weights = np.exp(3 * rng(seed).normal(size=len(codes)))
    return model.Prior(d, codes, weights / weights.sum())


def label_sequence(d: int, f: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (codes) and noisy labels (True for +1)."""
    x = rng(seed).integers(2**d, size=n)
    return x, model.bits(f, 2**d)[x] ^ (rng(seed + 1).random(n) < Q)


def likelihoods(codes: np.ndarray, d: int, x: np.ndarray, y: np.ndarray, q: float = Q) -> np.ndarray:
    """P_g(y) of each table, label by label."""
    return np.array([np.prod([1 - q if model.bits(g, 2**d)[a] == b else q for a, b in zip(x, y, strict=True)]) for g in codes])


def margins(d: int, f: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    z = np.zeros(2**d, int)
    for a, b in zip(x, y, strict=True):
        z[a] += 1 if b == model.bits(f, 2**d)[a] else -1
    return z


# ---- E1: tables, weights ----


def test_tables_of_the_named_functions():
    x = model.cube(3)
    assert sorted(map(tuple, x)) == sorted(itertools.product((-1, 1), repeat=3))
    table = {name: model.bits(f, 8) for name, f in model.named_functions(3).items()}
    assert table["constant"].all()
    for value, (a, b, c) in enumerate(x):
        assert table["x1"][value] == (a > 0)
        assert table["x1 AND x2"][value] == (a > 0 and b > 0)
        assert table["majority of 3"][value] == (a + b + c > 0)
        assert table["x1 XOR x2"][value] == (a != b)
        assert table["parity of 3"][value] == ([a, b, c].count(1) % 2 == 0)
    assert (model.pack(model.bits(np.arange(256), 8)) == np.arange(256)).all()


@pytest.mark.parametrize(("d", "classes"), [(1, 3), (2, 6), (3, 22), (4, 402)])
def test_orbits_are_as_many_as_is_known(d, classes):
    """Boolean functions up to permutation and complementation of their inputs (OEIS A000616)."""
    assert len(np.unique(model.orbits(d))) == classes


def plain_table(W, b, v, d: int) -> int:
    return sum(1 << x for x, inputs in enumerate(model.cube(d)) if v @ np.maximum(W @ inputs + b, 0) > 0)


@pytest.fixture(scope="module")
def square():
    """Plain frequencies of the 16 tables on the square among networks of three units."""
    codes = np.asarray(model.sample_tables(jax.random.key(0), 2, 3, "gaussian", 40))
    return model.frequencies(2, codes)


def test_networks_are_sampled_as_defined(square):
    """Frequencies against a plain loop over networks with the stated variances."""
    d, H, samples = 2, 3, 20_000
    r = rng()
    W, b, v = r.normal(size=(samples, H, d)) / 3**0.5, r.normal(size=(samples, H)) / 3**0.5, r.normal(size=(samples, H)) / H**0.5
    z = np.einsum("sh,shx->sx", v, np.maximum(W @ model.cube(d).T + b[..., None], 0))
    for s in range(5):
        assert plain_table(W[s], b[s], v[s], d) == model.pack(z[s] > 0)
    loop = np.bincount(model.pack(z > 0), minlength=16) / samples
    ours = np.array([square.weight(f) for f in range(16)])
    assert ours.sum() == pytest.approx(1)
    assert np.abs(ours - loop).max() < 5 * np.sqrt(0.25 / 20_000)
    assert ours[0] > 1.5 * ours[15]  # all units dead on every input: v . 0 = 0 counts as -1


def test_weights_are_invariant_under_permutations_and_signs_of_coordinates(square):
    functions = model.named_functions(2)
    x2 = int(model.pack(model.cube(2)[:, 1] > 0))
    error = np.sqrt(square.weight(x2) / 40_000)
    assert square.weight(x2) == pytest.approx(square.weight(functions["x1"]), abs=5 * error)
    assert square.weight(15 - x2) == pytest.approx(square.weight(x2), abs=5 * error)  # x2 with its sign changed
    even = model.symmetrised(square)
    assert even.weights.sum() == pytest.approx(1)
    assert even.weight(x2) == pytest.approx(even.weight(functions["x1"]))
    assert even.weight(x2) == pytest.approx(np.mean([square.weight(f) for f in (0b1010, 0b0101, 0b1100, 0b0011)]))
    assert even.weight(15) == pytest.approx(square.weight(15))  # the constants are each alone


def test_wide_networks_have_the_limit_kernel():
    x = np.c_[model.cube(2), np.ones(4)] / 3**0.5
    features = np.maximum(rng().normal(size=(200_000, 3)) @ x.T, 0)
    assert model.limit_kernel(2) == pytest.approx(features.T @ features / len(features), abs=0.01)


def test_the_limit_prior_is_that_of_very_wide_networks():
    wide, limit = (model.frequencies(2, np.asarray(model.sample_tables(jax.random.key(1), 2, H, law, 20))) for H, law in ((100, "gaussian"), (1, "limit")))
    gap = [wide.weight(f) - limit.weight(f) for f in range(16)]
    assert np.abs(gap).max() < 6 * np.sqrt(0.25 / 20_000)


# ---- E1: the mixture ----


@pytest.mark.parametrize("sparse", [False, True])
def test_the_factorised_mixture_is_the_plain_sum(sparse, monkeypatch):
    if sparse:
        monkeypatch.setattr(model, "DENSE_UP_TO", 0)
    prior, f = random_prior(3), 0b10010110
    x, y = label_sequence(3, f, 12, seed=5)
    P = likelihoods(prior.codes, 3, x, y)
    regret, wrong = model.mixture(prior, f, margins(3, f, x, y)[None], Q)
    assert regret[0] == pytest.approx(np.log(likelihoods([f], 3, x, y)[0] / (prior.weights @ P)))
    differs = model.bits(prior.codes ^ f, 8)
    assert wrong[0] == pytest.approx((prior.weights * P) @ differs / (prior.weights @ P))


def test_chain_rule():
    """Sequential log-losses of the posterior's predictions add up to -ln Q(y^n)."""
    prior, f = random_prior(2, seed=1), 0b0110
    x, y = label_sequence(2, f, 15, seed=2)
    total = 0.0
    for t in range(15):
        _, wrong = model.mixture(prior, f, margins(2, f, x[:t], y[:t])[None], Q)
        of_other_label = Q + (1 - 2 * Q) * wrong[0, x[t]]
        total -= np.log(1 - of_other_label if y[t] == model.bits(f, 4)[x[t]] else of_other_label)
    assert total == pytest.approx(-np.log(prior.weights @ likelihoods(prior.codes, 2, x, y)), abs=1e-10)


def test_without_noise_all_inputs_seen_once_cost_the_log_weight():
    prior = random_prior(3)
    f = int(prior.codes[11])
    regret, wrong = model.mixture(prior, f, np.ones((1, 8), int), 1e-13)
    assert regret[0] == pytest.approx(np.log(1 / prior.weight(f)), abs=1e-8)
    assert wrong.max() < 1e-8


def test_expected_excess_of_the_next_label_is_the_growth_of_the_exact_regret():
    prior, f, n = random_prior(2, seed=3), 0b1000, 3
    R = model.exact_regret(prior, f, n + 1, Q)
    z = np.array(list(itertools.product(range(-n, n + 1), repeat=4)))
    _, wrong = model.mixture(prior, f, z, Q)
    law = np.zeros((2 * n + 3,) * 4)
    flips = [stats.binom(c, Q).pmf(np.arange(c + 1)) for c in range(n + 1)]
    for x in itertools.product(range(4), repeat=n):  # every input sequence, agreements by their probability
        counts = np.bincount(x, minlength=4)
        law_x = [flips[c] for c in counts]
        for s in itertools.product(*(range(c + 1) for c in counts)):
            law[tuple(c - 2 * k + n for c, k in zip(counts, s, strict=True))] += np.prod([law_x[i][k] for i, k in enumerate(s)]) / 4**n
    weights = law[: 2 * n + 1, : 2 * n + 1, : 2 * n + 1, : 2 * n + 1].ravel()
    assert weights.sum() == pytest.approx(1)
    assert weights @ model.next_label_excess(wrong, Q) == pytest.approx(R[n] - R[n - 1])


@pytest.mark.parametrize("f", [0b1111, 0b1010, 0b1000, 0b0110])
def test_exact_regret_obeys_the_theorem_and_agrees_with_sampled_sequences(f):
    sizes = np.arange(1, 7)
    for prior in (random_prior(2, seed=4, share=1.0), random_prior(2, seed=5)):
        R = model.exact_regret(prior, f, 6, Q)
        assert (np.diff(R) > 0).all() and R[0] > 0
        assert (model.regret_bound(prior, f, sizes, Q) - R >= 0).all()
        sampled, _ = model.mixture(prior, f, model.draw_margins(rng(6), 2, Q, 4000, sizes), Q)
        assert (np.abs(sampled.mean(axis=0) - R) < 4.5 * sampled.std(axis=0) / np.sqrt(4000)).all()


def test_bound_is_the_minimum_over_divergences():
    prior, f = random_prior(2, seed=5), 0b0110
    kl = Q * np.log(Q / (1 - Q)) + (1 - Q) * np.log((1 - Q) / Q)
    assert model.flip_divergence(Q) == pytest.approx(kl)
    D = np.array([kl * sum(model.bits(g ^ f, 4)) / 4 for g in prior.codes])
    for n in (1, 10, 1000):
        plain = min(np.log(1 / prior.weights[eps + 1e-12 >= D].sum()) + n * eps for eps in D)
        assert model.regret_bound(prior, f, np.array([n]), Q)[0] == pytest.approx(plain)


def test_regret_tends_to_the_log_of_the_inverse_weight():
    prior = random_prior(3)
    f = int(prior.codes[3])
    z = model.draw_margins(rng(), 3, Q, 50, np.array([1000]))
    regret, _ = model.mixture(prior, f, z, Q)
    assert regret.mean() == pytest.approx(np.log(1 / prior.weight(f)), abs=1e-6)


def test_indifferent_prior_has_the_exact_regret_of_independent_inputs():
    sizes = np.array([1, 5, 40, 300])
    exact = model.exact_regret_uniform(2, sizes, Q)
    assert exact[:2] == pytest.approx(model.exact_regret(model.uniform_on_functions(2), 0b0110, 5, Q)[[0, 4]])
    assert exact[-1] == pytest.approx(4 * np.log(2), abs=1e-6)


def test_two_part_code_pays_for_the_best_single_table():
    prior, f = random_prior(3), 0b11101000
    x, y = label_sequence(3, f, 30, seed=8)
    P, truth = likelihoods(prior.codes, 3, x, y), likelihoods([f], 3, x, y)[0]
    z = margins(3, f, x, y)[None]
    length, excess = model.two_part(prior, f, z, Q)
    best = (prior.weights * P).argmax()
    assert length[0] == pytest.approx(np.log(truth / (prior.weights * P)[best]), abs=1e-4)
    assert excess[0] == pytest.approx(model.bits(prior.codes[best] ^ f, 8).mean() * model.flip_divergence(Q))
    assert length[0] > model.mixture(prior, f, z, Q)[0][0]


# ---- E2, E3, coins ----


@pytest.mark.parametrize(("k", "m"), [(1, 1), (1, 500), (2, 500)])
def test_gaussian_log_ratio_is_that_of_multivariate_normals(k, m):
    A, theta0 = conjugate.orthonormal_rows(rng(1), k, m), rng(2).normal(size=m)
    assert np.allclose(A @ A.T, np.eye(k))
    X, noise = rng(3).normal(size=(20, k)), rng(4).normal(size=20)
    y = X @ A @ theta0 + noise
    direct = stats.norm.logpdf(noise).sum() - stats.multivariate_normal(np.zeros(20), np.eye(20) + X @ A @ A.T @ X.T).logpdf(y)
    assert conjugate.gaussian_log_ratio(X.T @ X, X.T @ noise, A @ theta0, A @ A.T) == pytest.approx(direct, abs=1e-8)


def test_one_direction_costs_the_same_with_1_and_with_500_parameters():
    """The closed form against direct normal densities, whose expectation over y is a trace."""
    n, mu0 = 7, 0.8
    for m in (1, 500):
        a = conjugate.orthonormal_rows(rng(m), 1, m)
        theta0 = mu0 * a[0]
        mean, cov = np.full(n, (a @ theta0)[0]), np.eye(n) + np.ones((n, 1)) @ (a @ a.T) @ np.ones((1, n))
        divergence = 0.5 * (np.linalg.slogdet(cov)[1] - n + np.trace(np.linalg.inv(cov)) + mean @ np.linalg.solve(cov, mean))
        assert conjugate.direction_regret(n, mu0) == pytest.approx(divergence, abs=1e-8)


def test_regret_given_inputs_is_the_mean_over_noise():
    mu0, Sigma = np.array([0.5, -1.0]), np.array([[1.5, 0.3], [0.3, 0.8]])
    X = rng().normal(size=(30, 2))
    G = X.T @ X
    ratios = conjugate.gaussian_log_ratio(G, (X.T @ rng(1).normal(size=(30, 20_000))).T, mu0, Sigma)
    assert conjugate.gaussian_regret_given_inputs(G, mu0, Sigma) == pytest.approx(ratios.mean(), abs=5 * ratios.std() / 20_000**0.5)


def test_statistics_have_the_law_of_sums_over_examples():
    sizes, sequences = np.array([3, 8]), 20_000
    G, c = conjugate.draw_statistics(rng(), 2, sizes, sequences)
    X = rng(1).normal(size=(sequences, 8, 2))
    noise = rng(2).normal(size=(sequences, 8, 1))
    for i, n in enumerate(sizes):
        direct_G, direct_c = X[:, :n].swapaxes(1, 2) @ X[:, :n], (X[:, :n] * noise[:, :n]).sum(axis=1)
        for ours, direct in (
            (G[:, i].reshape(-1, 4), direct_G.reshape(-1, 4)),
            (np.linalg.slogdet(G[:, i])[1][:, None], np.linalg.slogdet(direct_G)[1][:, None]),
            (c[:, i] ** 2, direct_c**2),
            ((G[:, i] @ c[:, i, :, None])[..., 0] * c[:, i], (direct_G @ direct_c[..., None])[..., 0] * direct_c),
        ):
            error = np.sqrt((ours.var(axis=0) + direct.var(axis=0)) / sequences)
            assert (np.abs(ours.mean(axis=0) - direct.mean(axis=0)) <= 5 * error).all()


def test_regret_grows_by_half_the_effective_dimension_per_log_n_and_obeys_the_bound():
    for k in (1, 2, 5):
        mu0 = rng(k).normal(size=k)
        sizes = np.array([100, 10_000])
        R = [conjugate.gaussian_regret_given_inputs(n * np.eye(k), mu0, np.eye(k)) for n in sizes]  # G / n -> I
        assert np.diff(R)[0] / np.log(100) == pytest.approx(k / 2, rel=0.01)
        assert (conjugate.gaussian_bound(sizes, mu0) > R).all()
    assert conjugate.gaussian_bound(np.array([50]), np.array([0.3]))[0] == pytest.approx(
        min(50 * e - np.log(np.diff(stats.norm.cdf(0.3 + np.sqrt(2 * e) * np.array([-1, 1])))[0]) for e in np.geomspace(1e-4, 1, 4000)), abs=1e-3
    )


@pytest.mark.parametrize("mu0", [0.0, 1.0])
def test_singular_mixture_against_a_sum_over_a_plane(mu0):
    n, s = 20, 20 * mu0 + 2.5
    grid = np.linspace(-8, 8, 1601)
    a, b = np.meshgrid(grid, grid)
    log_term = a * b * s - 0.5 * n * (a * b) ** 2 - 0.5 * (a**2 + b**2) - np.log(2 * np.pi)
    plain = mu0 * s - 0.5 * n * mu0**2 - np.log(np.exp(log_term).sum() * (grid[1] - grid[0]) ** 2)
    assert conjugate.singular_log_ratio(n, np.array(s), mu0) == pytest.approx(plain, abs=1e-6)


def test_singular_regret_is_a_mean_over_data_and_meets_its_asymptotes():
    n = 50
    expected = integrate.quad(
        lambda xi: stats.norm.pdf(xi) * conjugate.singular_log_ratio(n, np.array(n * 0.7 + n**0.5 * xi), 0.7), -9, 9, limit=200, epsabs=1e-10
    )[0]
    assert conjugate.singular_regret(n, 0.7) == pytest.approx(expected, abs=1e-6)
    assert conjugate.singular_regret(1e6, 1.0) == pytest.approx(conjugate.regular_asymptote(1e6, 1.0), abs=1e-3)
    # at 0 the density of theta1 theta2 diverges like a logarithm: R = ln(n)/2 - ln(ln n + const) + const
    R = np.array([conjugate.singular_regret(n, 0.0) for n in (1e6, 1e8, 1e10)])
    rest = np.exp(0.5 * np.log([1e6, 1e8, 1e10]) - R)
    assert rest[2] - rest[1] == pytest.approx(rest[1] - rest[0], rel=1e-3)
    assert (rest[1] - rest[0]) / np.log(100) == pytest.approx(np.sqrt(np.e / (2 * np.pi)), rel=0.02)


def test_coins():
    """Closed form against the sum over heads; a grid against the continuum; a lonely truth costs the log of its inverse weight."""
    n, theta0 = 12, 0.3
    heads = np.arange(n + 1)
    Q_sequence = [integrate.quad(lambda t, h=h: t**h * (1 - t) ** (n - h), 0, 1)[0] for h in heads]
    plain = stats.binom(n, theta0).pmf(heads) @ (heads * np.log(theta0) + (n - heads) * np.log(1 - theta0) - np.log(Q_sequence))
    assert conjugate.coin_regret(n, theta0) == pytest.approx(plain)
    assert conjugate.coin_grid_regret(n, theta0, (np.arange(2000) + 0.5) / 2000) == pytest.approx(plain, abs=1e-5)
    assert conjugate.coin_grid_regret(1000, 0.5, np.array([0.1, 0.5, 0.9])) == pytest.approx(np.log(3))


# ---- E4 ----


def test_the_network_is_what_it_says_and_densities_sum_to_one():
    net = Model("network", 3, hidden=2)
    theta, x = rng().normal(size=net.parameters), rng(1).normal(size=(5, 3))
    W, b, v, c = theta[:6].reshape(3, 2), theta[6:8], theta[8:10], theta[10]
    assert net.output(theta, x) == pytest.approx(np.tanh(x @ W + b) @ v + c, abs=1e-5)
    a = np.linspace(-3, 3, 7)
    assert np.exp(net.log_density(a, 0.0)) + np.exp(net.log_density(a, 1.0)) == pytest.approx(np.ones(7), abs=1e-6)
    assert np.exp(net.log_density(a, 1.0)) == pytest.approx(1 / (1 + np.exp(-a)), abs=1e-6)
    y = np.linspace(-12, 12, 4001)
    assert np.trapezoid(np.exp(Model("linear", 1, noise_variance=2.0).log_density(0.7, y)), y) == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def diabetes():
    data = bundled.load("diabetes")
    x, y = (data.x - data.x.mean(axis=0)) / data.x.std(axis=0), (data.y - data.y.mean()) / data.y.std()
    return x[:100].astype(np.float32), y[:100].astype(np.float32)


def chains(model_, eps, batch, x, y, count, steps, draws):
    n_runs = (count, *x.shape)
    data = Data(np.broadcast_to(x, n_runs), np.broadcast_to(y, n_runs[:2]), jax.random.split(jax.random.key(0), count))
    start = rng().normal(size=(count, model_.parameters)).astype(np.float32)
    schedule = steps // 5 + (steps - steps // 5) // draws * np.arange(1, draws + 1)
    return np.asarray(train_many(langevin_step(model_, eps, batch), position, schedule, start, data)[1], float)


def test_langevin_chains_sample_the_exact_posterior_of_linear_regression(diabetes):
    x, y = diabetes
    linear, eps = Model("linear", 10, noise_variance=0.5), 1e-3
    posterior = linear_posterior(x.astype(float), y.astype(float), 0.5)
    draws = chains(linear, eps, 100, x, y, count=64, steps=10_000, draws=80)
    pooled, covariance = draws.reshape(-1, 10), np.linalg.inv(posterior.precision)
    assert np.linalg.norm(pooled.mean(axis=0) - posterior.mean) < 0.05 * np.linalg.norm(posterior.mean)
    assert np.linalg.norm(np.cov(pooled.T) - covariance) < 0.15 * np.linalg.norm(covariance)
    h, relative = diagnostics.direction_variances(draws, posterior.mean, posterior.precision)
    stiff = h > 50  # many independent draws: the step size's own bias can be seen
    assert stiff.sum() >= 3
    assert relative[stiff] == pytest.approx(step_size_variance(h, eps)[stiff], abs=0.07)
    gradient = (pooled - posterior.mean) @ posterior.precision
    temperature = diagnostics.virial_temperature(pooled, gradient, posterior.mean)
    assert temperature == pytest.approx(relative.mean())
    assert temperature == pytest.approx(step_size_variance(h, eps).mean(), abs=0.04)
    along = (draws - posterior.mean) @ np.linalg.eigh(posterior.precision)[1]
    r_hat, size = diagnostics.split_r_hat(along), diagnostics.effective_size(along)
    assert (r_hat[stiff] < 1.02).all() and r_hat[0] > 1.1  # eight thousand steps are short for the flattest direction, and the diagnostics see it
    assert (size[stiff] > 0.3 * len(pooled)).all() and size[0] < 0.1 * len(pooled)


def test_minibatch_gradients_are_unbiased_and_noise_has_the_stated_variance(diabetes):
    x, y = map(jnp.asarray, diabetes)
    linear, theta = Model("linear", 10, noise_variance=0.5), jnp.full(10, 0.2)
    keys = jax.random.split(jax.random.key(3), 2000)
    full = theta + 0.5e-3 * np.asarray(jax.jit(jax.grad(lambda t: log_posterior(linear, t, x, y)))(theta))
    posterior = linear_posterior(*(part.astype(float) for part in diabetes), 0.5)
    assert full == pytest.approx(np.asarray(theta) + 0.5e-3 * posterior.precision @ (posterior.mean - np.asarray(theta)), abs=1e-5)

    def after(batch, temperature):
        step = langevin_step(linear, 1e-3, batch, temperature)
        return np.asarray(jax.jit(jax.vmap(lambda key: step(theta, 0, Data(x, y, key))))(keys))

    in_parts, noisy = after(20, 0.0), after(100, 1.0)
    for moved in (in_parts, noisy):
        assert (np.abs(moved.mean(axis=0) - full) < 5 * moved.std(axis=0) / 2000**0.5).all()
    gradients = -(x @ theta - y)[:, None] * x / 0.5  # of one example's likelihood; a batch is drawn with replacement
    assert in_parts.var(axis=0) == pytest.approx(0.25e-6 * 100**2 / 20 * np.asarray(gradients).var(axis=0), rel=0.2)
    assert noisy.var(axis=0) == pytest.approx(np.full(10, 1e-3), rel=0.15)  # b = n: nothing but the injected noise
    still = jax.jit(langevin_step(linear, 1e-3, 100, 0.0, 0.0))(theta, 0, Data(x, y, keys[0]))
    assert np.asarray(still) == pytest.approx(np.asarray(theta + 0.5e-3 * x.T @ (y - x @ theta) / 0.5), abs=1e-5)


def test_exact_predictions_of_linear_regression_are_ratios_of_evidence(diabetes):
    x, y = (part[:12].astype(float) for part in diabetes)

    def log_evidence(n):
        return stats.multivariate_normal(np.zeros(n), 0.5 * np.eye(n) + x[:n] @ x[:n].T).logpdf(y[:n])

    posterior = linear_posterior(x[:11], y[:11], 0.5)
    assert posterior.log_density(x[11:], y[11:], 0.5)[0] == pytest.approx(log_evidence(12) - log_evidence(11))


def test_an_ensemble_loses_no_more_than_its_members_on_average():
    log_densities = -rng().exponential(size=(50, 30))
    assert mixture_log_loss(log_densities) == pytest.approx(-np.log(np.exp(log_densities).mean(axis=0)).mean())
    assert mixture_log_loss(log_densities) < -log_densities.mean()


def test_effective_size_and_r_hat_on_autoregressions():
    """x_t = a x_{t-1} + noise has N (1 - a) / (1 + a) effective draws."""
    noise = rng().normal(size=(4, 4000, 3))
    a = np.array([0.0, 0.5, 0.9])
    x = np.zeros_like(noise)
    for t in range(1, 4000):
        x[:, t] = a * x[:, t - 1] + noise[:, t]
    assert diagnostics.effective_size(x) == pytest.approx(16_000 * (1 - a) / (1 + a), rel=0.15)
    assert diagnostics.split_r_hat(x).max() < 1.02
    drift = x[..., 0:1] + np.linspace(0, 3, 4000)[:, None]  # all chains alike, but not stationary
    apart = x[..., 0:1] + np.arange(4)[:, None, None]
    assert diagnostics.split_r_hat(drift)[0] > 1.2 and diagnostics.split_r_hat(apart)[0] > 1.3
    halves = np.stack([half for chain in apart[..., 0] for half in (chain[:2000], chain[2000:])])
    between, within = 2000 * halves.mean(axis=1).var(ddof=1), halves.var(axis=1, ddof=1).mean()
    assert diagnostics.split_r_hat(apart)[0] == pytest.approx(np.sqrt((1999 / 2000 * within + between / 2000) / within))


def test_effective_size_of_short_chains_is_the_plain_sum():
    """Lag by lag, Geyer's rule written out, where the ends of the chains count."""
    x = rng().normal(size=(3, 21, 1)).cumsum(axis=1)
    within, pooled = (float(value[0]) for value in diagnostics.variances(x))
    c = (x - x.mean(axis=1, keepdims=True))[..., 0]
    rho = [1 - (within - (c[:, : 21 - t] * c[:, t:]).sum(axis=1).mean() / 20) / pooled for t in range(21)]
    time, last = -1.0, np.inf
    for t in range(0, 20, 2):
        if rho[t] + rho[t + 1] <= 0:
            break
        last = min(last, rho[t] + rho[t + 1])
        time += 2 * last
    assert diagnostics.effective_size(x)[0] == pytest.approx(63 / time)


def test_a_direction_that_the_prior_alone_holds_has_the_r_hat_that_was_found():
    """Curvature 1, hence a memory of 2 / eps steps: the exact autoregression of a network's weight, seen by four chains as long as those of the experiment."""
    config = Config()
    for longer, low, high in ((1, 1.10, 1.14), (4, 1.015, 1.035)):
        a = (1 - config.eps_network / 2) ** (longer * 0.75 * config.sgld_steps / config.draws)
        x = rng().normal(size=(config.draws, config.chains, 500))
        for t in range(1, config.draws):
            x[t] = a * x[t - 1] + (1 - a**2) ** 0.5 * x[t]
        assert low < np.median(diagnostics.split_r_hat(x.swapaxes(0, 1))) < high


def test_virial_temperature_of_a_law_that_is_not_gaussian():
    draws = rng().logistic(size=(100_000, 2))  # U = x + 2 ln(1 + exp(-x)), grad U = tanh(x / 2)
    assert diagnostics.virial_temperature(draws, np.tanh(draws / 2), np.array([0.3, -1.0])) == pytest.approx(1, abs=0.02)
    assert diagnostics.virial_temperature(1.3 * draws, np.tanh(0.65 * draws), np.zeros(2)) > 1.1


# ---- the runs ----

SMALL = Config(
    d=3, widths=(4,), drawn_width=4, samples=2000, n_max=40, points=8, sequences=5, drawn=5, tasks=("breast_cancer",), batches=(20,), train=20, chains=2,
    sgld_steps=400,
    descent_steps=100, draws=20, hidden=3, unlabelled=50, distill_steps=20,
)  # fmt: skip


def test_the_crossing_is_interpolated():
    sizes, curve = np.array([10, 20, 40]), np.array([0.5, 0.03, 0.01])
    assert first_below(sizes, curve, 0.02) == pytest.approx(30)
    assert first_below(sizes, curve, 0.001) == 40


def test_runs_give_rows():
    boolean = run(SMALL, {"experiment": "boolean", "law": "gaussian", "H": 4}, (0, 1), "cpu")
    assert (boolean[0]["regret"] != boolean[1]["regret"]).any()
    assert boolean[0]["regret"].shape == (6, len(boolean[0]["sizes"]))
    assert (boolean[0]["two_part_regret"] >= boolean[0]["regret"][:, ::4] - 1e-4).all()
    (langevin,) = run(SMALL, {"experiment": "langevin", "task": "breast_cancer", "batch": 20}, (0,), "cpu")
    assert langevin["loss_ensemble"] < langevin["loss_single"]
    assert all(np.isfinite(value).all() for value in langevin.values())


def trials(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([{"seed": 0} | row for row in rows])


def test_claims_measure_what_they_say():
    """Each claim's function on rows made by hand."""
    network = {"experiment": "boolean", "law": "gaussian", "sizes": np.array([1, 200, 400]), "weight": np.array([0.1, 0.01, 0.001, 1e-5])}
    regrets = {4: np.array([2.0, 4.0, 5.0, 9.0]), 64: np.array([3.0, 4.0, 5.0, 9.0])}
    boolean = trials(
        *(
            network
            | {"H": H, "regret": np.outer(R, [0.1, 1, 1]), "regret_error": np.full((4, 3), 0.1), "bound": np.outer(R, [0.1, 1, 1]) + 0.05 * H}
            | ({"target_log_weight": -np.arange(5.0), "target_needs": np.array([1.0, 2, 3, 5, 4])} if H == 64 else {})
            for H, R in regrets.items()
        )
    )
    assert claims.worst_against_bound(boolean)[0] == pytest.approx(-0.2 - 0.3)
    ratios = [np.mean(R[:3] / np.log([10, 100, 1000])) for R in regrets.values()]  # the fourth is too rare
    assert claims.final_regret_over_log_weight(boolean)[0] == pytest.approx(np.mean(ratios))
    assert claims.wide_over_narrow(boolean)[0] == pytest.approx((1.5 + 1 + 1) / 3)
    assert claims.rank_correlation(boolean)[0] == pytest.approx(0.9)
    exact = trials({"experiment": "exact", "exact": np.array([[1.0, 2.0]]), "bound": np.array([[3.0, 2.5]])})
    assert claims.worst_against_bound_exactly(exact)[0] == pytest.approx(-0.5)
    sizes = np.array([10, 100, 1000, 10_000])
    gaussian = trials({"experiment": "gaussian", "k": 2, "m": 1000, "sizes": sizes, "regret": 1.05 * np.log(sizes) - (sizes == 10)})
    assert claims.growth_over_half_k(gaussian)[0] == pytest.approx(1.05)
    sizes = np.array([10, 100, 10_000, 1_000_000])
    product = trials(
        *({"experiment": "singular", "mu0": mu0, "sizes": sizes, "exact": (0.4 + 0.1 * mu0) * np.log(sizes) - (sizes == 10)} for mu0 in (0.0, 1.0))
    )
    assert claims.singular_over_regular(product)[0] == pytest.approx(0.8)
    coins = trials(
        *({"experiment": "coins", "K": K, "sizes": np.array([10, 1000]), "exact": np.array([0.0, price])} for K, price in ((101, 2.0), (10_001, 2.5)))
    )
    assert claims.price_of_more_hypotheses(coins)[0] == pytest.approx(0.5 / np.log(10_001 / 101))
    losses = {"loss_single": 0.5, "loss_mle": 0.4, "loss_ensemble": 0.3, "loss_exact": 0.35, "temperature": 1.05}
    chains_ = [
        {"experiment": "langevin", "task": task, "batch": batch, "r_hat_predictions": np.array([1.0, r_hat])}
        | {name: value + 0.01 * (task == "diabetes") * (name == "loss_exact") + (batch == 20) for name, value in losses.items()}
        for task, batch, r_hat in (("diabetes", 100, 1.1), ("diabetes", 20, 3.0), ("breast_cancer", 100, 1.3), ("breast_cancer", 20, 2.0))
    ]
    sampled = trials(*chains_)
    assert claims.ensemble_advantage(sampled)[0] == pytest.approx(0.1)
    assert claims.temperature(sampled)[0] == pytest.approx(1.05)
    assert claims.distance_to_exact_loss(sampled)[0] == pytest.approx(0.06)
    assert claims.largest_r_hat(sampled)[0] == pytest.approx(1.3)


def test_splits_keep_test_examples_apart_and_scale_by_the_training_part():
    for task, (_, load) in TASKS.items():
        if task != "mnist":
            split = load(SMALL, task, rng())
            assert len(split.x) == 20 and len(split.x_test) > 200
            assert not (split.x_test[:, None, :] == split.x[None]).all(axis=2).any()
            assert split.x.mean(axis=0)[:-1] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("change", [{"q": 0.5}, {"samples": 1500}, {"d": 6}, {"drawn_width": 5}, {"tasks": ("iris",)}, {"draws": 7}, {"n_max": 41}])
def test_impossible_settings_are_refused_by_name(change):
    with pytest.raises(RequestError, match=next(iter(change))):
        conditions(dataclasses.replace(SMALL, **change))
