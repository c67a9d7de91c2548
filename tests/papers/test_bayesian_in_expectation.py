"""Bayesian in expectation: exact Bayes in closed form, exchangeability of the networks, the measures against plain versions, claims on planted trials."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from papers.bayesian_in_expectation import claims, model, replicate, theory
from papers.bayesian_in_expectation.replicate import Config, Network, conditions, make_network, predict_behind, probe, run, train
from shared.engine.errors import RequestError
from shared.lms import jax_model


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def doubles(params):
    return jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), params)


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # compiling takes most of the time of these tests
log_predictive = jax.jit(model.log_predictive, static_argnums=1, compiler_options=QUICK)
mean_pool = jax.jit(model.log_predictive_mean_pool, compiler_options=QUICK)


def untrained(encoding: str, layers: int = 1, T: int = 12):
    """A network far from its small initial weights, so that attention is not uniform."""
    config = model.transformer(2, T, encoding, layers, 16, 2)
    params = jax.jit(model.init_params, static_argnums=1, compiler_options=QUICK)(jax.random.key(0), config)
    params = doubles(params)
    return config, params | {
        "layers": jax.tree.map(lambda w: 15 * w if w.ndim == 2 else w, params["layers"]),
        "head": {"weight": 30 * params["head"]["weight"]},
    }


# ---- exact Bayes ----


@pytest.mark.parametrize(("n", "risk"), [(20, 0.52162), (50, 0.50937), (100, 0.50483)])
def test_bayes_risk_of_a_coin(n, risk):
    p = (np.arange(n + 1) + 1) / (n + 2)
    assert theory.count_risk(n) == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean(), abs=1e-12)
    assert theory.count_risk(n) == pytest.approx(risk, abs=5e-6)


@pytest.mark.parametrize("V", [2, 3, 4])
def test_count_risk_is_the_mean_over_all_count_vectors_and_falls_to_the_source_entropy(V):
    for n, alpha in itertools.product((1, 6), (1.0, 0.5)):
        counts = theory.compositions(n, V)
        direct = theory.cross_entropy(theory.laplace(counts), theory.laplace(counts, alpha)).mean()
        assert theory.count_risk(n, V, alpha) == pytest.approx(direct)
    assert theory.count_risk(9, V, 0.5) > theory.count_risk(9, V) > theory.count_risk(99, V) > theory.source_entropy(V)
    theta = rng().dirichlet(np.ones(V), 200_000)
    assert theory.source_entropy(V) == pytest.approx(theory.cross_entropy(theta, theta).mean(), abs=2e-3)


def test_laplace_is_the_posterior_mean_by_integration():
    p = (np.arange(100_000) + 0.5) / 100_000
    for tails, heads in ((0, 0), (3, 7), (10, 0)):
        likelihood = p**heads * (1 - p) ** tails
        assert theory.laplace(np.array([tails, heads]))[1] == pytest.approx((likelihood * p).sum() / likelihood.sum(), rel=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_exact_bayes_is_a_martingale_without_order_variance_and_a_forgetful_predictor_is_neither(alpha):
    ids = theory.prefixes(rng(), 9, 3, 20)

    def bayes(ids):
        return theory.laplace(np.stack([(ids == v).sum(-1) for v in range(3)], axis=-1), alpha)

    def gap(predict):
        after = np.stack([predict(np.pad(ids, ((0, 0), (0, 1)), constant_values=v)) for v in range(3)], axis=1)
        return theory.martingale_gap(predict(ids), after)

    np.testing.assert_allclose(gap(bayes), 0, atol=1e-15)
    assert theory.order_variance(bayes(theory.reordered(rng(), ids, 8))[..., -1]).max() == 0
    assert gap(lambda ids: 0.5 * bayes(ids) + 0.5 * bayes(ids[..., -3:])).mean() > 0.01


def test_martingale_gap_by_hand():
    q, after = np.array([[0.4, 0.6]]), np.array([[[0.7, 0.3], [0.2, 0.8]]])
    np.testing.assert_allclose(theory.martingale_gap(q, after), abs(0.6 - (0.6 * 0.8 + 0.4 * 0.3)))


def test_compositions_are_all_count_vectors_once():
    np.testing.assert_array_equal(theory.compositions(3, 2), [[0, 3], [1, 2], [2, 1], [3, 0]])
    counts = theory.compositions(5, 4)
    assert (counts.sum(axis=1) == 5).all() and (counts >= 0).all() and len(np.unique(counts, axis=0)) == len(counts) == math.comb(8, 3)


def test_prefixes_have_every_number_of_heads_equally_often_and_orders_keep_counts_and_the_last_symbol():
    ids = theory.prefixes(rng(), 6, 2, 20)
    np.testing.assert_array_equal(np.bincount(ids.sum(axis=1)), np.full(7, 3))
    many = theory.reordered(rng(), ids, 5)
    assert (many.sum(-1) == ids.sum(-1)[:, None]).all() and (many[..., -1] == ids[:, None, -1]).all() and (many != ids[:, None]).any()
    drawn = theory.prefixes(rng(), 4, 3, 14)  # fewer than the 15 count vectors: drawn at random
    assert drawn.shape == (14, 4)
    first = np.concatenate([theory.prefixes(rng(i), 4, 3, 14) for i in range(300)])
    share = np.bincount((first == 0).sum(axis=1)) / len(first)
    np.testing.assert_allclose(share, np.array([5, 4, 3, 2, 1]) / 15, atol=0.03)


def test_streams_are_coins_of_uniform_bias():
    ids = np.asarray(jax.jit(model.draw_streams, static_argnums=(1, 2, 3), compiler_options=QUICK)(jax.random.key(0), 2, 4000, 4))
    np.testing.assert_allclose(np.bincount(ids.sum(axis=1)) / 4000, 0.2, atol=0.03)  # h is uniform on 0 .. 4


# ---- exchangeability of networks ----


def spread_over_orders(predict, n: int = 8) -> float:
    ids = theory.reordered(rng(), theory.prefixes(rng(1), n, 2, 18), 6)
    return float(np.ptp(np.exp(np.asarray(predict(jnp.asarray(ids))))[..., -1, 1], axis=1).max())


def test_one_layer_without_positions_is_exchangeable_and_everything_else_is_not():
    with jax.enable_x64(True):
        spreads = {}
        for encoding, layers in [("none", 1), ("none", 2), *((encoding, 1) for encoding in model.POSITIONAL)]:
            config, params = untrained(encoding, layers)
            spreads[encoding, layers] = spread_over_orders(lambda ids, params=params, config=config: log_predictive(params, config, ids))
        assert spreads.pop(("none", 1)) < 1e-14
        assert min(spreads.values()) > 1e-5, spreads


def test_mean_pool_is_exchangeable_in_all_symbols_and_is_the_plain_formula():
    with jax.enable_x64(True):
        params = doubles(model.init_mean_pool(jax.random.key(0), 2, 8))
        params["out"]["weight"] = 30 * params["out"]["weight"]
        assert spread_over_orders(lambda ids: mean_pool(params, ids)) == 0
        ids = jnp.array([0, 1, 1])
        np.testing.assert_array_equal(mean_pool(params, ids)[-1], mean_pool(params, ids[::-1])[-1])
        pooled = (params["phi"][2] + params["phi"][0] + 2 * params["phi"][1]) / 4
        scores = params["out"]["weight"] @ jax.nn.gelu(params["hidden"]["weight"] @ pooled)
        np.testing.assert_allclose(mean_pool(params, ids)[-1], jax.nn.log_softmax(scores), atol=1e-12)


def test_rotary_at_equal_positions_and_alibi_without_slope_are_no_encoding():
    with jax.enable_x64(True):
        none, params = untrained("none", 2)
        rotary, alibi = (model.transformer(2, 12, encoding, 2, 16, 2) for encoding in ("rotary", "alibi"))
        ids = jnp.asarray(theory.prefixes(rng(), 8, 2, 9))
        plain = log_predictive(params, none, ids)
        turned = log_predictive(params, rotary, ids, token_positions=jnp.full(9, 5))
        flat = log_predictive(params, replace(alibi, slopes=(0.0, 0.0)), ids)
        np.testing.assert_allclose(turned, plain, atol=1e-6)  # the kit's angles are float32
        np.testing.assert_allclose(flat, plain, atol=1e-12)
        assert np.abs(log_predictive(params, rotary, ids) - plain).max() > 1e-3
        assert np.abs(log_predictive(params, alibi, ids) - plain).max() > 1e-3


def test_predictions_read_bos_and_the_prefix_alone_and_give_bos_no_share():
    with jax.enable_x64(True):
        config, params = untrained("rotary", 2)
    params = jax.tree.map(lambda w: w.astype(jnp.float32), params)
    ids = jnp.asarray(rng().integers(0, 2, (5, 8)))
    log_q = log_predictive(params, config, ids)
    assert log_q.shape == (5, 9, 2)
    np.testing.assert_allclose(np.exp(log_q).sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(log_q[:, :5], log_predictive(params, config, ids[:, :4]), atol=1e-4)
    assert (np.asarray(model.read(config, ids))[:, 0] == 2).all()
    scores = jax.jit(jax_model.logits, static_argnums=1, compiler_options=QUICK)(params, config, model.read(config, ids))
    np.testing.assert_allclose(log_q[..., 1] - log_q[..., 0], scores[..., 1] - scores[..., 0], atol=1e-4)
    behind = predict_behind(lambda part: log_predictive(params, config, part), 12, np.asarray(ids))
    np.testing.assert_allclose(behind, np.exp(log_q[:, -1]), atol=1e-5)


def test_loss_scores_each_symbol_by_the_prefix_before_it():
    log_q, ids = jnp.log(jnp.array([[[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]])), jnp.array([[1, 1, 0]])
    assert float(model.next_symbol_loss(log_q, ids)) == pytest.approx(-np.log([0.5, 0.8, 0.9]).mean())


# ---- measures ----


def test_jensen_gap_is_the_plain_formula_and_never_negative():
    q, p = rng().dirichlet(np.ones(2), (6, 5)), rng(1).dirichlet(np.ones(2), 6)
    gap = theory.jensen_gap(p, q)
    for i in range(6):
        each = sum(p[i, y] * (np.mean([-math.log(x) for x in q[i, :, y]]) + math.log(q[i, :, y].mean())) for y in range(2))
        assert gap[i] == pytest.approx(each)
    assert (gap > 0).all()
    np.testing.assert_allclose(theory.jensen_gap(p, np.repeat(q[:, :1], 5, axis=1)), 0, atol=1e-15)


def test_means_of_k_independent_orders_have_variance_s2_over_k():
    q = 0.3 + 0.02 * rng().normal(size=(1000, 256))
    for k in (1, 4, 20, 64):
        assert theory.averaging_deviation(q, k) == pytest.approx(0.02 / math.sqrt(k), rel=0.06)
    shared = np.repeat(q[:, :8], 32, axis=1)  # neighbours agree: averaging them buys nothing
    assert theory.averaging_deviation(shared, 32) == pytest.approx(0.02, rel=0.06)


def test_order_variance_and_realization_gap_by_hand():
    q = np.array([[0.1, 0.3], [0.5, 0.5]])
    np.testing.assert_allclose(theory.order_variance(q), [0.02, 0])
    np.testing.assert_allclose(theory.realization_gap(q), [0.1, 0])


def test_share_explained_by_counts():
    counts = np.array([[0, 2], [1, 1], [1, 1], [2, 0]])
    of_counts = np.repeat(counts[:, 1:] * 1.0, 5, axis=1)
    assert theory.explained_by_counts(of_counts, counts) == 1
    noise = rng().normal(size=(4, 5))
    value = of_counts + noise
    within = ((value[0] - value[0].mean()) ** 2).sum() + ((value[1:3] - value[1:3].mean()) ** 2).sum() + ((value[3] - value[3].mean()) ** 2).sum()
    assert theory.explained_by_counts(value, counts) == pytest.approx(1 - within / ((value - value.mean()) ** 2).sum())


def test_fixed_source_risk_of_one_who_knows_the_coin_is_its_entropy():
    q = np.broadcast_to([0.7, 0.3], (11, 4, 2))
    assert theory.fixed_source_risk(q, np.arange(11), 10, 0.3) == pytest.approx(-(0.3 * math.log(0.3) + 0.7 * math.log(0.7)))
    laplace = theory.laplace(np.stack([10 - np.arange(11), np.arange(11)], axis=-1))[:, None]
    draws = rng().binomial(10, 0.3, 100_000)
    direct = theory.cross_entropy(np.array([0.7, 0.3]), laplace[draws, 0]).mean()
    assert theory.fixed_source_risk(laplace, np.arange(11), 10, 0.3) == pytest.approx(direct, abs=2e-3)


def test_laws_are_recovered():
    n = np.array([5, 10, 20, 30, 48])
    for law, f in theory.LAWS.items():
        gap = 0.3 * f(n.astype(float)) * (1 + 0.01 * np.array([1, -1, 1, -1, 1]))
        fits = {other: theory.fit_law(n, gap, other) for other in theory.LAWS}
        assert min(fits, key=lambda other: fits[other].aic) == law
        assert fits[law].scale == pytest.approx(0.3, rel=0.02)
    assert theory.fit_law(n, 0.3 * np.log(n) / n + 0.01, "log n / n", intercept=True).r_squared == pytest.approx(1)
    assert theory.fit_law(n, np.array([1.0, 2, 3, 4, 5]), "log n / n").r_squared < 0


def test_best_chain_of_thought_grows_with_the_root_of_n_and_the_log_of_precision():
    base = {"n": 100, "alpha": 2.0, "H_cot": 1.5, "B0": 3.0, "B_opt": 1.0, "eps": 0.25}
    k = theory.best_cot_length(**base)
    assert k == pytest.approx(math.sqrt(200 / 3) * 2)
    assert theory.best_cot_length(**base | {"n": 200}) == pytest.approx(math.sqrt(2) * k)
    assert theory.best_cot_length(**base | {"eps": 0.25**2}) == pytest.approx(2 * k)
    assert theory.best_cot_length(**base | {"H_cot": 6.0}) == pytest.approx(k / 2)


def test_probe_reads_counts_that_are_there_and_none_that_are_not():
    streams = theory.prefixes(rng(), 20, 2, 400)
    streams = rng(1).permutation(streams)
    n = np.arange(1, 21)
    frequency = np.pad(np.cumsum(streams, axis=1) / n, ((0, 0), (1, 0)))
    states = np.stack([frequency[..., None], rng(2).normal(size=(len(streams), 21, 1))])
    scores = probe(states, streams, 2)
    assert scores["probe_frequency"][0] == pytest.approx(1) and abs(scores["probe_frequency"][1]) < 0.02
    assert 0.8 < scores["probe_log_odds"][0] < 1


def recent(ids):
    """A predictor that forgets: Laplace's rule on draws weighted by 0.8^age."""
    weights = 0.8 ** np.arange(ids.shape[-1])[::-1]
    heads = (1 + (weights * ids).sum(-1)) / (2 + weights.sum())
    return np.stack([1 - heads, heads], axis=-1)


def counts_rule(ids):
    return theory.laplace(np.stack([(ids == 0).sum(-1), (ids == 1).sum(-1)], axis=-1))


def test_measures_of_orders_are_the_plain_loops_and_vanish_for_bayes():
    config = Config(prefixes=14, orders=6, averaged=3, fixed_p=(0.3,))
    row = replicate.measure_orders(config, recent, 2, 6, rng(5))
    again = rng(5)
    ids = theory.prefixes(again, 6, 2, 14)
    orders = theory.reordered(again, ids, 6)
    plain = {name: [] for name in ("order_variance", "martingale_gap", "martingale_gap_relative", "realization_gap", "kl_one_order", "kl_averaged")}
    for x, several in zip(ids, orders, strict=True):
        heads, (p0, p1) = x.sum(), counts_rule(x)
        q = np.array([recent(order)[1] for order in several])
        assert all(order.sum() == heads for order in several)

        def kl(q, p0=p0, p1=p1):
            return p0 * math.log(p0 / (1 - q)) + p1 * math.log(p1 / q)

        now, then1, then0 = (recent(np.array(y))[1] for y in (x, [*x, 1], [*x, 0]))
        gap = abs(now - now * then1 - (1 - now) * then0)
        values = (((q - q.mean()) ** 2).sum() / 5, gap, gap / now, abs(q - q.mean()).mean(), np.mean([kl(one) for one in q]), kl(q[:3].mean()))
        for name, value in zip(plain, values, strict=True):
            plain[name].append(value)
    for name, values in plain.items():
        assert row[name] == pytest.approx(np.mean(values)), name
    assert row["jensen_gap"] > 0
    of_bayes = replicate.measure_orders(config, counts_rule, 2, 6, rng(5))
    assert of_bayes.pop("fixed_p_risk").shape == (1,)
    np.testing.assert_allclose(list(of_bayes.values()), 0, atol=1e-14)


def test_measures_at_one_length_hold_single_orders_against_laplace():
    config = Config(focus=6, focus_prefixes=14, focus_orders=16, ks=(1, 4))
    exact, forgetful = (replicate.measure_focus(config, predictor, 2, rng(5)) for predictor in (counts_rule, recent))
    np.testing.assert_allclose(exact["calibration_one_order"], exact["calibration_bayes"])
    np.testing.assert_allclose(exact["averaging_deviation"], 0, atol=1e-15)
    assert exact["explained_by_counts"] == pytest.approx(1) and exact["laplace_correlation"] == pytest.approx(1)
    assert 0.3 < forgetful["explained_by_counts"] < 0.99 and 0.3 < forgetful["laplace_correlation"] < 0.99
    assert forgetful["averaging_deviation"][0] > forgetful["averaging_deviation"][1] > 0


def test_risk_is_the_divergence_from_bayes_to_the_network_behind_every_prefix():
    streams = theory.prefixes(rng(), 5, 2, 12)

    def predictive(ids):
        return np.log(np.stack([recent(ids[:, :n]) for n in range(6)], axis=1))

    kl = replicate.measure_risk(predictive, streams, 2)["kl"]
    for n in range(6):
        p, q = counts_rule(streams[:, :n]), recent(streams[:, :n])
        assert kl[n] == pytest.approx((p * np.log(p / q)).sum(-1).mean(), abs=1e-12)


# ---- training and claims ----


def test_reordered_copies_are_orders_of_one_stream(monkeypatch):
    """The step is made to lower a weight where neighbouring rows are one stream in two orders, and to raise it otherwise."""

    def rewarded(log_q, ids):
        one_stream = (ids.sum(-1)[0] == ids.sum(-1)[1]) & (ids[0] != ids[1]).any()
        return log_q.mean() * jnp.where(one_stream, 1.0, -1.0)

    monkeypatch.setattr(replicate, "next_symbol_loss", rewarded)
    network = Network(lambda key: {"w": jnp.zeros(())}, lambda params, ids: params["w"] + jnp.zeros((*ids.shape[:-1], ids.shape[-1] + 1, 2)), None)
    condition = {"network": "", "V": 2, "training": "reordered"}
    (params,), _, _ = train(Config(T=30, batch=4, copies=2, steps=3, warm_up=1), condition, network, (1,))
    assert params["w"] < 0


def test_a_trained_network_follows_laplace():
    config = Config(T=24, width=16, steps=150, batch=32, lr=1e-2)
    condition = {"network": "mean pool", "V": 2, "training": "plain"}
    network = make_network(config, condition)
    trained, _, curves = train(config, condition, network, (1000, 1001))
    ids = theory.prefixes(rng(), 20, 2, 21)
    bayes = theory.laplace(np.stack([20 - ids.sum(-1), ids.sum(-1)], axis=-1))[:, 1]
    assert (curves[:, -1] < 0.1 * curves[:, 0]).all()
    for params in trained:
        q = predict_behind(lambda part, params=params: network.log_predictive(params, part), config.T, ids)[:, 1]
        assert np.corrcoef(q, bayes)[0, 1] > 0.99


def test_claims_on_planted_trials():
    n, ks, kl = np.array([5, 10, 20, 48]), np.array([1, 4, 16, 64]), np.zeros(50)
    common = {"network": "transformer", "training": "plain", "V": 2, "layers": 1, "seed": 0, "lengths": n, "ks": ks, "kl": kl}
    common |= {"realization_gap": np.array([5.0, 4.0, 3.0, 1.0]), "averaging_deviation": ks**-0.5, "kl_averaged": np.array([0, 0, 0.01, 0])}
    rows = [
        common | {"encoding": "none", "order_variance": np.full(4, 1e-33), "martingale_gap": np.full(4, np.nan)},
        common | {"encoding": "rotary", "order_variance": np.full(4, 1e-5), "martingale_gap": np.log(n) / n},
        common | {"encoding": "alibi", "order_variance": np.full(4, 1e-4), "martingale_gap": 3 * np.log(n) / n},
        common | {"encoding": "rotary", "training": "reordered", "order_variance": np.full(4, 1e-9), "martingale_gap": np.ones(4)},
    ]
    trials = pd.DataFrame(rows)
    assert claims.order_variance_contrast(trials)[0] == pytest.approx(13)
    assert claims.log_n_over_n(trials)[0] == pytest.approx(1)
    assert claims.gap_ratio(trials)[0] == pytest.approx(0.25)
    assert claims.averaging_slope(trials)[0] == pytest.approx(-0.5)
    assert claims.entropy_ratio(trials)[0] == pytest.approx(theory.count_risk(20) / (theory.count_risk(20) + 0.01))
    m = np.arange(5, 49)
    excess = np.array([theory.count_risk(k) for k in m]) - 0.5
    assert claims.excess_slope(trials)[0] == pytest.approx(np.polyfit(np.log(m), np.log(excess), 1)[0])
    assert -1 < claims.excess_slope(trials)[0] < -0.85


def test_a_miniature_of_every_kind_gives_rows_that_depend_on_the_seed():
    config = Config(
        T=10, width=8, encodings=("alibi",), deep=1, steps=4, batch=4, warm_up=1, lengths=(3, 8), prefixes=4, orders=3, averaged=2, focus=5, focus_prefixes=6,
        focus_orders=8, ks=(1, 2), test_streams=16, copies=2,
    )  # fmt: skip
    grid = conditions(config)
    assert [condition.get("encoding") for condition in grid] == ["none", "alibi", "rotary", None]
    for condition in (grid[2], grid[3] | {"V": 3}):
        first, second = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        assert (first["kl"] != second["kl"]).any()


def test_prefixes_longer_than_a_sequence_allows_are_refused():
    conditions(Config(T=12, lengths=(1, 10)))
    for n in (0, 11):
        with pytest.raises(RequestError, match="between 1 and T - 2 = 10"):
            conditions(Config(T=12, lengths=(5, n)))
