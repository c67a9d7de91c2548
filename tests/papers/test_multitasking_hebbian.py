"""Multitasking Hebbian networks: couplings, heat bath, self-consistency, learning, claims."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.special import erf

from papers.multitasking_hebbian import claims, mean_field, model
from papers.multitasking_hebbian.monte_carlo import heat_bath_many, quench_many
from papers.multitasking_hebbian.replicate import Config, bisect, conditions, descending, run
from shared.seeds import numpy_rng


def rng(seed=1000):
    return np.random.default_rng(seed)


def couplings(network: model.Network) -> np.ndarray:
    J = network.scale * network.A.T.astype(float) @ network.A
    np.fill_diagonal(J, 0)
    return J


# ---- the network ----


def test_patterns_have_the_given_dilution_and_more_dilution_only_blanks_more():
    few, many = (model.draw_patterns(rng(), 3, 20_000, d) for d in (0.3, 0.7))
    assert set(np.unique(few)) == {-1, 0, 1}
    np.testing.assert_allclose([(few == 0).mean(), (many == 0).mean()], [0.3, 0.7], atol=0.01)
    assert abs(few.mean()) < 0.01 and (many[many != 0] == few[many != 0]).all()


def test_examples_agree_with_the_pattern_in_proportion_r_and_leave_blanks_blank():
    xi = model.draw_patterns(rng(), 2, 5000, 0.4)
    eta = model.draw_examples(rng(1), xi, 20, 0.3)
    assert ((eta == 0) == (xi == 0)).all()
    assert (eta * xi)[:, xi != 0].mean() == pytest.approx(0.3, abs=0.01)
    averages = eta.mean(axis=0)[xi != 0]
    assert (averages**2).mean() == pytest.approx(model.normaliser(20, 0.3), rel=0.02)
    np.testing.assert_array_equal(eta[:7], model.draw_examples(rng(1), xi, 7, 0.3))


def test_couplings_of_the_three_rules_are_those_of_the_definitions():
    xi = model.draw_patterns(rng(), 2, 12, 0.3)
    M, r = 4, 0.6
    eta = model.draw_examples(rng(1), xi, M, r)
    R = r**2 + (1 - r**2) / M
    means = eta.mean(axis=0)
    for i, j in itertools.permutations(range(12), 2):
        assert couplings(model.storing(xi))[i, j] == pytest.approx(sum(xi[mu, i] * xi[mu, j] for mu in range(2)) / 12)
        assert couplings(model.supervised(eta, r))[i, j] == pytest.approx(sum(means[mu, i] * means[mu, j] for mu in range(2)) / (12 * R))
        expected = sum(eta[a, mu, i] * eta[a, mu, j] for mu in range(2) for a in range(M)) / (12 * M * R)
        assert couplings(model.unsupervised(eta, r))[i, j] == pytest.approx(expected)


def test_one_example_makes_both_rules_identical_and_perfect_examples_make_them_store():
    xi = model.draw_patterns(rng(), 3, 40, 0.3)
    eta = model.draw_examples(rng(1), xi, 1, 0.4)
    np.testing.assert_array_equal(couplings(model.supervised(eta, 0.4)), couplings(model.unsupervised(eta, 0.4)))
    for M in (1, 2, 5):
        eta = model.draw_examples(rng(1), xi, M, 1.0)
        for rule in (model.supervised, model.unsupervised):
            np.testing.assert_allclose(couplings(rule(eta, 1.0)), couplings(model.storing(xi)), atol=1e-12)


def test_energy_is_that_of_the_spins_and_a_product_of_losses():
    xi = model.draw_patterns(rng(), 3, 60, 0.4).astype(float)
    s = model.random_spins(rng(1), 60).astype(float)
    m, support = model.overlaps(xi, s), np.abs(xi).mean(axis=1)
    J = xi.T @ xi / 60
    energy = -s @ J @ s / 2
    assert 60 * model.energy_per_spin(m) == pytest.approx(energy, abs=1e-10)
    plus, minus = model.losses(m, support)
    by_hand = [[((xi[mu] - sign * s)[xi[mu] != 0] ** 2).sum() / (2 * np.count_nonzero(xi[mu])) for mu in range(3)] for sign in (1, -1)]
    np.testing.assert_allclose([plus, minus], by_hand, atol=1e-12)
    assert -30 * (support**2 * (1 - plus * minus)).sum() == pytest.approx(energy, abs=1e-10)


def test_the_hierarchical_configuration_copies_the_first_pattern_that_is_not_blank():
    xi = np.array([[1, 0, 0, 0], [-1, -1, 0, 0], [1, 1, 1, 0]], dtype=np.float32)
    s = model.hierarchical_spins(rng(), xi)
    np.testing.assert_array_equal(s[:3], [1, -1, 1])
    assert abs(s[3]) == 1
    xi = model.draw_patterns(rng(), 4, 100_000, 0.4)
    np.testing.assert_allclose(model.overlaps(xi, model.hierarchical_spins(rng(1), xi)), 0.6 * 0.4 ** np.arange(4), atol=0.01)


# ---- Monte Carlo ----


def test_single_spin_heat_bath_samples_the_gibbs_distribution():
    """Six spins, all 64 states enumerated; 64 replicas of 1500 sweeps."""
    T, N, xi = 1.3, 6, model.draw_patterns(rng(5), 2, 6, 0.2)
    network = model.storing(xi)
    states = np.array(list(itertools.product((-1, 1), repeat=N)), dtype=float)
    energies = -np.einsum("si,ij,sj->s", states, couplings(network), states) / 2
    weight = np.exp(-energies / T) / np.exp(-energies / T).sum()
    expected = weight @ (states @ xi.T) ** 2
    copies = np.tile(xi, (64, 1, 1))
    _, trace = heat_bath_many(jax.random.split(jax.random.key(1), 64), copies, network.scale, np.ones((64, N), np.float32), T, 1500, N)
    sampled = (trace[:, 100:] ** 2).mean(axis=1)
    error = sampled.std(axis=0, ddof=1) / 8
    assert (np.abs(sampled.mean(axis=0) - expected) < 4 * error).all() and (error < 0.02 * expected).all()
    diagonal_left_in = -np.einsum("si,ij,sj->s", states, couplings(network) * 2, states) / 2  # and the test would see a wrong energy
    wrong = np.exp(-diagonal_left_in / T) / np.exp(-diagonal_left_in / T).sum()
    assert (np.abs(wrong @ (states @ xi.T) ** 2 - expected) > 20 * error).any()


def test_a_sweep_at_zero_temperature_follows_the_couplings_spin_by_spin():
    xi = model.draw_patterns(rng(), 3, 20, 0.5)
    eta = model.draw_examples(rng(2), xi, 3, 0.7)
    for network in (model.storing(xi), model.supervised(eta, 0.7), model.unsupervised(eta, 0.7)):
        s = model.random_spins(rng(3), 20)
        by_hand = s.copy()
        for i in range(20):
            h = (couplings(network) / network.scale)[i].round() @ by_hand
            by_hand[i] = np.sign(h) if h != 0 else by_hand[i]
        ours, taken = quench_many(network.A[None], s[None], 1, 20)
        np.testing.assert_array_equal(ours[0], by_hand)
        assert taken[0] == 1 and (s != by_hand).any()


def test_a_corrupted_pattern_comes_back_in_one_sweep_and_the_quench_then_stops():
    xi = model.draw_patterns(rng(), 1, 1000, 0.0)
    s = np.where(rng(1).random(1000) < 0.3, -xi[0], xi[0])
    once, _ = quench_many(xi[None], s[None], 1, 10)
    np.testing.assert_array_equal(once[0], xi[0])
    assert quench_many(xi[None], s[None], 50, 10)[1][0] == 2


def test_where_the_quench_stops_every_single_spin_is_content_and_the_energy_has_fallen():
    """Spins of a block move at once, but a run ends only in a state that spin-by-spin dynamics leaves alone too."""
    xi = model.draw_patterns(rng(), 3, 400, 0.3)
    eta = model.draw_examples(rng(1), xi, 5, 0.5)
    for network in (model.supervised(eta, 0.5), model.unsupervised(eta, 0.5)):
        s, J = model.hierarchical_spins(rng(2), xi), couplings(network)
        end, taken = quench_many(network.A[None], s[None], 200, 10)
        assert 1 < taken[0] < 200 and (end[0] * (J @ end[0]) > -1e-9).all()
        assert end[0] @ J @ end[0] > s @ J @ s


def thermal(d, T, start="random", N=20_000, K=3):
    config = Config(N=N, burn_in=60, averaged=60)
    row = run(config, {"experiment": "thermal", "K": K, "d": d, "T": T, "start": start, "N": N}, (1000, 1001), "cpu")
    return np.stack([of_seed["overlaps"] for of_seed in row]), row[0]


def test_without_blanks_one_pattern_is_retrieved_with_strong_dilution_all_are_and_above_Tc_none():
    undiluted, row = thermal(0.0, 0.6)
    assert (np.abs(undiluted[:, 0] - row["stable"][0]) < 0.02).all() and (undiluted[:, 1:] < 0.1).all()
    diluted, row = thermal(0.8, 0.5)
    assert (np.abs(diluted - row["stable"]) < 0.03).all() and (diluted[:, 2] > 0.8 * diluted[:, 0]).all()
    above, row = thermal(0.6, 1.3)
    assert (above < 5 / np.sqrt(20_000)).all() and (row["stable"] < 1e-6).all()
    graded, row = thermal(0.4, 0.1, "hierarchical")
    assert (np.abs(graded - row["followed"]) < 0.03).all()


# ---- self-consistency ----


def test_one_pattern_obeys_its_scalar_equation():
    for d, T in ((0.0, 0.5), (0.4, 0.3)):
        m = mean_field.settle(mean_field.stored(1, d), np.array([[0.9]]), T)[0, 0]
        assert m == pytest.approx((1 - d) * np.tanh(m / T), abs=1e-8) and m > 0.1


def test_the_hierarchical_vector_is_a_fixed_point_exactly_up_to_its_critical_dilution():
    def settled(K, d):
        return mean_field.settle(mean_field.stored(K, d), model.hierarchical_amplitudes(K, d)[None], 0.0)[0]

    np.testing.assert_allclose(settled(3, 0.5), [0.5, 0.25, 0.125], atol=1e-12)
    np.testing.assert_allclose(settled(3, 0.65), [0.3286, 0.2489, 0.1693], atol=1e-3)
    d = 0.8
    compressed = (1 - d) * np.array([(1 - d) ** 2 / 2 + 2 * d * (1 - d) + d**2, (1 - d) ** 2 / 2 + d * (1 - d) + d**2, (1 - d) ** 2 / 2 + d**2])
    np.testing.assert_allclose(settled(3, d), compressed, atol=1e-12)
    np.testing.assert_allclose([model.critical_dilution(K) for K in (2, 3, 4, 5)], [1, 0.6180, 0.5437, 0.5188], atol=1e-4)
    for K in (3, 4, 5):
        for shift, still in ((-0.005, True), (0.005, False)):
            d = model.critical_dilution(K) + shift
            assert np.allclose(settled(K, d), model.hierarchical_amplitudes(K, d), atol=1e-9) == still


def test_laws_are_laws_and_match_sampled_sites():
    M, r, d = 3, 0.4, 0.3
    law = mean_field.learned(2, d, M, r)
    assert law.weight.sum() == pytest.approx(1)
    xi = model.draw_patterns(rng(), 2, 200_000, d)
    v = model.draw_examples(rng(1), xi, M, r).mean(axis=0) / np.sqrt(model.normaliser(M, r))
    n, T = np.array([0.5, 0.2]), 0.3
    s = np.tanh(n @ v / T)
    np.testing.assert_allclose(mean_field.overlaps(law, n, T), (xi * s).mean(axis=1), atol=0.005)
    moved = mean_field.settle(law, n[None], T, limit=1)[0]
    np.testing.assert_allclose(moved, (v * s).mean(axis=1), atol=0.005)
    h = np.abs(n @ v) / T
    assert mean_field.free_energy(law, n, T) == pytest.approx((n @ n) / 2 - T * (h + np.log1p(np.exp(-2 * h))).mean(), abs=0.003)
    assert mean_field.free_energy(law, n, 0.0) == pytest.approx((n @ n) / 2 - np.abs(n @ v).mean(), abs=0.003)
    perfect, stored = mean_field.learned(2, d, M, 1.0), mean_field.stored(2, d)
    np.testing.assert_allclose(mean_field.overlaps(perfect, n, T), mean_field.overlaps(stored, n, T), atol=1e-12)


def test_solutions_are_stationary_points_of_the_free_energy_and_none_found_lies_lower():
    K, d = 3, 0.45
    law, T = mean_field.stored(K, d), 0.55 * np.array([0.1, 0.5, 0.9, 1.2])
    best = mean_field.stable_state(law, K, d, T)
    step = 1e-5
    for m, t in zip(best, T, strict=True):
        slope = [(mean_field.free_energy(law, m + step * e, t) - mean_field.free_energy(law, m - step * e, t)) / (2 * step) for e in np.eye(K)]
        np.testing.assert_allclose(slope, 0, atol=1e-7)
        others = mean_field.settle(law, rng().normal(size=(20, K)) * 0.3, t)
        assert (mean_field.free_energy(law, others, t) >= mean_field.free_energy(law, m, t) - 1e-9).all()
    assert (best[3] < 1e-6).all() and best[2, 0] > 0.05


def test_just_below_Tc_all_overlaps_are_equal_above_two_thirds():
    for d, equal in ((0.6, False), (0.73, True)):
        m = mean_field.stable_state(mean_field.stored(3, d), 3, d, np.array([0.97 * (1 - d)]))[0]
        assert (m[2] > 0.999 * m[0]) == equal and m[0] > 0.01


# ---- learning ----


def test_one_pattern_is_learned_as_the_binomial_says_by_equations_and_monte_carlo():
    config = Config(N_learning=20_000)
    for M, expected in ((1, 0.35), (3, 0.481), (11, 0.652)):
        rows = run(config, {"experiment": "learning", "K": 1, "M": M, "d": 0.3, "r": 0.5}, (1000, 1001), "cpu")
        assert rows[0]["theory"][0] == pytest.approx(expected, abs=1e-3)
        for row in rows:
            for rule in ("supervised", "unsupervised"):
                assert abs(row[rule][0] - expected) < 3 / np.sqrt(20_000) + 0.01
    many = mean_field.learned(1, 0.3, 301, 0.05)
    m = mean_field.overlaps(many, mean_field.settle(many, np.array([[0.5]]), 0.0), 0.0)[0, 0]
    assert m == pytest.approx(model.lone_overlap(0.3, model.entropy(301, 0.05)), rel=0.01)
    assert model.lone_overlap(0.3, 1.0) == pytest.approx(0.7 * model.LEARNED) == pytest.approx(0.7 * erf(np.sqrt(0.5)))


def test_both_rules_follow_the_equations_with_three_patterns():
    rows = run(Config(N_learning=20_000), {"experiment": "learning", "K": 3, "M": 11, "d": 0.3, "r": 0.5}, (1000, 1001), "cpu")
    for row in rows:
        for rule in ("supervised", "unsupervised"):
            np.testing.assert_allclose(row[rule], row["theory"], atol=0.05)


def test_each_rule_and_each_seed_has_its_own_network_and_batching_changes_nothing():
    config, condition = Config(N_learning=400), {"experiment": "learning", "K": 3, "M": 5, "d": 0.3, "r": 0.5}
    rows = run(config, condition, (1000, 1001), "cpu")
    for seed, row in zip((1000, 1001), rows, strict=True):
        xi = model.draw_patterns(numpy_rng(seed, "patterns"), 3, 400, 0.3)
        eta = model.draw_examples(numpy_rng(seed, "examples"), xi, 5, 0.5)
        s = model.hierarchical_spins(numpy_rng(seed, "start"), xi)
        for rule in (model.supervised, model.unsupervised):
            by_hand = quench_many(rule(eta, 0.5).A[None], s[None], 200, 10)[0][0]
            np.testing.assert_allclose(row[rule.__name__], xi @ by_hand / 400, atol=1e-6)
    assert (rows[0]["supervised"] != rows[0]["unsupervised"]).any()
    warm = {"experiment": "descent", "K": 3, "d": 0.8}
    small = Config(N=400, descent_sweeps=5)
    np.testing.assert_allclose(run(small, warm, (1000, 1001), "cpu")[1]["losses"], run(small, warm, (1001,), "cpu")[0]["losses"], atol=0.02)


# ---- the experiments' own searches ----


def test_the_search_for_the_critical_dilution_ends_at_the_derived_one():
    row = run(Config(N_large=20_000), {"experiment": "critical", "K": 3}, (1000,), "cpu")[0]
    assert row["theory"] == pytest.approx(model.critical_dilution(3), abs=2e-3)
    assert row["critical_dilution"] == pytest.approx(model.critical_dilution(3), abs=0.02)


def test_the_search_for_the_onset_of_equality_ends_at_two_thirds():
    assert run(Config(), {"experiment": "onset", "K": 3}, (1000,), "cpu")[0]["onset"] == pytest.approx(2 / 3, abs=0.01)


# ---- from trials to claims ----


def test_bisection_and_order():
    np.testing.assert_allclose(bisect(lambda d: d < np.array([0.61, 0.5]), np.full(2, 0.4), np.full(2, 0.8), 12), [0.61, 0.5], atol=1e-4)
    np.testing.assert_array_equal(descending(np.array([0.1, -0.5, 0.3])), [0.5, 0.3, 0.1])


def test_planted_thresholds_laws_and_deviations_are_recovered():
    rows = []
    for seed in (0, 1):
        for M in (1, 3, 9, 27, 81):
            m = {"supervised": model.lone_overlap(0.3, 9 / M), "unsupervised": model.lone_overlap(0.3, 18 / M), "theory": model.lone_overlap(0.3, 9 / M) - 0.07}
            rows.append({"experiment": "learning", "seed": seed, "K": 2, "d": 0.3, "r": 0.2, "M": M} | {name: np.array([value]) for name, value in m.items()})
    assert claims.threshold_ratio(pd.DataFrame(rows)).tolist() == pytest.approx([np.log(2)] * 2, abs=0.08)
    supervised_only = pd.DataFrame(rows).assign(unsupervised=lambda t: t.supervised)
    np.testing.assert_allclose(claims.learning_deviation(supervised_only), 0.1)
    amplitudes = [{"experiment": "amplitudes", "seed": s, "K": 4, "d": 0.5, "overlaps": 0.7 * 0.25 ** np.arange(4)} for s in (0, 1)]
    np.testing.assert_allclose(claims.geometric_law(pd.DataFrame(amplitudes)), 2)
    point = {"experiment": "thermal", "start": "hierarchical", "K": 3, "followed": np.zeros(3), "seed": 0}
    deviating = pd.DataFrame([point | {"overlaps": np.full(3, 0.3)}, point | {"overlaps": np.full(3, 0.4)}])
    np.testing.assert_allclose(claims.monte_carlo_deviation(deviating), np.sqrt((0.09 + 0.16) / 2))


def test_planted_rows_give_every_other_claim_its_value_and_sign():
    """Rows of other conditions lie beside them, with values that would show."""
    one = {"seed": 0, "N": 100, "K": 3, "T": 0.5}
    thermal = one | {"experiment": "thermal", "start": "random"}
    rows = [
        thermal | {"d": 0.8, "N": 10, "overlaps": np.array([1.0, 0.5, 0.1])},
        thermal | {"d": 0.8, "start": "hierarchical", "overlaps": np.array([1.0, 0.5, 0.2])},
        thermal | {"d": 0.8, "overlaps": np.array([0.2, 0.18, 0.15])},
        thermal | {"d": 0.0, "overlaps": np.array([0.9, 0.09, 0.01])},
        *({"experiment": "critical", "seed": 0, "K": K, "critical_dilution": value} for K, value in ((3, 0.62), (4, 0.54), (5, 0.5))),
        *({"experiment": "onset", "seed": 0, "K": K, "onset": value} for K, value in ((3, 0.66), (5, 0.7))),
        {"experiment": "descent", "seed": 0, "K": 3, "d": 0.3, "losses": np.ones((3, 3))},
        {"experiment": "descent", "seed": 0, "K": 3, "d": 0.8, "losses": np.array([[1.0, 0.9, 1.0], [0.0, 0.0, 0.0], [0.1, 0.3, 0.2]])},
    ]
    for M in (1, 3, 5, 11, 25, 51, 101):
        gap = 0.07 * (M in (3, 5)) + 7 * (M in (1, 51))  # only the claim's M count
        both = {"supervised": np.array([0.5 + gap, 0]), "unsupervised": np.array([0.5, 0])}
        rows.append({"experiment": "learning", "seed": 0, "K": 3, "d": 0.3, "r": 0.5, "M": M} | both)
        alone = {"supervised": np.ones(1), "unsupervised": np.array([model.lone_overlap(0.3, 2 * model.entropy(M, 0.2))])}  # learned at half the entropy
        rows.append({"experiment": "learning", "seed": 0, "K": 1, "d": 0.3, "r": 0.2, "M": M} | alone)
    trials = pd.DataFrame(rows)
    wanted = (
        (claims.parallel, 0.75), (claims.undiluted, 0.1), (claims.critical_dilution, 0.62), (claims.critical_dilution_fall, 0.08), (claims.onset, 0.66),
        (claims.loss_fall, 0.6), (claims.teacher_effect, 0.04), (claims.threshold_entropy, np.log(2)),
    )  # fmt: skip
    for measured, value in wanted:
        assert measured(trials).tolist() == pytest.approx([value], abs=0.03 if measured is claims.threshold_entropy else 1e-6), measured.__name__


def test_a_miniature_of_every_experiment_gives_rows_and_depends_on_the_seed():
    config = Config(
        N=1000, N_large=1000, patterns=(3,), dilutions=(0.8,), law_K=3, critical_patterns=(3,), bisections=3, phase_patterns=(3,), phase_points=2,
        thermal_dilutions=(0.8,), thermal_temperatures=(0.5,), burn_in=20, averaged=20, N_learning=1000, learning_patterns=(1,), threshold_K=1, examples=(3,),
        qualities=(0.2,), learning_dilutions=(0.3,), descent_sweeps=40,
    )  # fmt: skip
    for condition in {condition["experiment"]: condition for condition in conditions(config)}.values():
        first, second = run(config, condition, (1000, 1001), "cpu")
        assert not set(first) & set(condition) and all(np.isfinite(value).all() for value in first.values())
        if condition["experiment"] not in ("phase", "onset", "critical"):
            assert any(np.any(first[name] != second[name]) for name in first)
        if condition["experiment"] == "descent":
            assert first["energy"][-1] < 5 * first["energy"][0] and first["losses"].shape == (41, 3)
            assert (first["losses"][0] > 0.7).all() and (first["losses"][-1] < first["losses"][0]).all()
