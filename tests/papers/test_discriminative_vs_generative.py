"""The mathematics of naive Bayes against logistic regression, and one run from end to end."""

from __future__ import annotations

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.naive_bayes import GaussianNB
from torch import nn

from papers.discriminative_vs_generative import encoders, replicate
from papers.discriminative_vs_generative.claims import (
    convergence_advantage,
    few_shot_advantage,
    few_shot_advantage_at_the_papers_C,
    labels_to_converge,
    large_sample_advantage,
    logistic_regression_slope,
    multiclass_gap,
    naive_bayes_slope,
)
from papers.discriminative_vs_generative.model import (
    GaussianMixture,
    Labelled,
    assumption_statistics,
    class_statistics,
    compare_at,
    draw_subset,
    error_curves,
    error_rate,
    gaussian_rule,
    logistic_path,
    logistic_regression,
    merge,
    naive_bayes,
    sample_complexity,
    scaled,
)
from papers.discriminative_vs_generative.replicate import Config, compare, conditions, features_made_here, run
from shared.data import bundled
from shared.engine import NotRun
from shared.seeds import numpy_rng


def blobs(seed=0, m=300, n=6, K=3, spread=0.7):
    """Gaussian classes whose variances differ between features and between classes, in unequal shares."""
    rng = np.random.default_rng(seed)
    y = rng.choice(K, m, p=np.arange(1, K + 1) / np.arange(1, K + 1).sum())
    X = spread * rng.normal(size=(K, n))[y] + rng.normal(size=(m, n)) * rng.uniform(0.3, 3, size=(K, n))[y]
    return X, y


def quadratic_rule(X, y, K, queries, epsilon):
    """The paper's rule as it stands: argmax_k [ log pi_k - 1/2 sum_j (x_j - mu_kj)^2 / v_j ], by loops."""
    v = np.zeros(X.shape[1])
    for k in range(K):
        v += np.mean(y == k) * (np.var(X[y == k], axis=0) + epsilon)
    scores = np.empty((len(queries), K))
    for i, x in enumerate(queries):
        for k in range(K):
            scores[i, k] = math.log(np.mean(y == k)) - 0.5 * sum((x[j] - X[y == k, j].mean()) ** 2 / v[j] for j in range(X.shape[1]))
    return scores


# --- Naive Bayes --------------------------------------------------------------------------------------------------------------------------------------


def test_naive_bayes_is_the_papers_rule_up_to_a_term_common_to_all_classes():
    X, y = blobs()
    queries = blobs(1, m=50)[0]
    rule = naive_bayes(X, y, 3, epsilon=0.3)
    ours, slow = rule.scores(queries), quadratic_rule(X, y, 3, queries, epsilon=0.3)
    np.testing.assert_allclose(ours - ours[:, :1], slow - slow[:, :1], atol=1e-10)
    assert (rule.predict(queries) == slow.argmax(axis=1)).all()


def test_with_two_classes_of_equal_size_it_is_one_hyperplane():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    X = rng.normal(size=(80, 4)) + y[:, None]
    mu0, mu1 = X[:40].mean(axis=0), X[40:].mean(axis=0)
    v = (X[:40].var(axis=0) + X[40:].var(axis=0)) / 2
    w, b = (mu1 - mu0) / v, -((mu1**2 - mu0**2) / (2 * v)).sum()
    queries = rng.normal(size=(200, 4)) + 0.5
    scores = naive_bayes(X, y, 2, epsilon=0.0).scores(queries)
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], queries @ w + b, atol=1e-10)


def test_it_agrees_with_scikit_learn_when_class_variances_are_equal_and_only_then():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 5))
    y = np.repeat([0, 1, 2], [60, 60, 60])
    X = np.concatenate([noise, noise + 0.8, rng.permutation(noise) - 0.5])  # the same noise for every class: equal variances
    queries = 2 * rng.normal(size=(2000, 5))
    reference = GaussianNB(var_smoothing=1e-14)
    assert (naive_bayes(X, y, 3).predict(queries) == reference.fit(X, y).predict(queries)).all()
    X[y == 1] *= 3
    assert (naive_bayes(X, y, 3).predict(queries) != reference.fit(X, y).predict(queries)).mean() > 0.05


def test_merged_statistics_of_two_batches_are_those_of_the_union_also_when_a_class_is_absent():
    X, y = blobs()
    for first in (y < 2, np.arange(len(y)) < 100, np.arange(len(y)) < 1):
        merged = merge(class_statistics(X[first], y[first], 3), class_statistics(X[~first], y[~first], 3))
        for ours, whole in zip(merged, class_statistics(X, y, 3), strict=True):
            np.testing.assert_allclose(ours, whole, atol=1e-10)
    whole = class_statistics(X, y, 3)
    for k in range(3):
        np.testing.assert_allclose(whole.deviations[k] / whole.counts[k], X[y == k].var(axis=0))


def test_fitting_in_batches_changes_nothing():
    X, y = blobs()
    for ours, whole in zip(naive_bayes(X, y, 3, batch=37), naive_bayes(X, y, 3, batch=1000), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-10)


# --- Logistic regression ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("C", [0.1, 5.0])
def test_the_gradient_of_the_multinomial_objective_vanishes_at_the_fitted_weights(C):
    X, y = blobs()
    model = logistic_regression(X, y, C)
    logits = X @ model.coef_.T + model.intercept_
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    residual = p - np.eye(3)[y]
    assert np.linalg.norm(C * residual.T @ X + model.coef_) < 1e-3 * len(y)
    assert np.linalg.norm(C * residual.sum(axis=0)) < 1e-3 * len(y)
    without_penalty = np.linalg.norm(C * residual.T @ X)
    assert without_penalty > 10 * np.linalg.norm(C * residual.T @ X + model.coef_)


def test_the_path_over_C_has_the_minima_of_separate_fits():
    X, y = blobs()
    for C, model in zip((0.1, 1.0, 20.0), logistic_path(X, y, (0.1, 1.0, 20.0)), strict=True):
        np.testing.assert_allclose(model.coef_, logistic_regression(X, y, C).coef_, atol=0.02)


# --- The mixture --------------------------------------------------------------------------------------------------------------------------------------


def test_the_generator_has_the_papers_means_and_variances():
    mixture = GaussianMixture(n=5, K=4)
    X, y = mixture.sample(np.random.default_rng(0), 400_000)
    assert (np.bincount(y) == 100_000).all()
    X = X * 2 + 2  # undo the map (x - 2) / 2 of K = 4
    for k, centre in enumerate((-1, 1, 2, 4)):
        np.testing.assert_allclose(X[y == k].mean(axis=0), centre, atol=0.03)
        np.testing.assert_allclose(X[y == k].var(axis=0), [5, 5, 1, 1, 1], rtol=0.03)


@pytest.mark.parametrize(("n", "K"), [(2, 2), (5, 2), (8, 3), (6, 5)])
def test_the_bayes_rule_errs_as_often_as_the_formula_says(n, K):
    mixture = GaussianMixture(n, K)
    X, y = mixture.sample(np.random.default_rng(1), 100_000)
    mu = mixture.normalise(np.tile(mixture.centres[:, None], n))
    v = mixture.variances / (1 if K == 2 else 2.0 ** (K - 3)) ** 2
    measured = error_rate(gaussian_rule(np.full(K, 1 / K), mu, v), X, y)
    assert abs(measured - mixture.bayes_error) < 0.003


def test_closed_forms_of_the_bayes_error():
    assert abs(GaussianMixture(2, 2).bayes_error - 0.1103) < 1e-4
    assert math.isclose(GaussianMixture(100, 2).bayes_error, norm.cdf(-math.sqrt(202) / 2))
    assert math.isclose(GaussianMixture(50, 3).bayes_error, 2 / 3 * norm.cdf(-math.sqrt(51 / 2) / 2), rel_tol=1e-3)
    assert abs(GaussianMixture(100, 3).bayes_error - 1.3e-4) < 1e-5


def test_the_map_of_the_inputs_leaves_naive_bayes_as_it_is_and_two_classes_untouched():
    X, y = blobs(K=5, m=400)
    queries = blobs(1, m=500, K=5)[0]
    mapped = GaussianMixture(6, 5).normalise
    np.testing.assert_array_equal(mapped(np.array([4.0, 8.0, -1.0])), [0.0, 1.0, -1.25])
    assert (naive_bayes(X, y, 5, 0.0).predict(queries) == naive_bayes(mapped(X), y, 5, 0.0).predict(mapped(queries))).all()
    assert GaussianMixture(6, 2).normalise(X) is X


# --- Samples needed -----------------------------------------------------------------------------------------------------------------------------------


def noisy_error(m):
    """A falling error with noise that depends on m alone."""
    return math.exp(-m / 60) + 0.02 * np.random.default_rng(m).random()


def test_the_linear_scan_finds_the_first_m_of_the_grid():
    visited = []
    first = sample_complexity(lambda m: visited.append(m) or float(m < 37), n=50, K=3, threshold=0.5, m_max=100)
    assert first == 38 and sorted(set(visited)) == list(range(6, 39, 4))  # 2K = 6, ceil(ln 50) = 4


@pytest.mark.parametrize("threshold", [0.9, 0.2, 0.1, 0.03])
def test_the_ladder_finds_the_same_m_when_the_error_falls_steadily(threshold):
    def steady(m):
        return math.exp(-m / 60)

    assert sample_complexity(steady, 100, 2, threshold, 5000, ladder=1.25) == sample_complexity(steady, 100, 2, threshold, 5000)


@pytest.mark.parametrize("ladder", [1.0, 1.25])
def test_samples_needed_do_not_grow_with_the_tolerance(ladder):
    needed = [sample_complexity(noisy_error, 100, 2, 0.005 + tolerance, 5000, ladder) for tolerance in np.linspace(0.01, 0.5, 40)]
    assert (np.diff(needed) <= 0).all() and needed[0] > needed[-1]


def test_an_error_that_never_falls_is_reported():
    with pytest.raises(ValueError, match="no m up to 500"):
        sample_complexity(lambda m: 1.0, 100, 2, 0.1, 500, ladder=1.25)


def test_a_draw_that_lacks_a_class_is_never_used():
    y = np.array([0] * 96 + [1, 1, 2, 2])
    for seed in range(30):
        chosen = draw_subset(np.random.default_rng(seed), y, 6, 3)
        assert set(y[chosen]) == {0, 1, 2} and len(set(chosen)) == 6


def test_the_theorem_in_small_naive_bayes_needs_far_fewer_samples():
    row = run(Config(runs=1, test_points=2000), {"experiment": "simulation", "K": 2, "n": 60}, (7,), "cpu")[0]
    assert row["m_nb"] < 30 < 50 < row["m_lr"] < 300


# --- Frozen features ----------------------------------------------------------------------------------------------------------------------------------


def test_scaling_looks_at_the_training_subset_alone():
    rng = np.random.default_rng(0)
    subset, test = (Labelled(rng.normal(size=(20, 3)) * scale, np.zeros(20, int)) for scale in (1, 5))
    ours, other = scaled(subset, test)
    assert ours.X.min() == 0 and abs(ours.X.max() - 1) < 1e-12 and other.X.min() < 0 and other.X.max() > 1
    np.testing.assert_allclose(other.X, (test.X - subset.X.min(axis=0)) / np.ptp(subset.X, axis=0))
    np.testing.assert_array_equal(scaled(subset)[0].X, ours.X)


def test_C_is_chosen_by_the_validation_set_and_never_by_the_test_set():
    X, y = blobs(2, m=600)
    pool, validation, test = (Labelled(X[part], y[part]) for part in (slice(0, 200), slice(200, 400), slice(400, 600)))
    flipped = Labelled(test.X, 2 - test.y)
    Cs = (1e-4, 1.0)
    ours, other = (compare_at(np.random.default_rng(0), 60, 2, pool, validation, part, Cs) for part in (test, flipped))
    assert ours.C == other.C == 1.0 and ours.lr == ours.lr_by_C[1] < ours.lr_by_C[0] and other.lr > other.lr_by_C[0]
    assert compare_at(np.random.default_rng(0), 60, 2, pool, Labelled(validation.X, 2 - validation.y), test, Cs).C == 1e-4


def test_statistics_of_the_assumptions_have_their_closed_forms():
    """E_k of a linear function is the function at mu_k; its variance is w' S_k w, with S_k the class covariance."""
    X, y = blobs(m=500)
    (data,) = scaled(Labelled(X, y))
    mu = np.stack([data.X[y == k].mean(axis=0) for k in range(3)])
    v = sum(np.mean(y == k) * data.X[y == k].var(axis=0) for k in range(3)) + 1e-9
    beta, alpha = [], []
    for k in range(3):
        S = np.cov(data.X[y == k].T, bias=True)
        for k1, k2 in ((0, 1), (0, 2), (1, 2)):
            w = (mu[k1] - mu[k2]) / v
            beta.append(abs((((mu[k] - mu[k2]) ** 2 - (mu[k] - mu[k1]) ** 2) / (2 * v)).sum()) / 6)
            alpha.append(w @ S @ w / 6)
    ours = assumption_statistics(Labelled(X, y))
    np.testing.assert_allclose(ours["sigma2"], v)
    np.testing.assert_allclose(ours["beta"], beta)
    np.testing.assert_allclose(ours["alpha"], alpha)


# --- What is handed to whom ---------------------------------------------------------------------------------------------------------------------------


def test_the_papers_settings_are_the_defaults():
    """epsilon = 1e-9: with one sample per class it is the whole variance. C = 1."""
    np.testing.assert_allclose(naive_bayes(np.array([[0.0], [1.0]]), np.array([0, 1]), 2).weights, [[0], [1e9]])
    X, y = blobs()
    np.testing.assert_array_equal(logistic_regression(X, y).coef_, logistic_regression(X, y, C=1.0).coef_)


def test_an_error_equal_to_the_threshold_has_not_arrived():
    assert sample_complexity(lambda m: max(0.5, 1 - m / 60) - 0.1 * (m > 50), 100, 2, 0.5, 500) == 54  # the grid is 4, 9, 14, ...


@pytest.mark.parametrize(("K", "n", "runs"), [(2, 4, 3), (3, 20, 1)])
def test_samples_needed_are_those_of_a_plain_search_on_fresh_test_points(K, n, runs):
    """With seed 3 the ladder and the full scan differ for both K, so that the one taken for the other shows."""
    config = Config(runs=3, test_points=3000, tolerance=0.03)
    mixture = GaussianMixture(n, K)
    X, y = mixture.sample(numpy_rng(3, "pool"), 100 * n)
    test = mixture.sample(numpy_rng(3, "test"), 3000)
    assert not set(map(bytes, X)) & set(map(bytes, test[0]))

    def plain(fit):
        found = []
        for r in range(runs):

            def error(m, r=r):
                chosen = draw_subset(numpy_rng(3, f"draw of {m} in run {r}"), y, m, K)
                return error_rate(fit(X[chosen], y[chosen]), *test)

            grid = range(2 * K, 100 * n, math.ceil(math.log(n)))
            threshold = mixture.bayes_error + 0.03
            found.append(next(m for m in grid if error(m) < threshold) if K == 2 else sample_complexity(error, n, K, threshold, 100 * n, ladder=1.25))
        return np.mean(found)

    row = run(config, {"experiment": "simulation", "K": K, "n": n}, (3,), "cpu")[0]
    assert row["m_nb"] == plain(lambda X, y: naive_bayes(X, y, K)) and row["m_lr"] == plain(logistic_regression) and row["m_nb"] != row["m_lr"]


def three_sets():
    """Pool, validation and test set of one task (a small one), the inputs of the latter two shifted, so that a set taken for another shows."""
    X, y = blobs(2, m=900)
    return Labelled(X[:300], y[:300]), Labelled(X[300:340] + 0.2, y[300:340]), Labelled(X[500:] - 0.3, y[500:])


def test_both_classifiers_are_fitted_to_the_scaled_subset_and_judged_on_the_test_set():
    pool, validation, test = three_sets()
    Cs, repeats, m = (0.01, 0.1, 1.0, 10.0), 4, 40
    ours = compare_at(np.random.default_rng(1), m, repeats, pool, validation, test, Cs)
    rng = np.random.default_rng(1)
    nb, lr_test, lr_validation = [], [], []
    for _ in range(repeats):
        chosen = draw_subset(rng, pool.y, m, 3)
        X, y = pool.X[chosen], pool.y[chosen]
        low, width = X.min(axis=0), np.ptp(X, axis=0)
        nb.append(error_rate(naive_bayes((X - low) / width, y, 3), (test.X - low) / width, test.y))
        models = [logistic_regression((X - low) / width, y, C) for C in Cs]
        lr_test.append([error_rate(model, (test.X - low) / width, test.y) for model in models])
        lr_validation.append([error_rate(model, (validation.X - low) / width, validation.y) for model in models])
    best = int(np.mean(lr_validation, axis=0).argmin())
    assert best != np.argmin(lr_validation[0]) and best != np.mean(lr_test, axis=0).argmin()  # the seed is one where the choice matters
    np.testing.assert_allclose(ours.nb, np.mean(nb))
    np.testing.assert_allclose(ours.lr_by_C, np.mean(lr_test, axis=0), atol=0.004)
    assert Cs[best] == ours.C and ours.lr == ours.lr_by_C[best]


def test_the_curve_over_m_holds_the_comparison_at_each_m():
    sets, Cs, subsets = three_sets(), (0.01, 0.1, 1.0, 3.0, 10.0, 30.0), {40: 4, 60: 2, 80: 2}
    curves = error_curves(np.random.default_rng(1), subsets, subsets.get, *sets, Cs)
    rng = np.random.default_rng(1)
    for i, (m, repeats) in enumerate(subsets.items()):
        at_m = compare_at(rng, m, repeats, *sets, Cs)
        assert curves["m"][i] == m and curves["C"][i] == np.float32(at_m.C)
        np.testing.assert_allclose([curves["error_nb"][i], curves["error_lr"][i]], [at_m.nb, at_m.lr], rtol=1e-6)
        np.testing.assert_allclose(curves["error_lr_by_C"][i], at_m.lr_by_C, rtol=1e-6)
    assert (curves["error_lr"] > np.min(curves["error_lr_by_C"], axis=1)).any()  # the validation set's C is not the test set's


def rows_of(*parts):
    """All rows of the sets with their labels, sorted: two collections are equal when nothing is missing and nothing is there twice."""
    return sorted(bytes(np.append(np.asarray(x, float), k)) for part in parts for x, k in zip(part.X, part.y, strict=True))


@pytest.fixture
def compared(monkeypatch):
    """The (pool, validation, test, repeats) that ``compare`` is called with."""
    calls = []

    def spy(config, rng, pool, validation, test, repeats):
        calls.append((pool, validation, test, repeats))
        return compare(config, rng, pool, validation, test, repeats)

    monkeypatch.setattr(replicate, "compare", spy)
    return calls


def test_training_features_are_shuffled_and_split_between_pool_and_validation(tmp_path, compared):
    files = {}
    for part, seed, m in (("train", 0, 500), ("val", 1, 200)):
        X, y = blobs(seed, m=m)
        files[part] = Labelled(X[np.argsort(y)], np.sort(y))
        (tmp_path / "vit" / "cifar10").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "vit" / "cifar10" / f"{part}_features.npy", np.column_stack(files[part]))
    config = Config(features="files", files=str(tmp_path), encoders=("vit",), sizes=(5, 6, 20), repeats=2, validation=150)
    row = run(config, conditions(config)[-3], (0,), "cpu")[0]
    ((pool, validation, test, repeats),) = compared
    assert len(validation.y) == 150 and rows_of(pool, validation) == rows_of(files["train"]) and rows_of(test) == rows_of(files["val"])
    assert set(pool.y) == set(validation.y) == {0, 1, 2} and repeats == 2 and row["m"].tolist() == [6, 20]
    for name, values in assumption_statistics(files["train"]).items():
        np.testing.assert_allclose(row[name][[0, 25, 100]], np.quantile(values, [0, 0.25, 1]), rtol=1e-5)


def test_raw_data_are_split_anew_into_three_parts_by_seed_and_split(compared):
    config = Config(sizes=(20,), splits=2)
    for seed in (3, 4):
        run(config, {"experiment": "raw", "dataset": "breast_cancer"}, (seed,), "cpu")
    whole = bundled.load("breast_cancer")
    for pool, validation, test, repeats in compared:
        assert rows_of(pool, validation, test) == rows_of(Labelled(whole.x, whole.y)) and repeats == 1
        assert len(test.y) == pytest.approx(0.3 * 569, abs=2) and len(validation.y) == pytest.approx(0.3 * 0.7 * 569, abs=2)
    assert len({tuple(rows_of(test)) for _, _, test, _ in compared}) == len(compared) == 4


def test_fewer_subsets_are_drawn_where_m_is_large(monkeypatch):
    monkeypatch.setattr(replicate, "error_curves", lambda rng, sizes, subsets, *_: {m: subsets(m) for m in sizes})
    pool = Labelled(np.zeros((30_000, 1)), np.arange(30_000) % 5)
    assert compare(Config(), None, pool, pool, pool, 5) == {10: 5, 20: 5, 50: 5, 100: 5, 200: 5, 500: 5, 1000: 5, 5000: 1, 20_000: 1}


@pytest.mark.parametrize("name", ["supervised", "denoising"])
def test_an_encoder_sees_labels_of_classes_A_only_and_its_features_are_those_of_classes_B(monkeypatch, name):
    rng = np.random.default_rng(0)
    y_train, y_test = np.repeat(np.arange(10), 7), np.repeat(np.arange(10), 3)
    x_train, x_test = (rng.integers(0, 256, (len(y), 4, 4), dtype=np.uint8) for y in (y_train, y_test))
    data = SimpleNamespace(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    monkeypatch.setattr(replicate.mnist, "load", lambda train_per_class: data)
    seen = {}

    def spy(kind):
        def pretrain(encoder, width, images, *rest, **_):
            seen.update(kind=kind, encoder=encoder, images=images.numpy(), labels=rest[0].numpy() if kind == "supervised" else None)

        return pretrain

    for kind in ("supervised", "denoising"):
        monkeypatch.setattr(encoders, kind, spy(kind))
    train, test = features_made_here(Config(), name, 0, "cpu")
    in_A = y_train < 5
    assert seen["kind"] == name
    np.testing.assert_allclose(seen["images"][:, 0], (x_train[in_A] if name == "supervised" else x_train) / 255, rtol=1e-6)
    if name == "supervised":
        np.testing.assert_array_equal(seen["labels"], y_train[in_A])
    for part, x, y in ((train, x_train, y_train), (test, x_test, y_test)):
        np.testing.assert_array_equal(part.y, y[y >= 5] - 5)
        np.testing.assert_allclose(part.X, encoders.encode(seen["encoder"], torch.from_numpy(x[y >= 5, None] / 255).float()), atol=1e-6)
    first = seen["encoder"][1].weight
    features_made_here(Config(), name, 1, "cpu")
    assert not torch.equal(first, seen["encoder"][1].weight)


def test_every_encoder_is_listed_under_what_it_was_pretrained_with():
    config = Config(encoders=("supervised", "denoising", "simclr", "resnet", "vit", "clip", "moco_v2", "simclr_v2", "mae", "simmim"))
    kinds = {c["encoder"]: c["pretraining"] for c in conditions(config) if c["experiment"] == "features"}
    assert {name for name, kind in kinds.items() if kind == "labels"} == {"supervised", "resnet", "vit"} and kinds["clip"] == "captions"


# --- Encoders -----------------------------------------------------------------------------------------------------------------------------------------


def test_contrastive_loss_is_its_definition():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    s = np.exp(unit @ unit.T / 0.5)
    slow = np.mean([-np.log(s[i, (i + 3) % 6] / (s[i].sum() - s[i, i])) for i in range(6)])
    assert math.isclose(encoders.nt_xent(z, 0.5).item(), slow, rel_tol=1e-5)


def test_augmentation_shifts_and_flips_every_image_on_its_own():
    torch.manual_seed(0)
    x = torch.rand(64, 3, 8, 8)
    views = encoders.augment(x, pad=1, jitter=False)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    found = set()
    for view, image in zip(views, padded, strict=True):
        windows = {(r, c): image[:, r : r + 8, c : c + 8] for r in range(3) for c in range(3)}
        windows |= {(r, c, "flipped"): window.flip(2) for (r, c), window in windows.items()}
        match = [key for key, window in windows.items() if torch.equal(view, window)]
        assert match
        found.add(match[0])
    assert len(found) > 10
    coloured = encoders.augment(x)
    assert coloured.shape == x.shape and coloured.min() >= 0 and coloured.max() <= 1


def stripes():
    """256 images of two kinds: rows or columns with period 4, in any phase."""
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 2, 256))
    images = torch.zeros(256, 1, 8, 8)
    for image, kind in zip(images, y, strict=True):
        phase = int(rng.integers(0, 4))
        (image[0, phase::4] if kind else image[0, :, phase::4]).fill_(1)
    return images, y


def separation(encoder, images, y):
    """Distance between the two class means of the features, in units of the spread within classes."""
    parts = [encoders.encode(encoder, images[y == kind]) for kind in (0, 1)]
    within = np.mean([part.var(axis=0).sum() for part in parts])
    return np.linalg.norm(parts[0].mean(axis=0) - parts[1].mean(axis=0)) / math.sqrt(within)


@pytest.mark.parametrize("pretraining", ["supervised", "simclr"])
def test_labels_or_contrast_pull_the_two_kinds_apart(pretraining):
    images, y = stripes()
    torch.manual_seed(0)
    encoder, schedule = encoders.mlp(64), encoders.Schedule(steps=30, batch=64)
    before = separation(encoder, images, y)
    if pretraining == "supervised":
        encoders.supervised(encoder, 256, images, y, schedule, augmented=False)
    else:
        encoders.simclr(encoder, 256, images, schedule)
    assert separation(encoder, images, y) > 2 * before


def test_denoising_makes_the_code_of_a_masked_image_resemble_that_of_the_whole_one():
    images, _ = stripes()
    torch.manual_seed(0)
    encoder = encoders.mlp(64)
    masked = images * (torch.rand_like(images) >= encoders.MASKED)

    def change():
        whole, part = encoders.encode(encoder, images), encoders.encode(encoder, masked)
        return ((whole - part) ** 2).sum(axis=1).mean() / whole.var(axis=0).sum()

    before = change()
    encoders.denoising(encoder, 256, images, encoders.Schedule(steps=30, batch=64))
    assert change() < 0.7 * before


def test_the_denoising_encoder_is_shown_half_of_the_pixels():
    shown = []
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU())
    encoder.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    torch.manual_seed(0)
    encoders.denoising(encoder, 8, torch.full((256, 1, 8, 8), 0.7), encoders.Schedule(steps=4, batch=64))
    pixels = torch.cat(shown)
    assert ((pixels == 0) | (pixels == 0.7)).all() and abs((pixels == 0).float().mean() - 0.5) < 0.02


def test_the_residual_network_has_its_shapes_and_a_gradient_everywhere():
    encoder = encoders.resnet()
    features = encoder(torch.rand(2, 3, 32, 32))
    features.sum().backward()
    assert features.shape == (2, 512) and features.min() >= 0
    assert all(p.grad is not None for p in encoder.parameters())
    assert 11_000_000 < sum(p.numel() for p in encoder.parameters()) < 11_300_000


def test_each_pass_shows_every_image_once_in_a_new_order_and_the_sgd_step_falls_to_zero():
    weight, shown, values = nn.Linear(1, 1, bias=False), [], []
    torch.manual_seed(0)

    def loss(batch):
        shown.append(batch.tolist())
        values.append(weight.weight.item())
        return weight.weight.sum()

    encoders.train(loss, nn.ModuleList([weight]), 12, encoders.Schedule(steps=9, batch=4, optimiser="sgd"), "cpu")
    passes = [[i for batch in shown[start : start + 3] for i in batch] for start in (0, 3, 6)]
    assert all(sorted(order) == list(range(12)) for order in passes) and len(set(map(tuple, passes))) == 3 and passes[0] != list(range(12))
    steps = -np.diff([*values, weight.weight.item()])
    assert steps[0] == pytest.approx(0.1, rel=0.02) and steps[-1] < 0.5 * steps.max()


def test_colour_changes_the_gain_of_each_channel_and_makes_one_image_in_five_grey():
    torch.manual_seed(0)
    views = encoders.augment(torch.full((2000, 3, 4, 4), 0.5), pad=0)
    gains = views[:, :, 0, 0] / 0.5
    grey = (gains == gains[:, :1]).all(dim=1)
    assert abs(grey.float().mean() - 0.2) < 0.03
    assert 0.6 <= gains.min() < 0.62 and 1.38 < gains.max() <= 1.4


def test_all_images_are_encoded_in_order():
    encoder, images = nn.Flatten(), torch.rand(5000, 1, 2, 2)
    np.testing.assert_array_equal(encoders.encode(encoder, images), images.flatten(1).numpy())


# --- Claims and the whole run -------------------------------------------------------------------------------------------------------------------------


def test_claims_recover_known_powers_of_the_dimensions_and_classes_they_name():
    rows = [
        {"experiment": "simulation", "K": K, "n": n, "seed": seed, "m_nb": 3 * n**0.2, "m_lr": 2.0 * n * (1 + seed)}
        for K, n, seed in product((2, 5), (50, 100, 200, 400), (0, 1))
    ]
    others = [
        {"experiment": "simulation", "K": K, "n": n, "seed": seed, "m_nb": 1.0, "m_lr": 9.0}
        for K, n, seed in product((2, 3), (25, 100), (0, 1))
        if (K, n) != (2, 100)
    ]
    trials = pd.DataFrame(rows + others)
    np.testing.assert_allclose(naive_bayes_slope(trials), 0.2)
    np.testing.assert_allclose(logistic_regression_slope(trials), 1)
    np.testing.assert_allclose(multiclass_gap(trials), 0.8 * math.log(8))
    with pytest.raises(NotRun):
        naive_bayes_slope(trials[trials["n"] > 50])


def test_few_shot_claims_read_their_own_columns():
    by_C = np.array([[0.7, 0.6], [0.5, 0.4], [0.1, 0.1]])
    row = {"experiment": "features", "pretraining": "labels", "seed": 0, "m": np.array([10, 20, 50]), "Cs": np.array([0.2, 20.0], dtype=np.float32)}
    trials = pd.DataFrame([row | {"error_nb": np.array([0.4, 0.3, 0.3]), "error_lr": by_C[:, 1], "error_lr_by_C": by_C}])
    np.testing.assert_allclose(few_shot_advantage(trials), 0.15)
    np.testing.assert_allclose(few_shot_advantage_at_the_papers_C(trials), 0.25)
    with pytest.raises(NotRun):
        few_shot_advantage(trials.assign(pretraining="none"))


def test_claims_about_many_labels_and_convergence_name_their_encoders():
    """Naive Bayes has lost 3/4 of its fall after 0.75 decades, logistic regression after 1.5 with the supervised encoder and after 1.875 with the other."""
    m, nb = np.array([10.0, 100.0, 1000.0, 10_000.0]), np.array([0.9, 0.4, 0.4, 0.4])
    supervised, other = np.array([0.9, 0.5, 0.1, 0.1]), np.array([0.9, 0.9, 0.3, 0.2])
    same = {"experiment": "features", "seed": 0, "m": m, "error_nb": nb}
    trials = pd.DataFrame([same | {"pretraining": "labels", "error_lr": supervised}, same | {"pretraining": "none", "error_lr": other}])
    np.testing.assert_allclose(large_sample_advantage(trials), 0.3)
    decades = [1.5 - 0.75, 1.875 - 0.75]
    np.testing.assert_allclose(convergence_advantage(trials), math.log(10) * np.mean(decades))


def test_convergence_is_interpolated_between_the_labels_tried():
    m = np.array([10.0, 100.0, 1000.0])
    assert math.isclose(labels_to_converge(m, np.array([0.9, 0.4, 0.1])), 100 * 10 ** (1 / 3))
    assert math.isclose(labels_to_converge(m, np.array([0.9, 0.1, 0.1])), 10 * 10**0.75)
    assert labels_to_converge(m, np.array([0.2, 0.3, 0.4])) == 10.0


def test_end_to_end_without_any_download():
    config = Config(
        dimensions=(40,), classes=(3,), dimensions_multiclass=(100,), runs=2, test_points=1000, features="none", sizes=(20, 50), repeats=2, splits=1
    )
    grid = conditions(config)
    assert [c["experiment"] for c in grid] == ["simulation", "simulation", "raw", "raw"]
    for condition in grid:
        first, second, again = (run(config, condition, seeds, "cpu")[0] for seeds in ((3,), (4,), (3,)))
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])
        assert any(not np.array_equal(first[name], second[name]) for name in first if name != "m")


def test_features_from_files_take_the_same_path(tmp_path):
    for part, seed, m in (("train", 0, 700), ("val", 1, 200)):
        X, y = blobs(seed, m=m)
        (tmp_path / "vit" / "cifar10").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "vit" / "cifar10" / f"{part}_features.npy", np.column_stack([X, y]))
    config = Config(features="files", files=str(tmp_path), encoders=("vit", "mae"), sizes=(2, 10, 100, 9999), repeats=2, validation=200)
    by_name = {c["encoder"]: c for c in conditions(config) if c["experiment"] == "features"}
    row = run(config, by_name["vit"], (0,), "cpu")[0]
    assert by_name["vit"]["pretraining"] == "labels" and by_name["mae"]["pretraining"] == "none"
    assert row["m"].tolist() == [10, 100] and row["error_lr_by_C"].shape == (2, 5) and row["sigma2"].shape == (101,)
    with pytest.raises(FileNotFoundError, match="mae"):
        run(config, by_name["mae"], (0,), "cpu")
