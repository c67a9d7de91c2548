"""The mathematics of naive Bayes against logistic regression, and one run from end to end."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.naive_bayes import GaussianNB
from torch import nn

from papers.discriminative_vs_generative import encoders
from papers.discriminative_vs_generative.claims import (
    few_shot_advantage,
    few_shot_advantage_at_the_papers_C,
    labels_to_converge,
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
    error_rate,
    gaussian_rule,
    logistic_path,
    logistic_regression,
    merge,
    naive_bayes,
    sample_complexity,
    scaled,
)
from papers.discriminative_vs_generative.replicate import Config, conditions, run
from shared.engine import NotRun


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
    views = encoders.augment(x, pad=1, colour=False)
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
    encoder = encoders.resnet18()
    features = encoder(torch.rand(2, 3, 32, 32))
    features.sum().backward()
    assert features.shape == (2, 512) and features.min() >= 0
    assert all(p.grad is not None for p in encoder.parameters())
    assert 11_000_000 < sum(p.numel() for p in encoder.parameters()) < 11_300_000


# --- Claims and the whole run -------------------------------------------------------------------------------------------------------------------------


def test_claims_recover_known_powers():
    rows = [
        {"experiment": "simulation", "K": K, "n": n, "seed": seed, "m_nb": 3 * n**0.2, "m_lr": 2.0 * n * (1 + seed)}
        for K in (2, 5)
        for n in (25, 50, 100, 200, 400)
        for seed in (0, 1)
    ]
    trials = pd.DataFrame(rows)
    np.testing.assert_allclose(naive_bayes_slope(trials), 0.2)
    np.testing.assert_allclose(multiclass_gap(trials), 0.8 * math.log(16))
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
