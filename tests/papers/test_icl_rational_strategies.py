"""The strategies, the distances, the complexities, the hierarchical model and its fit in closed form; a miniature of the experiment."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from papers.icl_rational_strategies import claims, fit, model, replicate, transformer
from papers.icl_rational_strategies.model import Learner, Strategies
from papers.icl_rational_strategies.replicate import Config, checkpoint_steps, conditions, repeat, run, total_variation
from shared.engine import NotRun
from shared.icl.urns import draw_sequences
from shared.lms.jax_model import init


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def some_urns(D: int, V: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(V), D)


def some_ids(urns: np.ndarray, n: int, C: int, seed: int = 0) -> np.ndarray:
    return np.asarray(draw_sequences(jax.random.key(seed), jnp.asarray(urns), n, C))


memorising = jax.jit(model.memorising)  # compiled once for a shape
several_draws = jax.jit(jax.vmap(lambda key, theta: draw_sequences(key, theta[None], 1, 16)[0]))


# ---- strategies ----


def test_generalising_is_the_dirichlet_posterior_mean_and_even_before_any_draw():
    predictions = np.asarray(model.generalising(jnp.array([[2, 2, 0, 1]]), 3))[0]
    np.testing.assert_allclose(predictions, [[1 / 3] * 3, [1 / 4, 1 / 4, 2 / 4], [1 / 5, 1 / 5, 3 / 5], [2 / 6, 1 / 6, 3 / 6]])


def test_memorising_is_bayes_rule_by_hand():
    predictions = np.asarray(model.memorising(jnp.array([[0, 0, 1]]), jnp.array([[0.9, 0.1], [0.2, 0.8]])))[0]
    after_two = 0.81 / (0.81 + 0.04)
    first = [(0.9 + 0.2) / 2, (0.81 + 0.04) / (0.9 + 0.2), after_two * 0.9 + (1 - after_two) * 0.2]
    np.testing.assert_allclose(predictions[:, 0], first)
    np.testing.assert_allclose(predictions.sum(-1), 1)


def test_memorising_one_urn_is_that_urn():
    urns = some_urns(1, 4)
    np.testing.assert_allclose(memorising(jnp.asarray(some_ids(urns, 3, 6)), jnp.asarray(urns)), np.broadcast_to(urns, (3, 6, 4)))


def test_memorising_very_many_urns_is_generalising():
    urns = jnp.asarray(some_urns(20_000, 3))
    ids = jnp.asarray(some_ids(urns, 20, 30))
    assert model.kl(model.generalising(ids, 3), model.memorising(ids, urns)).mean() < 0.01


def test_each_strategy_wins_on_its_own_ground():
    for D in (4, 16, 64):
        urns = some_urns(64, 6)[:D]
        for chosen, better in ((urns, "M"), (some_urns(1000, 6, seed=1), "G")):
            theta = chosen[np.random.default_rng(2).integers(len(chosen), size=1000)]
            ids = several_draws(jax.random.split(jax.random.key(D), 1000), jnp.asarray(theta))
            known = np.tile(urns, (64 // D, 1))  # one shape for all D
            loss_M, loss_G = (np.asarray(model.kl(theta[:, None], Q)).mean() for Q in (memorising(ids, known), model.generalising(ids, 6)))
            assert (loss_M < loss_G) == (better == "M")


def test_repeating_the_urns_changes_nothing_for_the_memorising():
    urns = jnp.asarray(some_urns(16, 5))
    ids = jnp.asarray(some_ids(urns, 4, 7))
    assert repeat(urns, 4).shape == urns.shape
    np.testing.assert_allclose(memorising(ids, repeat(urns, 4)), memorising(ids, urns[:4]))


# ---- distances ----


@functools.cache
def some_strategies() -> tuple[np.ndarray, np.ndarray]:
    """M and G, (2 diversities, 5 sequences, 8 draws, 4 symbols)."""
    with jax.enable_x64(True):
        urns = some_urns(6, 4)
        ids = jnp.asarray(some_ids(urns, 5, 8))
        M = np.stack([memorising(ids, jnp.asarray(urns[:D])) for D in (3, 6)])
        return M, np.stack([model.generalising(ids, 4)] * 2)


def test_kl_is_not_symmetric_and_the_distance_is():
    P, Q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    np.testing.assert_allclose(model.kl(P, Q), 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1))
    both = (model.kl(P, Q) + model.kl(Q, P)) / 2
    np.testing.assert_allclose(model.distance(P[None, None], Q[None, None]), both)
    np.testing.assert_allclose(model.distance(Q[None, None], P[None, None]), both)


def test_the_observed_weight_is_one_at_M_and_nought_at_G_and_grows_between():
    M, G = some_strategies()
    ws = np.linspace(0, 1, 11)
    observed = np.stack([model.observed_weight(w * M + (1 - w) * G, M, G) for w in ws])
    np.testing.assert_allclose(observed[0], 0, atol=1e-12)
    np.testing.assert_allclose(observed[-1], 1)
    assert (np.diff(observed, axis=0) > 0).all()
    beyond = 1.02 * G - 0.02 * M  # on the far side of G
    assert (model.distance(beyond, M) - model.distance(beyond, G) > model.distance(G, M)).all()
    np.testing.assert_array_equal(model.observed_weight(beyond, M, G), 0)


def test_total_variation_is_half_the_sum_of_differences():
    T = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])[None, None, None]
    Q = np.array([[0.0, 1.0, 0.0], [0.3, 0.2, 0.5]])[None, None, None]
    np.testing.assert_allclose(total_variation(T, Q), [[(1 + 0.1) / 2]])


def test_the_best_weight_is_found():
    M, G = some_strategies()
    w = np.array([[0.13, 0.9], [0.5, 0.02]])
    T = model.mix(jnp.asarray(w), M, G)
    np.testing.assert_allclose(model.best_weight(T, M, G), w, atol=2e-5)
    beyond = np.stack([M, G])  # the best weights are at the ends
    np.testing.assert_allclose(model.best_weight(beyond, M, G), [[1, 1], [0, 0]], atol=2e-5)
    other = np.random.default_rng(0).dirichlet(np.ones(4), size=(1, *M.shape[:-1]))
    grid = np.linspace(0, 1, 401)
    losses = np.stack([model.kl(other, model.mix(jnp.full((1, 2), g), M, G)).mean((-2, -1)) for g in grid])
    np.testing.assert_allclose(model.best_weight(other, M, G), grid[losses.argmin(axis=0)], atol=3e-3)


def test_the_threshold_waits_for_the_slowest_diversity():
    to_best = np.array([[1.0, 2.0], [0.3, 1.5], [0.19, 1.1], [0.0, 0.39], [0.1, 0.0]])
    assert model.interpolation_threshold(to_best) == 3
    assert model.interpolation_threshold(to_best + 1) == 3  # 20 % of the range, not of the largest
    assert model.interpolation_threshold(to_best[:, :1]) == 2


def test_an_untrained_transformer_is_dropped():
    """Even predictions are far from every mixture; a checkpoint of a mixture follows."""
    M, G = some_strategies()
    T = jnp.stack([jnp.full_like(M, 1 / 4), 0.5 * M + 0.5 * G])
    w = model.best_weight(T, M, G)
    assert model.interpolation_threshold(np.asarray(model.kl(T, model.mix(w, M, G)).mean((-2, -1)))) == 1


# ---- complexity ----


def test_the_urns_cost_64_bits_a_number_and_hardly_compress():
    urns = some_urns(256, 8)
    bits = np.array([model.complexity_M(urns[:D]) for D in (64, 128, 256)])
    per_number = np.diff(bits) / (8 * np.array([64, 128]))
    assert ((per_number > 55) & (per_number <= 65)).all()
    assert bits[0] > model.table_bits(urns[:64]) and model.complexity_G(8) > model.table_bits(np.ones((1, 8)))  # the programs count
    assert model.complexity_G(8) < bits[0] / 10


def test_what_repeats_is_cheap():
    assert model.table_bits(np.tile(some_urns(1, 8), (100, 1))) < model.table_bits(some_urns(100, 8)) / 20
    walk = (np.arange(1000, dtype=np.uint64) * np.uint64(2**40 + 12345)).view(np.float64)[None]
    assert model.table_bits(walk) < model.compressed_bits(walk.tobytes()) / 10  # equal differences of the bit patterns


# ---- the hierarchical model ----


def known(**changes) -> Strategies:
    values = {"loss_M": [0.02, 0.05], "loss_G": [0.1, 0.12], "bits_M": [2000.0, 9000.0], "bits_G": [600.0, 600.0]} | changes
    return Strategies(**{name: jnp.asarray(value) for name, value in values.items()})


def test_the_log_posterior_of_a_strategy_by_hand():
    got = model.log_posterior(Learner(0.25, 0.25, 3.0, 2.0), jnp.array([16.0]), jnp.array([0.1]), jnp.array([256.0]))
    np.testing.assert_allclose(got, [[-3 * 8 * 0.1 - np.log(2) * 2 * 4]])


def test_posterior_weights_sum_to_one_and_are_even_without_evidence_or_complexity():
    N = jnp.array([10.0, 1000.0])
    np.testing.assert_allclose(model.posterior(Learner(0.6, 0.2, 0.85), N, known()).sum(0), 1)
    np.testing.assert_allclose(model.posterior(Learner(0.6, 0.2, 0.0), N, known(bits_M=[600.0, 600.0])), 0.5)


def test_log_odds_are_linear_in_a_power_of_the_steps():
    learner, N = Learner(0.6, 0.2, 0.85), jnp.array([10.0, 200.0, 3000.0])
    w_M, w_G = model.posterior(learner, N, known())
    slopes = np.diff(np.log(w_M / w_G), axis=0) / np.diff(N**0.4)[:, None]
    np.testing.assert_allclose(slopes, np.broadcast_to(0.85 * np.array([0.08, 0.07]), (2, 2)))


def test_the_complex_strategy_starts_behind_and_wins_where_it_predicts_better():
    w_M = model.posterior(Learner(0.3, 0.2, 1.0), jnp.array([1e-6, 1e6]), known())[0]
    assert (w_M[0] < 0.5).all() and (w_M[1] > 0.5).all() and w_M[0, 1] < w_M[0, 0]


# ---- the fit ----


def some_cells(learner: Learner) -> fit.Cells:
    M, G = some_strategies()
    N = jnp.asarray(np.linspace(5, 60, 12) ** 2)
    T = model.mix(model.posterior(learner, N, known())[0], M, G)
    return fit.Cells(N, known(), T, jnp.asarray(M), jnp.asarray(G))


def test_the_fit_finds_the_learner_that_made_the_data_and_ablations_do_not():
    truth = Learner(0.55, 0.22, 1.3)
    cells = some_cells(truth)
    found = {name: fit.fit(cells, fit.FIXED[name]) for name in ("full", "linear_evidence", "linear_complexity")}
    np.testing.assert_allclose(found["full"], truth, rtol=0.1)
    losses = {name: float(fit.loss(learner, cells)) for name, learner in found.items()}
    assert losses["full"] < 1e-6 < min(losses["linear_evidence"], losses["linear_complexity"])
    assert found["linear_evidence"].alpha == 0 and found["linear_complexity"].beta == 1


def test_the_divergence_is_that_of_the_transformer_from_the_mixture():
    cells = some_cells(Learner(0.55, 0.22, 1.3))
    w = jnp.full((12, 2), 0.25)
    Q = 0.25 * cells.M + 0.75 * cells.G
    np.testing.assert_allclose(fit.divergence(w, cells), (cells.T * np.log(cells.T / Q)).sum(-1).mean())


def test_the_constant_is_the_best_one():
    cells = some_cells(Learner(0.55, 0.22, 1.3))
    w = fit.fit_constant(cells)
    losses = [float(fit.mean_divergence(jnp.full((12, 2), w + step), cells)) for step in (-0.01, 0.0, 0.01)]
    assert losses[1] < min(losses[0], losses[2])


def test_a_corner_holds_the_first_checkpoints_and_diversities():
    cells = some_cells(Learner(0.55, 0.22, 1.3)).corner(9, 1)
    assert cells.T.shape[:2] == (9, 1) and cells.M.shape[0] == cells.known.bits_M.shape[0] == 1


# ---- the Transformer ----


def test_a_prediction_depends_on_earlier_draws_only():
    config = transformer.neox(5, 7, 16, 4.0)
    params = jax.tree.map(lambda p: 3 * p, init(jax.random.key(0), config))
    ids = jnp.array([[0, 1, 2, 3, 4, 0, 1], [0, 1, 2, 4, 4, 0, 1]])
    a, b = np.exp(transformer.log_predictions(params, config, ids))
    np.testing.assert_allclose(a.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(a[:4], b[:4])
    assert (np.abs(a[4:] - b[4:]).max(-1) > 1e-4).all()


# ---- claims ----


def row(**values) -> pd.DataFrame:
    return pd.DataFrame([{"V": 8, "C": 16, "mlp": 4.0, "seed": 0} | values])


def test_switch_times_and_their_slope():
    w = np.array([[0.2, 0.2, 0.1, 0.2, 0.0], [0.9, 0.1, 0.1, 0.1, 0.0], [0.9, 0.6, 0.3, 0.2, 0.0], [1.0, 0.9, 0.5, 0.2, 0.1], [1, 1, 0.4, 0.7, 0.1]])
    trials = row(w_id=w, steps=np.array([5.0, 10, 40, 160, 640]), diversities=np.array([4.0, 8, 16, 32, 64]))
    D, t = claims.switch_times(trials.iloc[0])
    np.testing.assert_array_equal(D, [4, 8, 16, 32])  # 64 never does
    np.testing.assert_array_equal(t, [10, 40, 160, 640])
    np.testing.assert_allclose(claims.switch_slope(trials), 2)
    trials.at[0, "w_id"] = w[:3]
    with pytest.raises(NotRun):
        claims.switch_slope(trials)


def test_transience_is_what_is_lost_after_the_best_checkpoint():
    np.testing.assert_allclose(claims.transience(row(ood_kl_transient=np.array([0.9, 0.2, 0.5]))), 0.3)
    np.testing.assert_allclose(claims.transience(row(ood_kl_transient=np.array([0.9, 0.5, 0.2]))), -0.3)


def test_an_ablation_counts_by_the_better_of_the_two_and_the_threshold_from_few_urns_to_many():
    trials = row(divergence_full=0.1, divergence_linear_evidence=0.4, divergence_linear_complexity=0.3, w_id=np.array([[0.1, 0.5, 0.6], [0.9, 0.5, 0.2]]))
    np.testing.assert_allclose(claims.ablation_gap(trials), 0.2)
    np.testing.assert_allclose(claims.diversity_threshold(trials), 0.7)


def test_the_simplest_setting_is_the_one_that_is_judged():
    grid = pd.DataFrame([{"V": V, "C": C, "mlp": mlp, "seed": seed} for V in (8, 12) for C in (16, 32) for mlp in (0.5, 4.0, 8.0) for seed in (0, 1)])
    rows = claims.one_setting(grid)
    assert list(rows.index) == [0, 1] and set(zip(rows.V, rows.C, rows.mlp, strict=True)) == {(8, 16, 4.0)}


# ---- the experiment ----

MINIATURE = Config(
    diversities=(2, 8), transience_diversity=8, contexts=(8,), width=8, steps=60, warmup=5, checkpoints=6, evaluation_sequences=8, strategy_sequences=50
)


def test_checkpoints_are_even_in_the_root_of_the_step():
    steps = checkpoint_steps(Config())
    assert (steps[0], steps[-1], len(steps)) == (20, 7000, 50)
    assert np.ptp(np.diff(np.sqrt(steps))) < 0.1


def test_learners_that_memorise_their_own_urns_and_generalise_elsewhere_are_found_so(monkeypatch):
    """In place of training, M of the urns that each run is trained on answers the ID sequences and G the OOD ones: runs or seeds mixed up would show."""

    def train_many(step, measure, steps, state, stream):
        assert len({tuple(jax.random.key_data(key).tolist()) for key in stream.key}) == 4
        known = jnp.stack([memorising(ids, urns) for ids, urns in zip(stream.evaluation.in_distribution, stream.urns, strict=True)])
        fresh = jnp.stack([model.generalising(ids, 8) for ids in stream.evaluation.out_of_distribution])
        both = {"in_distribution": known, "out_of_distribution": fresh}
        return state, {name: jnp.repeat(values[:, None], len(steps), axis=1) for name, values in both.items()}

    monkeypatch.setattr(replicate, "train_many", train_many)
    monkeypatch.setattr(fit, "fit", lambda cells, fixed: fit.OFFICIAL_START)
    with jax.enable_x64(False), np.errstate(invalid="ignore"):  # equal weights have no correlation
        rows = run(MINIATURE, conditions(MINIATURE)[0], (0, 1), "cpu")
    for r in rows:
        np.testing.assert_allclose(r["w_id"], 1, atol=1e-4)
        np.testing.assert_allclose(r["w_ood"], 0, atol=1e-4)
        np.testing.assert_allclose(r["ood_kl"], np.broadcast_to(r["ood_kl_G"], (6, 2)), rtol=1e-4)
        assert (r["loss_gap"] > 0).all() and (np.diff(r["bits_M"]) > 0).all() and (r["bits_M"] > r["bits_G"]).all()
        assert (r["ood_kl_M"] > r["ood_kl_G"]).all()


def test_a_miniature_gives_rows(monkeypatch):
    fitted_on, plain_fit = [], fit.fit
    monkeypatch.setattr(fit, "fit", lambda cells, fixed: fitted_on.append(cells.T.shape[:2]) or plain_fit(cells, fixed))
    with jax.enable_x64(False):
        rows = run(MINIATURE, conditions(MINIATURE)[0], (0, 1), "cpu")
    assert [r["w_id"].shape for r in rows] == [(6, 2)] * 2
    assert not np.array_equal(rows[0]["w_id"], rows[1]["w_id"])
    corners = [(round(0.8 * (6 - r["first_kept"])), 2) for r in rows for _ in fit.FIXED]
    assert fitted_on == corners  # the last checkpoints are held out
    for r in rows:
        assert all(np.isfinite(np.asarray(value, float)).all() for value in r.values())
        assert r["divergence_random"] > r["least_divergence"] - 1e-9 and r["divergence_full"] >= r["least_divergence"] - 1e-6
        assert (r["w_predicted"] >= 0).all() and (r["w_predicted"] <= 1).all()
        assert (r["distance_to_best"][-1] < r["distance_to_best"][0]).all()  # it learns
        kept = slice(r["first_kept"], None)
        np.testing.assert_allclose(r["correlation_id"], np.corrcoef(r["w_predicted"][kept].ravel(), r["w_id"][kept].ravel())[0, 1], rtol=1e-4)
