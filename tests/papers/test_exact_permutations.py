"""The infinite-width law against plain linear algebra and against trained networks, the ensemble sizes against brute force, and a run end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import integrate
from scipy.stats import multivariate_normal, norm

from papers.exact_permutations import claims, model, networks
from papers.exact_permutations.replicate import Config, all_inputs, conditions, growing_ensemble, judge_ensemble, run, thinned, two_hot_inputs
from shared.engine import NotRun

REGIMES = model.REGIMES


def plain_law(k, n, regime):
    """mu1, mu0 and the variance from the definition, with full kernel matrices and an explicit inverse."""
    x = np.r_[np.ones(n), np.zeros(k - n)] / np.sqrt(n)
    Theta = np.array([[model.tangent(float(i == j), k, regime) for i in range(k)] for j in range(k)])
    K = np.array([[model.nngp(float(i == j), k) for i in range(k)] for j in range(k)])
    t = np.linalg.inv(Theta) @ np.array([model.tangent(x[i], k, regime) for i in range(k)])
    var = model.nngp(1.0, k) + t @ K @ t - 2 * t @ np.array([model.nngp(x[i], k) for i in range(k)])
    return t[0], t[-1], var


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 0.9])
def test_kappas_are_the_gaussian_moments_that_they_stand_for(rho):
    def moment(angle):  # u = r cos(angle), v = r cos(angle - acos rho), E r^2 = 2: the relu moment in polar form
        return np.cos(angle) * np.cos(angle - np.arccos(rho))

    both_positive = (np.arccos(rho) - np.pi / 2, np.pi / 2)
    assert model.kappa1(rho) == pytest.approx(2 * 2 * integrate.quad(moment, *both_positive)[0] / (2 * np.pi), abs=1e-10)
    quadrant = multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf([0, 0])
    assert model.kappa0(rho) == pytest.approx(2 * quadrant, abs=1e-6)


@pytest.mark.parametrize(("regime", "one", "zero", "var"), [("ntk", 0.565422, -0.009850, 0.0065187), ("standard", 0.61794, -0.023259, 0.006282)])
def test_the_law_at_ten_bits_and_two_ones_has_the_known_values(regime, one, zero, var):
    law = model.output_law(10, 2, regime)
    assert law == pytest.approx((one, zero, var), rel=1e-4)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(("k", "n"), [(2, 1), (5, 3), (10, 2), (17, 16), (40, 7)])
def test_the_closed_form_is_the_generic_linear_algebra(regime, k, n):
    assert model.output_law(k, n, regime) == pytest.approx(plain_law(k, n, regime), abs=1e-10)


@pytest.mark.parametrize("regime", REGIMES)
def test_the_joint_posterior_has_the_closed_form_law_on_its_diagonal(regime):
    inputs = all_inputs(6)
    t, cov = model.posterior(inputs, regime)
    law = model.output_law(6, (inputs > 0).sum(axis=1), regime)
    np.testing.assert_allclose(t, np.where(inputs > 0, law.one[:, None], law.zero[:, None]), atol=1e-10)
    np.testing.assert_allclose(np.diag(cov), law.var, atol=1e-10)
    assert np.linalg.eigvalsh(cov).min() > -1e-10


@pytest.mark.parametrize("regime", REGIMES)
def test_a_training_point_is_learned_exactly_and_an_input_of_all_ones_has_one_mean(regime):
    assert model.output_law(9, 1, regime) == pytest.approx((1, 0, 0), abs=1e-12)
    t, _ = model.posterior(np.full((1, 9), 1 / 3), regime)
    np.testing.assert_allclose(t, model.output_law(9, 9, regime).one)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("k", [3, 10, 400])
def test_the_mean_separates_ones_from_zeros_for_every_number_of_ones(regime, k):
    law = model.output_law(k, np.arange(2, k), regime)
    assert (law.one > 0).all() and (law.zero < 0).all()


def test_the_standard_law_at_a_finite_width_tends_to_the_last_layer_law():
    gaps = [abs(model.output_law(8, 2, "standard", m).zero - model.output_law(8, 2, "standard").zero) for m in (10_000, 100_000)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05) and gaps[1] > 0


@pytest.mark.parametrize("regime", REGIMES)
def test_the_top_curvature_is_the_largest_eigenvalue_of_the_training_kernel(regime):
    Theta = model.tangent(np.eye(7), 7, regime, 300) * (300 if regime == "standard" else 1)
    assert model.top_curvature(7, regime, 300) == pytest.approx(np.linalg.eigvalsh(Theta).max())


@pytest.mark.parametrize(("regime", "sizes"), [("standard", (58, 121, 190)), ("ntk", (333, 579, 840))])
def test_networks_for_one_input_at_ten_twenty_thirty_bits(regime, sizes):
    assert tuple(model.networks_for_one_input(k, 0.9, regime) for k in (10, 20, 30)) == sizes
    for k, size in zip((10, 20, 30), sizes, strict=True):
        assert model.prob_exact(size - 1, k, 2, regime) < 0.9 <= model.prob_exact(size, k, 2, regime)


@pytest.mark.parametrize("regime", REGIMES)
def test_inputs_with_two_ones_are_the_hardest(regime):
    for k in (10, 30):
        needed = [model.networks_for_one_input(k, 0.9, regime, n) for n in range(2, k + 1)]
        assert max(needed) == needed[0]


@pytest.mark.parametrize("regime", REGIMES)
def test_the_union_bound_is_the_sum_over_all_inputs_and_bounds_the_error(regime):
    k, N = 6, 150
    bound, right = 0.0, 1.0
    for x in all_inputs(k):
        n = int((x > 0).sum())
        one, zero, var = plain_law(k, n, regime)
        if n > 1:
            bound += n * norm.sf(one * np.sqrt(N / var)) + (k - n) * norm.cdf(zero * np.sqrt(N / var))
            right = min(right, model.prob_exact(N, k, n, regime))
    assert np.exp(model.log_union_bound(N, k, regime)) == pytest.approx(bound)
    assert bound > 1 - right
    size = model.networks_for_all_inputs(k, 0.1, regime)
    assert model.log_union_bound(size, k, regime) <= np.log(0.1) < model.log_union_bound(size - 1, k, regime)


def test_every_permutation_is_drawn_equally_often():
    rng = np.random.default_rng(0)
    drawn = np.array([model.draw_permutation(3, rng) for _ in range(1200)])
    assert (drawn.sum(axis=1) == 1).all() and (drawn.sum(axis=2) == 1).all()
    _, times = np.unique(drawn.reshape(-1, 9), axis=0, return_counts=True)
    assert len(times) == 6 and abs(times - 200).max() < 60


def test_smallest_finds_every_threshold():
    assert [model.smallest(lambda N, t=t: t <= N) for t in range(1, 40)] == list(range(1, 40))


def test_test_inputs_are_unit_vectors_with_n_ones_counted_with_repetition():
    x, times = model.draw_test_inputs(5, 2, 1000, np.random.default_rng(0))
    assert times.sum() == 1000 and len(x) == 10 and len(np.unique(x, axis=0)) == 10
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)
    assert ((x > 0).sum(axis=1) == 2).all() and abs(times - 100).max() < 50


@pytest.mark.parametrize("regime", REGIMES)
def test_sampled_ensembles_are_as_often_exact_as_the_formula_says(regime):
    k, sizes = 6, np.array([1, 10, 40, 100])
    accuracy = []
    for seed in range(225):
        rng = np.random.default_rng(seed)
        accuracy.append(model.sampled_accuracy(model.draw_permutation(k, rng), *model.draw_test_inputs(k, 2, 30, rng), sizes, regime, rng))
    mean, error = np.mean(accuracy, axis=0), np.std(accuracy, axis=0, ddof=1) / 15
    assert (abs(mean - model.prob_exact(sizes, k, 2, regime)) < 4 * error + 2e-3).all()  # + 2e-3: no failure at all was drawn at N = 100


def test_drawing_networks_one_by_one_and_in_bunches_gives_the_same_law():
    P, x = np.eye(5), model.draw_test_inputs(5, 2, 200, np.random.default_rng(0))
    single, bunched = [], []
    for seed in range(200):
        single.append(model.sampled_accuracy(P, *x, np.arange(1, 21), "standard", np.random.default_rng(seed))[[4, 19]])
        bunched.append(model.sampled_accuracy(P, *x, np.array([5, 20]), "standard", np.random.default_rng(10_000 + seed)))
    error = np.sqrt((np.var(single, axis=0) + np.var(bunched, axis=0)) / 200)
    assert (abs(np.mean(single, axis=0) - np.mean(bunched, axis=0)) < 4 * error).all()
    assert np.corrcoef(np.array(single).T)[0, 1] > 0.1 and np.corrcoef(np.array(bunched).T)[0, 1] > 0.1  # the same ensemble grows


def test_sampled_outputs_are_drawn_jointly_over_the_inputs():
    twice = np.repeat(model.draw_test_inputs(4, 2, 1, np.random.default_rng(0))[0], 2, axis=0)  # one input, listed two times, has one answer
    accuracy = [model.sampled_accuracy(np.eye(4), twice, np.ones(2), np.array([3]), "standard", np.random.default_rng(seed))[0] for seed in range(200)]
    assert set(accuracy) == {0.0, 1.0}


def test_first_passage_is_the_first_size_that_reaches_the_goal():
    accuracy, sizes = np.array([0.1, 0.9, 0.5, 1.0]), np.array([1, 2, 3, 4])
    assert [model.first_passage(accuracy, sizes, goal) for goal in (0.05, 0.9, 0.95)] == [1, 2, 4]
    assert model.first_passage(accuracy[:3], sizes[:3], 0.95) == 3


@pytest.mark.parametrize(("regime", "m", "N"), [("ntk", 20_000, 1), ("standard", 20_000, 1), ("standard", 50, 400)])
def test_the_tangent_kernel_of_networks_is_the_formula(regime, m, N):
    """One wide network; and the mean over many narrow ones, where biases and first layer weigh as much as the last layer."""
    k = 4
    x = np.vstack([np.eye(k), two_hot_inputs(k)])

    def kernel(key):
        jacobian = jax.jacobian(lambda p: networks.predict(p, jnp.asarray(x), regime)[:, 0])(networks.init(key, k, m, regime))  # output coordinate 0
        rows = jnp.concatenate([leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
        return rows @ rows.T

    measured = np.asarray(jax.jit(jax.vmap(kernel))(jax.random.split(jax.random.key(3), N))).mean(axis=0)
    cosine = np.round(np.clip(x @ x.T, 0, 1), 3)
    for rho in np.unique(cosine):  # pairs of inputs at the same angle are averaged
        formula = model.tangent(rho, k, regime, m) * (m if regime == "standard" else 1)
        assert measured[cosine == rho].mean() == pytest.approx(formula, rel=0.03)


@pytest.mark.parametrize("regime", REGIMES)
def test_the_outputs_at_initialisation_have_the_nngp_covariance(regime):
    x = jnp.asarray([[1, 0, 0, 0], [1, 1, 0, 0] / np.sqrt(2)])
    draw = jax.jit(jax.vmap(lambda key: networks.predict(networks.init(key, 4, 100, regime), x, regime)))
    starts = draw(jax.random.split(jax.random.key(0), 1500))
    sample = np.asarray(starts, dtype=float).transpose(0, 2, 1).reshape(-1, 2)
    np.testing.assert_allclose(sample.T @ sample / len(sample), model.nngp(np.array([[1, np.sqrt(0.5)], [np.sqrt(0.5), 1]]), 4), rtol=0.08)


train = jax.jit(networks.train, static_argnames=("regime", "tolerance"))


@pytest.mark.parametrize("regime", REGIMES)
def test_training_takes_the_step_that_the_plain_gradient_takes(regime):
    P, start = np.eye(3)[[2, 0, 1]], networks.init(jax.random.key(5), 3, 40, regime)
    rate = 0.5 / model.top_curvature(3, regime, 40)
    gradient = jax.jit(jax.grad(lambda p: 0.5 * jnp.sum((networks.predict(p, jnp.eye(3), regime) - P.T) ** 2)))
    trained, _, steps = train(start, P, regime=regime, tolerance=0.02)
    params = start
    for _ in range(int(steps)):
        params = jax.tree.map(lambda w, g: w - rate * g, params, gradient(params))
    assert steps >= 3
    jax.tree.map(lambda ours, plain: np.testing.assert_allclose(ours, plain, atol=1e-5), trained, params)


K, M, N = 4, 2000, 500
CYCLE = np.eye(K)[[1, 2, 3, 0]]  # differs from its inverse


@pytest.fixture(scope="module", params=REGIMES)
def ensemble(request):
    """The regime, and the outputs (N, U, K) and training errors (N,) of 500 wide trained networks."""
    x = jnp.asarray(two_hot_inputs(K))
    keys = jax.random.split(jax.random.key(7), 1)
    outputs, errors, _ = networks.ensembles(keys, jnp.asarray(CYCLE)[None], x, m=M, regime=request.param, N=N, tolerance=1e-8, at_once=1)
    return request.param, np.asarray(outputs[0], dtype=float), np.asarray(errors[0])


def test_the_mean_over_trained_networks_is_mu1_on_target_ones_and_mu0_on_target_zeros(ensemble):
    regime, outputs, errors = ensemble
    law = model.output_law(K, 2, regime, M)
    ones = two_hot_inputs(K) @ CYCLE.T > 0
    assert errors.max() < 1e-6
    for value, positions in ((law.one, ones), (law.zero, ~ones)):
        per_network = outputs[:, positions].mean(axis=1)
        error = per_network.std(ddof=1) / np.sqrt(N)
        assert abs(per_network.mean() - value) < 4 * error
        assert error < 0.005  # sharp enough to tell the two parametrisations apart


def test_the_variance_over_trained_networks_is_the_formula_and_coordinates_are_uncorrelated(ensemble):
    regime, outputs, _ = ensemble
    assert outputs.var(axis=0, ddof=1).mean() == pytest.approx(model.output_law(K, 2, regime).var, rel=0.15)
    assert abs(np.mean([np.corrcoef(answers.T)[np.triu_indices(K, 1)] for answers in outputs.transpose(1, 0, 2)])) < 0.05


def test_the_thresholded_mean_of_trained_networks_is_the_permuted_input(ensemble):
    _, outputs, _ = ensemble
    np.testing.assert_array_equal(outputs.mean(axis=0) > 0, two_hot_inputs(K) @ CYCLE.T > 0)


@pytest.mark.parametrize("regime", REGIMES)
def test_relabelling_outputs_or_inputs_permutes_the_predictions(regime):
    """A network that starts relabelled and learns relabelled pairs gives the relabelled predictions."""
    x, start, relabel = two_hot_inputs(K), networks.init(jax.random.key(2), K, 60, regime), np.eye(K)[[2, 0, 1, 3]]

    def predictions(first, P, inputs):
        return networks.predict(train(first, P, regime=regime, tolerance=1e-8)[0], inputs, regime)

    plain = predictions(start, CYCLE, x)
    outputs_moved = predictions(start | {"W2": start["W2"] @ relabel.T}, relabel @ CYCLE, x)
    np.testing.assert_allclose(outputs_moved, plain @ relabel.T, atol=1e-4)
    inputs_moved = predictions(start | {"W1": relabel @ start["W1"]}, CYCLE @ relabel.T, x @ relabel.T)
    np.testing.assert_allclose(inputs_moved, plain, atol=1e-4)


def test_an_ensemble_is_judged_against_the_permuted_input():
    inputs = all_inputs(K)
    right = np.where(inputs @ CYCLE.T > 0, 0.6, -0.1)[None].repeat(3, axis=0)  # (N, U, K)
    right[:, (inputs > 0).sum(axis=1) == 1] = 0.05  # a training input gets ones everywhere
    row = judge_ensemble(Config(), CYCLE, inputs, right, "ntk", 100, np.random.default_rng(0))
    perfect = ("accuracy_single", "accuracy_unseen", "sign_features", "accuracy_at_formula")
    assert [row[name] for name in perfect] == [1.0] * 4 and row["n_90"] == 1 and row["accuracy_trained"] == 0
    assert (row["mean_one"], row["mean_zero"], row["sd"]) == pytest.approx((0.6, -0.1, 0.0))
    assert judge_ensemble(Config(), CYCLE, inputs, -right, "ntk", 100, np.random.default_rng(0))["sign_features"] == 0
    unlucky_first = np.concatenate([-2 * right[:1], right])  # the mean is right from the fourth network on
    assert judge_ensemble(Config(), CYCLE, inputs, unlucky_first, "ntk", 100, np.random.default_rng(0))["n_90"] == 4


def test_a_growing_ensemble_keeps_its_accuracy_with_1_and_200_networks_and_its_first_passages():
    curve, sizes = np.linspace(0.001, 1, 1000), np.arange(1, 1001)
    row = growing_ensemble(curve, sizes)
    assert [row[name] for name in ("accuracy_single", "accuracy_200", "n_90", "n_999")] == pytest.approx([0.001, 0.2, 900, 999])


def test_thinning_keeps_both_ends_and_short_curves():
    assert thinned(np.arange(3)).tolist() == [0, 1, 2]
    assert len(thinned(np.arange(5000))) <= 200 and thinned(np.arange(5000))[[0, -1]].tolist() == [0, 4999]


def test_a_small_run_gives_finite_rows_that_depend_on_the_seed():
    config = dataclasses.replace(
        Config(), law_k=(4,), exact_k=(4,), sampled_k=(5,), sampled_nets_ntk=30, sampled_nets_standard=30, test_inputs=40, growth_k=(5,), growth_inputs=10,
        growth_sizes=6, net_k=(4,), width=40, nets_ntk=4, nets_standard=4, sweep_k=4, sweep_widths=(40,),
    )  # fmt: skip
    grid = conditions(config)
    assert {condition["experiment"] for condition in grid} == {"law", "exact", "sampled", "growth", "networks"} and len(grid) == 10
    for condition in grid:
        rows, regime = run(config, condition, (1000, 1001), "cpu"), condition["regime"]  # neither permutation is its own inverse
        assert len(rows) == 2 and all(np.isfinite(value).all() for row in rows for value in row.values())
        if condition["experiment"] in ("sampled", "networks"):
            assert not all(np.array_equal(rows[0][name], rows[1][name]) for name in ("accuracy", "n_90")), condition
        for row in rows:
            if condition["experiment"] == "growth":
                N = row["one_input_90"]
                assert model.prob_exact(N - 1, 5, 2, regime) < 0.9 <= model.prob_exact(N, 5, 2, regime)
                N = row["all_inputs_90"]
                assert model.log_union_bound(N, 5, regime) <= np.log(0.1) < model.log_union_bound(N - 1, 5, regime)
            if condition["experiment"] == "networks":
                assert row["train_mse"] <= config.tolerance
                assert abs(row["mean_one"] - row["limit_one"]) < 0.12 and abs(row["mean_zero"] - row["limit_zero"]) < 0.12  # trained and judged on one P
                assert row["drift_zero"] == model.output_law(4, 2, regime, 40).zero


def test_claims_pair_trials_by_seed_and_divide_the_right_way():
    lengths, official = [10, 15, 20, 25, 30], claims.OFFICIAL_90
    rows = []
    for seed, factor in enumerate((2.0, 0.5)):  # ours over the paper's
        for regime, more in (("standard", 1), ("ntk", 5)):
            for k in lengths:
                sizes = {"n_90": official[k] * factor * more, "n_999": claims.OFFICIAL_999[k] * factor}
                rows.append({"experiment": "sampled", "regime": regime, "k": k, "seed": seed, "accuracy_200": 0.9 + seed / 10, "accuracy_single": 0.1} | sizes)
            for k in (20, 100, 400):
                grown, everywhere = ((k * np.log(k)) ** (1 + seed), k ** (2.0 + seed)) if regime == "ntk" else (7.0, 7.0)
                rows.append({"experiment": "growth", "regime": regime, "k": k, "seed": seed, "grown_90": grown, "all_inputs_90": everywhere})
            for k in (6, 8, 10):
                for width, shift in ((100, 0.5), (200, 0.0)):  # the wider networks count
                    value = (0.2 if regime == "ntk" else 0.4) + seed / 10 + shift
                    scores = dict.fromkeys(("sign_features", "accuracy_unseen", "accuracy_trained", "accuracy_at_formula"), value)
                    rows.append({"experiment": "networks", "regime": regime, "k": k, "width": width, "seed": seed} | scores | {"accuracy_trained": value / 2})
    trials = pd.DataFrame(rows[::-1])
    expected = {
        claims.accuracy_with_200: (0.9, 1.0), claims.gain_over_one_net: (0.8, 0.9), claims.ratio_90: (2, 0.5), claims.ratio_999: (2, 0.5),
        claims.ratio_90_ntk: (10, 2.5), claims.single_input_slope: (1, 2), claims.all_inputs_slope: (2, 3), claims.separated_inputs: (0.3, 0.4),
        claims.exact_on_unseen_inputs: (0.4, 0.5), claims.exact_on_training_inputs: (0.2, 0.25), claims.accuracy_at_formula: (0.3, 0.4),
        claims.slack_of_bound_standard: (1e4 / 350, 1e4 / 87.5), claims.slack_of_bound_ntk: (1e4 / 1750, 1e4 / 437.5),
    }  # fmt: skip
    for measure, values in expected.items():
        np.testing.assert_allclose(measure(trials).sort_index(), values, err_msg=measure.__name__)
    wide = trials[trials.experiment == "sampled"].assign(experiment="networks", width=claims.OFFICIAL_WIDTH, accuracy_200=0.7)
    np.testing.assert_allclose(claims.accuracy_with_200(pd.concat([trials, wide])), 0.7)  # networks of the official width replace the sampled ones
    for measure, k in ((claims.ratio_90, 30), (claims.single_input_slope, 400), (claims.separated_inputs, 8)):
        with pytest.raises(NotRun):
            measure(trials[trials.k != k])
