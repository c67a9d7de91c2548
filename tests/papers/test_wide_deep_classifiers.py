"""Activations and their exponents, deep kernels against random networks and at close pairs, the rules that they tend to, the data, and a run end to end."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from papers.wide_deep_classifiers import claims, model
from papers.wide_deep_classifiers.model import ACTIVATIONS, DeepKernel, RandomNetwork
from papers.wide_deep_classifiers.replicate import Config, conditions, draw, fit_exponent, real_images, run
from shared.engine import NotRun
from shared.engine.errors import RequestError
from shared.kernels import Cosines, cosines, dual_by_quadrature, nngp, ntk, polynomial_dual

RNG = np.random.default_rng(5)


def tensors(*arrays):
    return tuple(torch.from_numpy(np.asarray(a)) for a in arrays)


def distances(X, Y):
    return model.half_squared_distances(*tensors(X, Y))


@pytest.fixture(scope="module")
def data():
    """120 training and 80 test points of S^1, with t of both."""
    x, y = model.draw_points(200, 1, np.random.default_rng(3))
    return x[:120], torch.from_numpy(y[:120]), x[120:], distances(x[:120], x[:120]), distances(x[120:], x[:120])


# ---- activations ----


@pytest.mark.parametrize("d", [1, 2, 3, 4, 8])
def test_the_papers_activations_have_the_stated_duals_and_alpha_is_the_dimension(d):
    def phi(z):
        he2, he3 = (z**2 - 1) / math.sqrt(2), (z**3 - 3 * z) / math.sqrt(6)
        if d == 1:
            he7 = (z**7 - 21 * z**5 + 105 * z**3 - 105 * z) / math.sqrt(5040)
            return (he7 + z) / math.sqrt(2)
        return 2 ** (-d / 4) * (he3 + z) + math.sqrt(1 - 2 ** (1 - d / 2)) * he2

    dual, z = model.consistent_dual(d), np.linspace(-3, 3, 7)
    assert dual.activation(z) == pytest.approx(phi(z), abs=1e-12)
    for rho in (-0.8, 0.0, 0.4, 0.99):
        assert dual.value(np.array(rho)) == pytest.approx(dual_by_quadrature(phi, rho), abs=1e-10)
    assert model.ends(dual) == pytest.approx((0, 2 ** (-d / 2) if d > 1 else 0.5, 4 if d == 1 else 2))
    assert model.alpha(dual) == pytest.approx(d)


@pytest.mark.parametrize(("name", "squares"), [("5d_opt", (0, 1 / 4, 1 / 2, 1 / 4)), ("9d_opt", (0, 1 / 16, 7 / 8, 1 / 16))])
def test_duals_are_those_of_the_official_code(name, squares):
    rho = np.linspace(-1, 1, 9)
    assert ACTIVATIONS[name].value(rho) == pytest.approx(sum(c * rho**k for k, c in enumerate(squares)))


@pytest.mark.parametrize(("name", "exponent"), [("sine_1", 1.19), ("sine_2.676", 2.0), ("sine_6.1", 4.0), ("sine_13.8", 8.0), ("erf", 0.89)])
def test_named_activations_have_the_known_exponents(name, exponent):
    assert model.alpha(ACTIVATIONS[name]) == pytest.approx(exponent, abs=5e-3)


def test_taxonomy():
    rules = {name: model.limit_rule(dual) for name, dual in ACTIVATIONS.items()}
    assert {name for name, rule in rules.items() if rule == "majority"} == {"fast_majority", "relu"}
    assert {name for name, rule in rules.items() if rule == "nearest"} == {"hermite_2"}
    assert model.limit_rule(polynomial_dual((0.5, 0.5))) == "majority"
    with pytest.raises(ValueError, match="linear"):
        model.limit_rule(polynomial_dual((0, 1), "line"))


# ---- deep kernels ----


@pytest.mark.parametrize("name", ["2d_opt", "3d_opt", "9d_opt"])
def test_the_fitted_exponent_is_alpha_and_that_of_a_shallow_ntk_is_two_more(name):
    row = fit_exponent(Config(), name)
    assert row["exponent_nngp"] == pytest.approx(row["alpha"], rel=5e-5)
    assert row["exponent_ntk_limit"] == pytest.approx(row["alpha"], rel=0.02)
    assert row["exponent_ntk"] == pytest.approx(row["alpha"] + 2, abs=0.1)


def test_a_pair_a_billionth_apart_has_the_kernel_of_exact_arithmetic():
    """1 - t is 1 in float64, and a recursion on rho would never leave it."""
    t = Fraction(1, 10**18)
    for _ in range(64):
        rho = 1 - t
        t = 1 - ((rho**3 + rho) / 2).limit_denominator(10**60)
    assert 1 - 1e-18 == 1.0
    K = DeepKernel(ACTIVATIONS["3d_opt"], 64)(torch.tensor([[1e-18]], dtype=torch.float64)).item()
    assert float(1 - t) == pytest.approx(K, rel=1e-6) and K < 0.1


@pytest.mark.parametrize(("name", "depth", "kind"), [("2d_opt", 100, "nngp"), ("9d_opt", 100, "nngp"), ("sine_13.8", 50, "nngp"), ("erf", 200, "nngp"),
                                                      ("fast_majority", 100, "nngp"), ("relu", 300, "ntk")])  # fmt: skip
def test_the_spline_is_the_recursion(name, depth, kind):
    t = np.concatenate([np.geomspace(1e-31, 0.9, 501), 1 - np.geomspace(1e-9, 0.5, 50)])
    s = Cosines(1 - t, t)
    exact = nngp(s, ACTIVATIONS[name], depth).rho if kind == "nngp" else ntk(s, ACTIVATIONS[name], depth)
    ours = DeepKernel(ACTIVATIONS[name], depth, kind, 1024 if name == "relu" else 32_768)(torch.from_numpy(t[None]))[0].numpy()
    assert ours == pytest.approx(exact, rel=1e-6, abs=0)


def test_the_tangent_kernel_of_a_deep_relu_network_nears_a_quarter_of_its_diagonal():
    t = np.array([0.1, 0.5, 1.0, 0.0])
    K = ntk(Cosines(1 - t, t), ACTIVATIONS["relu"], 10_000)  # spec: correlations 0.9, 0.5 and 0
    assert np.abs(K / 10_001 - [0.2507, 0.2505, 0.2504, 1]).max() < 1e-4


def test_the_tangent_kernel_of_relu_is_that_of_forty_digits():
    mpmath = pytest.importorskip("mpmath")
    angle = np.array([1e-9, 1e-4, 1e-2, 1.2])
    t = 2 * np.sin(angle / 2) ** 2
    ours = ntk(Cosines(1 - t, t), ACTIVATIONS["relu"], 300)
    with mpmath.workdps(40):
        for a, K in zip(angle, ours, strict=True):
            S = exact = mpmath.cos(mpmath.mpf(float(a)))
            for _ in range(300):
                theta = mpmath.acos(S)
                S = (mpmath.sin(theta) + (mpmath.pi - theta) * S) / mpmath.pi
                exact = S + exact * (1 - theta / mpmath.pi)
            assert pytest.approx(float(exact), rel=1e-12) == K


def test_the_tangent_kernel_of_deep_relu_networks_is_its_closed_form():
    t = 2 * np.sin(np.array([1e-6, 1e-4, 3e-4, 1e-3, 1e-2, 0.05]) / 2) ** 2
    K = ntk(Cosines(1 - t, t), ACTIVATIONS["relu"], 5000) / 5001
    assert K.max() > 0.99 and K.min() < 0.26
    assert model.relu_ntk_limit(torch.from_numpy(t), 5000).numpy() == pytest.approx(K, rel=1e-3)


def test_a_table_for_non_negative_inner_products_refuses_others():
    with pytest.raises(ValueError, match=r"-0\.5"):
        DeepKernel(ACTIVATIONS["3d_opt"], 3, knots=1000)(torch.tensor([[0.5, 1.5]], dtype=torch.float64))


@pytest.mark.parametrize("depth", [200, 1000])
def test_the_ntk_beyond_the_recursion_is_the_recursion_continued(depth):
    t = np.array([1e-8, 1e-4, 0.3, 0.9])
    s = Cosines(1 - t, t)
    plain = ntk(s, ACTIVATIONS["3d_opt"], depth) * 2.0**depth / (depth + 1)
    assert model.deep_ntk(s, ACTIVATIONS["3d_opt"], depth) == pytest.approx(plain, rel=1e-10)
    assert model.deep_ntk(s, ACTIVATIONS["3d_opt"], 40) == pytest.approx(ntk(s, ACTIVATIONS["3d_opt"], 40) * 2.0**40 / 41, rel=1e-12)


def test_a_kernel_too_deep_for_float64_is_refused():
    with pytest.raises(ValueError, match="underflows"):
        DeepKernel(ACTIVATIONS["9d_opt"], 300)


def test_relu_ntk_of_one_layer_is_the_jacobian_gram_matrix_of_a_wide_network():
    x = RNG.random((4, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    W, v = RNG.standard_normal((20_000, 3)), RNG.standard_normal(20_000)
    z = x @ W.T
    last = math.sqrt(2) * np.maximum(z, 0) / math.sqrt(20_000)
    back = math.sqrt(2) * (z > 0) * v / math.sqrt(20_000)
    t = distances(x, x).numpy()
    arc = t * 0 + np.arccos(np.clip(1 - t, -1, 1))
    formula = (np.sin(arc) + 2 * (np.pi - arc) * np.cos(arc)) / np.pi
    ours = ntk(Cosines(1 - t, t), ACTIVATIONS["relu"], 1)
    assert ours == pytest.approx(formula, abs=1e-7)
    assert last @ last.T + (x @ x.T) * (back @ back.T) == pytest.approx(ours, rel=0.03)


@pytest.mark.parametrize(("name", "depth", "draws"), [("erf", 3, 100), ("3d_opt", 1, 2000)])
def test_random_networks_have_the_nngp_within_their_interval(name, depth, draws):
    x = np.array([[1, 0], [0.6, 0.8], [0.8, -0.6]])
    limit = nngp(Cosines(x @ x.T, 1 - x @ x.T), ACTIVATIONS[name], depth).rho[np.triu_indices(3, 1)]
    drawn = np.array([RandomNetwork(ACTIVATIONS[name], 200, depth).nngp(x, RNG)[np.triu_indices(3, 1)] for _ in range(draws)])
    error = drawn.std(axis=0, ddof=1) / math.sqrt(draws)
    assert (abs(drawn.mean(axis=0) - limit) < 4 * error + 0.005).all() and (error < 0.03).all()  # 0.005: bias of order 1 / width


# ---- classifiers ----


@pytest.mark.parametrize("name", ["2d_opt", "3d_opt", "5d_opt", "9d_opt", "erf", "fast_majority"])
def test_an_interpolating_kernel_answers_its_training_points(name, data):
    _, y, _, t_train, _ = data
    K = DeepKernel(ACTIVATIONS[name], 100).train(t_train)
    assert model.interpolate(K, y, K).numpy() == pytest.approx(y.numpy(), abs=1e-6)


def test_interpolation_is_linear_algebra_for_one_and_for_many_columns(data):
    _, y, _, t_train, t_test = data
    kernel = DeepKernel(ACTIVATIONS["erf"], 5)
    K, K_test = kernel.train(t_train) + 0.1 * torch.eye(120), kernel(t_test)
    plain = K_test.numpy() @ np.linalg.inv(K.numpy()) @ y.numpy()
    assert model.interpolate(K, y, K_test).numpy() == pytest.approx(plain, abs=1e-8)
    assert model.interpolate(K, torch.stack([y, 2 * y], 1), K_test)[:, 1].numpy() == pytest.approx(2 * plain, abs=1e-8)


def test_deep_power_networks_are_nearest_neighbour_where_the_plain_kernel_is_a_constant(data):
    x, y, x_test, t_train, t_test = data
    underflown = (nngp(Cosines(1 - t_test, t_test), ACTIVATIONS["hermite_2"], 40).rho == 0).all(dim=1)
    assert underflown.double().mean() > 0.9
    score = model.interpolate_power(t_train, y, t_test, 2, 40).numpy()
    assert ((score > 0) == (y.numpy()[t_test.argmin(1)] > 0)).all()
    assert (model.nearest(x, y.numpy(), x_test) == y.numpy()[t_test.argmin(1)]).all()


def test_a_shallow_power_network_solved_in_logarithms_is_the_plain_one(data):
    _, y, _, t_train, t_test = data
    train, test = (nngp(Cosines(1 - t, t), ACTIVATIONS["hermite_2"], 22).rho for t in (t_train, t_test))
    seen = test.amax(1) > 1e-200
    plain = model.interpolate(train, y, test)[seen]
    assert ((model.interpolate_power(t_train, y, t_test, 2, 22)[seen] > 0) == (plain > 0)).all() and seen.sum() > 40


def test_hilbert_estimate_is_its_definition(data):
    x, y, x_test, _, t_test = data
    plain = [sum(label / np.linalg.norm(point - other) ** 1.5 for label, other in zip(y.numpy(), x, strict=True)) for point in x_test]
    assert model.hilbert(t_test, y, 1.5).numpy() == pytest.approx(plain, rel=1e-9)


def test_the_matched_network_is_the_hilbert_estimate_and_the_mismatched_is_not(data):
    _, y, _, _, t_test = data
    hilbert = model.hilbert(t_test, y, 1) > 0
    agree = {name: ((DeepKernel(ACTIVATIONS[name], 100)(t_test) @ y > 0) == hilbert).double().mean().item() for name in ("2d_opt", "9d_opt")}
    assert agree["2d_opt"] > 0.95 > agree["9d_opt"]


@pytest.mark.parametrize("name", ["3d_opt", "fast_majority"])
def test_labels_flip_predictions_and_rotations_change_nothing(name, data):
    x, y, x_test, t_train, t_test = data
    kernel = DeepKernel(ACTIVATIONS[name], 100)
    score = model.interpolate(kernel.train(t_train), y, kernel(t_test))
    assert torch.equal(model.interpolate(kernel.train(t_train), -y, kernel(t_test)), -score)
    Q, _ = np.linalg.qr(RNG.standard_normal((2, 2)))
    turned = model.interpolate(kernel.train(distances(x @ Q, x @ Q)), y, kernel(distances(x_test @ Q, x @ Q)))
    assert torch.equal(turned > 0, score > 0)


# ---- data and limits ----


def test_bayes_classifier_on_the_circle_is_right_on_76_percent():
    def density(p, parameters):
        return stats.beta(*parameters).pdf(p)

    first, second = model.DIRICHLET[1]
    best = integrate.quad(lambda p: max(0.4 * density(p, first), 0.6 * density(p, second)), 0, 1, points=[0.4])[0]
    assert best == pytest.approx(0.76)
    x, y = model.draw_points(40_000, 1, RNG)
    eta = model.posterior(x, 1)
    assert ((eta > 0.5) == (y > 0)).mean() == pytest.approx(best, abs=0.008)
    assert model.expected_accuracy(eta - 0.5, eta) == pytest.approx(best, abs=0.004)


@pytest.mark.parametrize("d", sorted(model.DIRICHLET))
def test_posterior_is_the_ratio_of_densities_and_is_calibrated(d):
    x, y = model.draw_points(20_000, d, RNG)
    assert np.linalg.norm(x, axis=1) == pytest.approx(np.ones(20_000))
    eta, p = model.posterior(x, d), x / x.sum(1, keepdims=True)
    one, other = (stats.dirichlet(c) for c in model.DIRICHLET[d])
    inner = np.flatnonzero(p.min(axis=1) > 1e-4)[:50]
    plain = [0.4 * one.pdf(q) / (0.4 * one.pdf(q) + 0.6 * other.pdf(q)) for q in p[inner] / p[inner].sum(1, keepdims=True)]
    assert eta[inner] == pytest.approx(plain, rel=1e-6)
    for low in (0.1, 0.4, 0.7):
        bin_ = (eta >= low) & (eta < low + 0.2)
        if bin_.sum() > 500:
            assert (y[bin_] > 0).mean() == pytest.approx(eta[bin_].mean(), abs=4 * 0.5 / math.sqrt(bin_.sum()))


@pytest.mark.parametrize("ratio", [2.0, 8.0])
def test_the_vote_of_infinitely_many_is_the_hilbert_type_estimate_of_many(ratio):
    """20,000 uniform points on a circle with labels of one posterior everywhere: no bias, so that only the law of the vote is seen."""
    eta, n = 0.7, 20_000
    right = []
    for _ in range(8):
        place, label = RNG.random(n), np.where(RNG.random(n) < eta, 1.0, -1.0)
        gap = abs(RNG.random(100)[:, None] - place)
        right.append((np.minimum(gap, 1 - gap) ** -ratio @ label > 0).mean())
    share = model.accuracy_with_infinitely_many(np.full(5000, eta), ratio, RNG)
    assert (share - (1 - eta)) / (2 * eta - 1) == pytest.approx(np.mean(right), abs=0.06)
    assert share < eta


def test_a_vote_of_the_nearest_alone_is_the_nearest_neighbour():
    """alpha -> infinity: Cover and Hart's asymptotic error of 1-NN, E[2 eta (1 - eta)]."""
    eta = RNG.random(40_000)
    assert model.accuracy_with_infinitely_many(eta, 400.0, RNG, neighbours=20) == pytest.approx(1 - (2 * eta * (1 - eta)).mean(), abs=0.01)


def test_far_neighbours_count_by_their_mean():
    """Near the threshold, alpha / d = 1.3, the sum beyond twenty neighbours weighs as much as the nearest."""
    few, many = (model.accuracy_with_infinitely_many(np.full(8000, 0.6), 1.3, np.random.default_rng(1), neighbours=k) for k in (20, 1500))
    assert few == pytest.approx(many, abs=0.006)


# ---- end to end ----

SMALL = Config(sizes=(20, 40), test=30, activations=("2d_opt", "hermite_2"), knots=1000, relu_points=11, relu_depths=(50, 100), relu_test=60, sweep_points=30,
               sweep_depths=(8, 10, 60), finite_widths=(16, 32), finite_draws=2, real_points=100, real_activations=("3d_opt",))  # fmt: skip


def only(config=SMALL, **condition):
    return run(config, condition, (1000,), "cpu")[0]


def plain_scores(name, depth, x, y, x_test, kind="nngp"):
    """Recursion over plain arrays, and numpy's solver."""

    def kernel(a, b):
        t = ((a[:, None] - b[None]) ** 2).sum(-1) / 2
        s = Cosines(1 - t, t)
        return nngp(s, ACTIVATIONS[name], depth).rho if kind == "nngp" else ntk(s, ACTIVATIONS[name], depth)

    return kernel(x_test, x) @ np.linalg.solve(kernel(x, x), y)


def test_accuracies_on_the_circle_are_those_of_a_plain_program():
    x, y, x_test, y_test = draw(200, 400, 1, 1000)
    config = replace(SMALL, sizes=(50, 200), test=400, knots=8000)
    eta, away = model.posterior(x_test, 1), np.linalg.norm(x_test[:, None] - x[None], axis=-1)
    rows = {name: only(config, experiment="sphere", d=1, activation=name) for name in ("baselines", "2d_opt", "hermite_2")}
    for place, n in enumerate((50, 200)):
        votes = {
            "nearest": y[away[:, :n].argmin(1)],
            "majority": np.full(400, y[:n].sum()),
            "hilbert": (y[:n] / away[:, :n]).sum(1),
            "2d_opt": plain_scores("2d_opt", 100, x[:n], y[:n], x_test),
        }
        right = {rule: np.sign(vote) == y_test for rule, vote in votes.items()}
        hope = {rule: np.where(vote > 0, eta, 1 - eta).mean() for rule, vote in votes.items()}
        for rule in ("nearest", "majority", "hilbert"):
            assert rows["baselines"][f"accuracy_{rule}"][place] == pytest.approx(right[rule].mean())
            assert rows["baselines"][f"expected_{rule}"][place] == pytest.approx(hope[rule])
            assert rows["2d_opt"][f"as_{rule}"][place] == pytest.approx((np.sign(votes[rule]) == np.sign(votes["2d_opt"])).mean())
        assert rows["2d_opt"]["accuracy"][place] == pytest.approx(right["2d_opt"].mean())
        assert rows["2d_opt"]["expected"][place] == pytest.approx(hope["2d_opt"])
        assert rows["hermite_2"]["accuracy"][place] == pytest.approx(right["nearest"].mean()) and rows["hermite_2"]["as_nearest"][place] == 1
    assert rows["baselines"]["accuracy_bayes"] == pytest.approx(((eta > 0.5) == (y_test > 0)).mean())


def test_depth_sweep_and_relu_rows_are_those_of_a_plain_program():
    row, (x, y, x_test, y_test) = only(experiment="sweep"), draw(30, 30, 1, 1000)
    for place, depth in enumerate((8, 10, 60)):
        score = plain_scores("2d_opt", depth, x, y, x_test)
        assert row["mse"][place] == pytest.approx(((score - y_test) ** 2).mean(), rel=1e-4)
        assert row["accuracy"][place] == pytest.approx((np.sign(score) == y_test).mean())
        assert row["expected"][place] == pytest.approx(model.expected_accuracy(score, model.posterior(x_test, 1)))
    assert row["accuracy_majority"] == pytest.approx((np.sign(y.sum()) == y_test).mean()) and row["mean_square"] == 1
    row = only(experiment="relu", layers=100)
    for place, d in (("", 1), ("_far", 8)):
        x, y, x_test, _ = draw(11, 60, d, 1000)
        alike = np.sign(plain_scores("relu", 100, x, y, x_test, "ntk")) == np.sign(y.sum())
        assert row[f"as_majority{place}"] == pytest.approx(alike.mean())
    assert 0.5 < row["as_majority"] < row["as_majority_far"] and row["as_closed_form"] > 0.7


def test_images_are_unit_vectors_of_two_disjoint_sets_and_classed_by_the_largest_score():
    x, y, x_test, y_test = real_images(SMALL, 1000)
    assert np.linalg.norm(np.concatenate([x, x_test]), axis=1) == pytest.approx(np.ones(200))
    assert np.linalg.norm(x[:, None] - x_test[None], axis=-1).min() > 0.01
    score = plain_scores("3d_opt", 100, x, np.eye(10)[y], x_test)
    assert only(experiment="real", activation="3d_opt")["accuracy"] == pytest.approx((score.argmax(1) == y_test).mean())


def test_seeds_draw_different_points_and_labels():
    first, again, other = (draw(20, 10, 2, seed) for seed in (1000, 1000, 1001))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert abs(first[0] - other[0]).mean() > 0.1 and not (first[1] == other[1]).all()


def test_finite_networks_are_held_against_the_kernel_of_their_depth(monkeypatch):
    monkeypatch.setattr(RandomNetwork, "nngp", lambda network, x, rng: nngp(cosines(x, x), network.dual, network.depth).rho + network.width)
    assert only(experiment="finite")["error"] == pytest.approx([16, 32])


def test_infinitely_many_examples_depend_on_the_exponent():
    config = replace(SMALL, test=4000)
    two, eight = (run(config, {"experiment": "limit", "ratio": ratio}, (1000,), "cpu")[0] for ratio in (2.0, 8.0))
    assert eight["expected"] + 0.005 < two["expected"] < two["expected_bayes"] - 0.03


def test_claims_read_the_metric_size_and_condition_that_they_name():
    def sphere(d, activation, **columns):
        return {"experiment": "sphere", "d": d, "activation": activation, "sizes": np.array([500, 1000, 2000])} | columns

    def curve(at_1000, at_2000=0.0):
        return np.array([0.0, at_1000, at_2000])

    rows = [
        sphere(1, "baselines", accuracy_nearest=curve(0.1, 0.6)),
        sphere(1, "2d_opt", as_hilbert=curve(0.98), accuracy=curve(0.2, 0.7)),
        sphere(2, "3d_opt", as_hilbert=curve(0.96)),
        *(sphere(1, name, expected=curve(0, value), as_hilbert=curve(0)) for name, value in (("3d_opt", 0.69), ("5d_opt", 0.7), ("9d_opt", 0.71))),
        *(sphere(d, "hermite_2", as_nearest=curve(share)) for d, share in ((1, 0.9), (2, 1.0))),
        *(sphere(d, "fast_majority", as_majority=curve(share)) for d, share in ((1, 0.8), (2, 1.0))),
        *({"experiment": "limit", "ratio": ratio, "expected": value, "expected_bayes": 0.76} for ratio, value in ((2.0, 0.7), (4.0, 0.7), (8.0, 0.68))),
        *(
            {"experiment": "relu", "layers": L, "as_majority": 1 - 1000 / L, "as_majority_far": 0.3, "as_closed_form": 0.4, "vote_far": 2}
            for L in (20_000, 50_000, 200_000)
        ),
        {
            "experiment": "sweep",
            "depths": np.array([2, 60]),
            "mse": np.array([0, 3.9]),
            "accuracy": np.array([0, 0.7]),
            "mean_square": 4,
            "accuracy_majority": 0.6,
        },
        {"experiment": "finite", "widths": np.array([10, 100, 1000]), "error": np.array([0.1, 0.1**1.5, 0.01])},
        *({"experiment": "exponent", "alpha": a, "exponent_nngp": a, "exponent_ntk": a + 3, "exponent_ntk_limit": 2 * a} for a in (1, 2)),
    ]
    trials = pd.DataFrame(rows).assign(seed=0)
    said = {
        claims.matched_agreement: 0.97,
        claims.nearest_agreement: 0.95,
        claims.majority_agreement: 0.9,
        claims.gain_over_nearest: 0.1,
        claims.collapse_and_gain: 0.025,
        claims.relu_at_depth_of_profile: 0.95,
        claims.relu_at_50000: 0.98,
        claims.relu_at_200000: 0.995,
        claims.relu_on_far_sphere: 0.3,
        claims.relu_closed_form: 0.4,
        claims.relu_slope: -1,
        claims.bayes_minus_limit: 0.06,
        claims.network_minus_limit: 0.02 / 3,
        claims.width_slope: -0.5,
    }
    for judge, value in said.items():
        assert judge(trials).to_dict() == pytest.approx({0: value}), judge.__name__
    assert list(claims.exponent_ratio(trials)) == [1, 1] and list(claims.ntk_exponent_ratio(trials)) == [2, 2]
    assert list(claims.shallow_ntk_excess(trials)) == [3, 3]
    with pytest.raises(NotRun):
        claims.matched_agreement(trials[trials.d != 2])


def test_every_condition_gives_a_row_for_each_seed():
    for condition in conditions(SMALL):
        first, second = run(SMALL, condition, (1000, 1001), "cpu")
        assert first.keys() == second.keys()
        assert all(np.isfinite(np.asarray(value)).all() for value in first.values()), condition


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spheres": (3,)}, "d = 3"),
        ({"relu_far_sphere": 5}, "d = 5"),
        ({"activations": ("tanh",)}, "tanh"),
        ({"exponents": ("relu",)}, "not a singular"),
        ({"test": 0}, "test: 1"),
        ({"sizes": (50, 20)}, "sizes: rising"),
        ({"real": "svhn"}, "svhn"),
    ],
)
def test_a_bad_setting_is_named(change, message):
    with pytest.raises(RequestError, match=message):
        conditions(Config(**change))
