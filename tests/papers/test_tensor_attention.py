"""The mathematics of attention of higher order, of its fast algorithm and of Match3, and one run from end to end."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import torch

from papers.tensor_attention import claims
from papers.tensor_attention.match3 import entry_bound, full_beta, match3, match3_by_attention, match3_of_two
from papers.tensor_attention.model import (
    chebyshev_coefficients,
    chebyshev_relative_error,
    degree_needed,
    error_guarantee,
    exact_attention,
    expansion,
    exponents,
    fast_attention,
    monomials,
    taylor_coefficients,
)
from papers.tensor_attention.replicate import Config, answers, conditions, count_degrees, draw, measure_error, run, solve_match3
from papers.tensor_attention.trained import Layer, accuracies, balanced_accuracy, head, head_width, init, logit, n_parameters, training
from shared.engine import NotRun
from shared.seeds import numpy_rng


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def drawn(seed=0, n=6, d=3, B=1.0, order=3, values=None):
    """Q, keys, values of attention of an order, with other values than keys in width."""
    rng = np.random.default_rng(seed)
    Q, *keys = jnp.asarray(rng.uniform(-B, B, (order, n, d)))
    return Q, keys, list(jnp.asarray(rng.uniform(-B, B, (order - 1, n, values or d + 1))))


all_monomials = jax.jit(monomials, static_argnums=1)


def by_loops(Q, keys, values, scale=None):
    """The definition, one tuple of tokens at a time."""
    Q, keys, values = np.asarray(Q), [np.asarray(K) for K in keys], [np.asarray(V) for V in values]
    n, d = keys[0].shape
    scale = 1 / d if scale is None else scale
    output = np.zeros((len(Q), values[0].shape[1]))
    for i in range(len(Q)):
        denominator = 0.0
        for tokens in itertools.product(range(n), repeat=len(keys)):
            weight = math.exp(scale * sum(Q[i, l] * math.prod(K[j, l] for K, j in zip(keys, tokens, strict=True)) for l in range(d)))
            denominator += weight
            output[i] += weight * np.prod([V[j] for V, j in zip(values, tokens, strict=True)], axis=0)
        output[i] /= denominator
    return output


def weights(Q, keys):
    """exp(Q (K_1 (x) K_2)^T / d), (n, n^2), from the Kronecker product itself."""
    K = np.einsum("al,bl->abl", *keys).reshape(-1, Q.shape[1])
    return np.exp(np.asarray(Q) @ K.T / Q.shape[1])


# The exact algorithm


@pytest.mark.parametrize(("order", "scale"), [(2, None), (3, None), (3, 0.7), (4, None)])
def test_exact_attention_is_its_definition(order, scale):
    inputs = drawn(n=4, B=1.5, order=order)
    np.testing.assert_allclose(exact_attention(*inputs, scale=scale), by_loops(*inputs, scale=scale), atol=1e-13)


@pytest.mark.parametrize("tile", [1, 3])
def test_tiles_do_not_change_the_result_even_where_exp_overflows(tile):
    inputs = drawn(B=3)
    np.testing.assert_allclose(exact_attention(*inputs, tile=tile), exact_attention(*inputs), atol=1e-13)
    sharp = exact_attention(*inputs, scale=1e4, tile=tile)
    best = (weights(inputs[0], inputs[1])).argmax(axis=1)
    np.testing.assert_allclose(sharp, np.einsum("ac,bc->abc", *inputs[2]).reshape(36, -1)[best], atol=1e-12)


def test_order_two_is_softmax_attention():
    Q, keys, values = drawn(order=2, n=9)
    q, k, v = (torch.tensor(np.array(a)) for a in (Q, keys[0], values[0]))
    np.testing.assert_allclose(exact_attention(Q, keys, values), torch.softmax(q @ k.T / 3, dim=-1) @ v, atol=1e-14)


def test_constant_second_keys_and_values_reduce_to_matrix_attention():
    Q, keys, values = drawn()
    ones = [jnp.ones_like(keys[0]), jnp.ones_like(values[0])]
    reduced = exact_attention(Q, [keys[0], ones[0]], [values[0], ones[1]])
    np.testing.assert_allclose(reduced, exact_attention(Q, keys[:1], values[:1]), atol=1e-14)


def test_weights_are_a_distribution_over_pairs():
    Q, keys, _ = drawn(n=5)
    pairs = jnp.eye(5)  # V_1 and V_2 pick j_1 and j_2: each output channel c is the weight of the pair (c, c) for V_1 = V_2 = identity
    shares = sum(exact_attention(Q, keys, [pairs, jnp.roll(pairs, shift, axis=1)]).sum(axis=1) for shift in range(5))
    np.testing.assert_allclose(shares, np.ones(5), atol=1e-14)
    np.testing.assert_allclose(exact_attention(Q, keys, [jnp.ones((5, 2))] * 2), np.ones((5, 2)), atol=1e-14)


def test_order_of_tokens_and_roles_of_the_pair_do_not_matter():
    Q, (K_1, K_2), (V_1, V_2) = drawn()
    out = exact_attention(Q, (K_1, K_2), (V_1, V_2))
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(exact_attention(Q, (K_1[order], K_2), (V_1[order], V_2)), out, atol=1e-14)
    np.testing.assert_allclose(exact_attention(Q, (K_2, K_1), (V_2, V_1)), out, atol=1e-14)
    assert np.abs(exact_attention(Q, (K_1[order], K_2), (V_1, V_2)) - out).max() > 1e-3


# Polynomials


def test_taylor_polynomial_is_tangent_to_exp():
    x = np.linspace(-0.1, 0.1, 5)
    np.testing.assert_allclose(np.polynomial.polynomial.polyval(x, taylor_coefficients(6)), np.exp(x), atol=0.1**7 / 5000)
    assert (np.polynomial.polynomial.polyval(np.linspace(-50, 50, 1001), taylor_coefficients(6)) > 0).all()
    assert (np.polynomial.polynomial.polyval(np.linspace(-50, 50, 1001), taylor_coefficients(5)) < 0).any()


@pytest.mark.parametrize(("g", "R"), [(0, 1.0), (1, 0.5), (6, 1.0), (9, 3.0)])
def test_chebyshev_polynomial_and_its_error(g, R):
    x = np.linspace(-R, R, 2001)
    p = chebyshev_coefficients(g, R)
    assert len(p) == g + 1
    relative = np.abs(np.polynomial.polynomial.polyval(x, p) - np.exp(x)) * np.exp(-x)
    assert chebyshev_relative_error(g, R) == pytest.approx(relative.max(), rel=1e-3)
    interpolant = np.polynomial.Chebyshev.interpolate(np.exp, g, domain=[-R, R])  # near-best as well: same size of error
    assert 0.5 < np.abs(interpolant(x) - np.exp(x)).max() / np.abs(np.polynomial.polynomial.polyval(x, p) - np.exp(x)).max() < 2


def test_degree_needed_is_the_least_and_grows_linearly_with_the_range():
    for R in (0.5, 2.0, 8.0):
        g = degree_needed(R, 0.01)
        assert chebyshev_relative_error(g, R) <= 0.01 < chebyshev_relative_error(g - 1, R)
    assert (degree_needed(60, 0.01) - degree_needed(30, 0.01)) / 30 == pytest.approx(2.2, abs=0.1)


# The fast algorithm


@pytest.mark.parametrize(("d", "g"), [(1, 4), (3, 1), (3, 5), (4, 6)])
def test_monomials_are_all_of_them_once(d, g):
    a = exponents(d, g)
    assert len(a) == len({tuple(row) for row in a}) == math.comb(d + g, g)
    assert (a >= 0).all() and a.sum(axis=1).max() == g
    X = np.random.default_rng(0).normal(size=(5, d))
    np.testing.assert_allclose(all_monomials(jnp.asarray(X), g), np.prod(X[None] ** a[:, None], axis=2), rtol=1e-12)


@pytest.mark.parametrize("scale", [1 / 3, 0.8])
def test_the_expansion_is_the_polynomial_of_the_logit(scale):
    q, k_1, k_2 = np.random.default_rng(1).normal(size=(3, 1, 3))
    p = np.array([0.3, -1.0, 0.7, 2.0, -0.4])
    U_1, U_2, U_3 = (np.asarray(all_monomials(jnp.asarray(x), 4))[:, 0] for x in (q, k_1, k_2))
    assert (expansion(p, 3, scale) * U_1 * U_2 * U_3).sum() == pytest.approx(np.polynomial.polynomial.polyval(scale * (q * k_1 * k_2).sum(), p))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_fast_algorithm_converges_to_the_exact_one(order):
    inputs = drawn(n=6, B=0.5, order=order)
    fast = partial(fast_attention, *inputs, block=4)  # the second block is filled up
    exact = exact_attention(*inputs)
    np.testing.assert_allclose(fast(taylor_coefficients(8)), exact, atol=1e-10 if order == 2 else 1e-12)
    np.testing.assert_allclose(fast(chebyshev_coefficients(8, 0.5**order)), exact, atol=1e-12)
    np.testing.assert_allclose(fast(taylor_coefficients(8), scale=0.2), exact_attention(*inputs, scale=0.2), atol=1e-12)


def test_the_fast_algorithm_takes_other_queries_than_keys_and_any_block():
    Q, keys, values = drawn(B=0.5)
    np.testing.assert_allclose(fast_attention(Q[:2], keys, values, taylor_coefficients(8), block=256), exact_attention(Q, keys, values)[:2], atol=1e-12)


def test_truncated_weights_have_the_rank_of_the_factorisation():
    Q, keys, _ = drawn(n=40, d=2, B=1.5)
    logits = np.log(weights(Q, keys))
    truncated = np.polynomial.polynomial.polyval(logits, taylor_coefficients(3))  # (40, 1600)
    assert np.linalg.matrix_rank(truncated) == math.comb(2 + 3, 3)
    c, U_1, (U_2, U_3) = expansion(taylor_coefficients(3), 2, 0.5), all_monomials(Q, 3), [np.asarray(all_monomials(K, 3)) for K in keys]
    np.testing.assert_allclose(truncated, (c[:, None] * U_1).T @ np.einsum("ra,rb->rab", U_2, U_3).reshape(len(c), -1), atol=1e-12)


def test_row_sums_come_from_the_factorisation():
    Q, keys, _ = drawn(B=0.5)
    U_1, U_2, U_3 = (np.asarray(all_monomials(X, 7)) for X in (Q, *keys))
    sums = (expansion(taylor_coefficients(7), 3, 1 / 3) * U_2.sum(axis=1) * U_3.sum(axis=1)) @ U_1
    np.testing.assert_allclose(sums, weights(Q, keys).sum(axis=1), rtol=1e-13)


def test_degree_zero_is_the_product_of_means():
    Q, keys, values = drawn()
    means = values[0].mean(axis=0) * values[1].mean(axis=0)
    np.testing.assert_allclose(fast_attention(Q, keys, values, taylor_coefficients(0)), np.tile(means, (6, 1)), atol=1e-14)


def test_the_error_falls_as_the_next_term_of_the_series():
    """Halving B divides logits by 8, so the error of degree g, relative to the values, falls 8^(g+1)-fold."""
    errors = []
    for B in (0.6, 0.3):
        Q, keys, values = draw(np.random.default_rng(0), "uniform", 1.0, 16, 4)
        Q, keys = B * Q, [B * K for K in keys]
        errors.append(float(jnp.abs(fast_attention(Q, keys, values, taylor_coefficients(2)) - exact_attention(Q, keys, values)).max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3 * 3, abs=0.5)


def test_the_guarantee_bounds_the_worst_perturbation_of_the_weights():
    """Weights off by a factor 1 - eps or 1 + eps, set against each other: within the guarantee, and not far within."""
    eps, B = 0.2, 1.5
    values = np.random.default_rng(0).uniform(-(B**2), B**2, (2000, 9))
    A = np.random.default_rng(1).uniform(size=values.shape) * np.where(np.abs(values) > 1.5, 1, 1e-3)  # mostly extreme values
    exact = (A * values).sum(axis=1) / A.sum(axis=1)
    perturbed = A * (1 + eps * np.sign(values - exact[:, None]))
    error = np.abs((perturbed * values).sum(axis=1) / perturbed.sum(axis=1) - exact).max()
    assert error_guarantee(eps, B) / 3 < error < error_guarantee(eps, B)
    # One tuple of value -B^2 and weight one half, one of +B^2: the error is eps B^2, half the guarantee as eps falls.
    assert error_guarantee(1e-9, B) == pytest.approx(2e-9 * B**2)
    assert error_guarantee(0.5, 2.0, order=4) == 2 * 2.0**3


def test_the_fast_algorithm_keeps_its_guarantee():
    B = 1.2
    for entries in ("uniform", "signs"):
        inputs = draw(np.random.default_rng(0), entries, B, 32, 4)
        exact = exact_attention(*inputs)
        for g in (3, 5):
            error = jnp.abs(fast_attention(*inputs, chebyshev_coefficients(g, B**3)) - exact).max()
            assert 1e-10 < error <= error_guarantee(chebyshev_relative_error(g, B**3), B)


# Match3


def brute_force(x, M):
    return [any((a + b + c) % M == 0 for b in x for c in x) for a in x]


def test_match3_labels_are_brute_force():
    x = np.random.default_rng(0).integers(0, 23, (40, 7))
    expected = np.array([brute_force(row, 23) for row in x.tolist()])
    assert 0.2 < expected.mean() < 0.9
    np.testing.assert_array_equal(match3(x, 23), expected)
    assert match3(np.array([0, 1]), 50).tolist() == [True, False]  # 0 + 0 + 0: all three places may be the same


def test_matches_of_two_places_are_brute_force():
    x = np.random.default_rng(1).integers(0, 23, (40, 7))

    def of_two(row, i):
        places = [(j, k) for j in range(7) for k in range(7) if len({i, j, k}) <= 2]
        return any((row[i] + row[j] + row[k]) % 23 == 0 for j, k in places)

    expected = np.array([[of_two(row, i) for i in range(7)] for row in x.tolist()])
    assert 0.1 < expected.mean() < match3(x, 23).mean()
    np.testing.assert_array_equal(match3_of_two(x, 23), expected)


@pytest.mark.parametrize(("n", "M"), [(8, 31), (16, 101)])
def test_the_construction_solves_match3(n, M):
    x = np.random.default_rng(0).integers(0, M, (100, n))
    y = match3(x, M)
    assert 0 < y.mean() < 1
    solve = partial(match3_by_attention, M=M)
    np.testing.assert_array_equal(jax.lax.map(partial(solve, beta=full_beta(M, n)), jnp.asarray(x)), y)
    assert (np.asarray(jax.lax.map(partial(solve, beta=1.0), jnp.asarray(x))) != y).any()


def test_entries_of_the_bound_give_the_logits_their_scale():
    Q, keys, values = drawn()
    B = entry_bound(7.0, d=3)
    np.testing.assert_allclose(exact_attention(B * Q, [B * K for K in keys], values), exact_attention(Q, keys, values, scale=7.0), atol=1e-13)


# The trained layers


@pytest.mark.parametrize("order", [2, 3])
def test_a_trained_head_is_exact_attention(order):
    inputs = drawn(order=order, values=3)
    np.testing.assert_allclose(head(*inputs), exact_attention(*inputs), atol=1e-14)


def params_of(layer: Layer) -> dict:
    """Random parameters of a layer, its biases not zero; no compilation."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=leaf.shape) for name, leaf in jax.eval_shape(partial(init, layer=layer), jax.random.key(0)).items()}


def test_the_layer_by_hand():
    """Concatenated token and heads, then the read-out, at one position."""
    layer = Layer(order=3, heads=2, d=3, M=7, width=4, hidden=5)
    params = params_of(layer)
    x = np.array([3, 0, 6, 3])
    tokens = params["table"][x]
    attended = []
    for h in range(2):
        Q, K_1, K_2, V_1, V_2 = (tokens @ params["maps"][t, h] for t in range(5))
        attended.append(by_loops(Q, [K_1, K_2], [V_1, V_2]))
    joined = np.concatenate([tokens, *attended], axis=1)
    expected = np.maximum(joined @ params["W1"] + params["b1"], 0) @ params["W2"] + params["b2"]
    np.testing.assert_allclose(jax.jit(logit)(params, x), expected, rtol=1e-5)


def test_matrix_layers_have_no_fewer_parameters():
    tensor = n_parameters(Layer(3, 1, head_width(3, 1, 8), 50, 32, 64))
    assert head_width(3, 1, 8) == 8
    for heads in (1, 2, 4, 8):
        d = head_width(2, heads, 8)
        assert d >= 8
        assert tensor <= n_parameters(Layer(2, heads, d, 50, 32, 64))
    assert head_width(2, 1, 8) == 14  # three maps of width 14 against five of width 8


def test_balanced_accuracy_is_half_for_a_constant_answer():
    y = jnp.array([True, False, False, False])
    assert balanced_accuracy(jnp.ones(4, bool), y) == 0.5
    assert balanced_accuracy(y, y) == 1
    assert balanced_accuracy(jnp.array([True, True, False, False]), y) == pytest.approx((1 + 2 / 3) / 2)


def test_accuracy_on_triples_leaves_out_what_two_places_give_away():
    x = np.random.default_rng(0).integers(0, 50, (200, 8))
    y, two = match3(x, 50), match3_of_two(x, 50)
    by_pairs, perfect = accuracies(two, x, 50), accuracies(y, x, 50)
    assert by_pairs["triples_accuracy"] == 0.5 < by_pairs["accuracy"] < 0.9
    assert perfect["triples_accuracy"] == perfect["accuracy"] == 1
    assert accuracies(y & ~two, x, 50)["triples_accuracy"] == 1
    assert accuracies(~y, x, 50)["triples_accuracy"] == 0


def test_a_training_step_descends_the_loss_of_match3_on_fresh_sequences():
    layer, n, batch, seed = Layer(order=2, heads=1, d=2, M=50, width=3, hidden=8), 6, 3, jax.random.key(7)
    _, step, _ = training(layer, n, batch, steps=20, warmup=4)
    params = params_of(layer)
    state = params, optax.scale_by_adam().init(params)
    data = {"key": seed, "learning_rate": jnp.array(0.01)}

    @jax.jit
    @jax.grad
    def slope(params, x):
        log_odds = jax.vmap(partial(logit, params))(x)
        return jnp.mean(jnp.logaddexp(0, jnp.where(match3(x, layer.M), -log_odds, log_odds)))

    for t in (2, 3):
        x = jax.random.randint(jax.random.fold_in(seed, t), (batch, n), 0, layer.M)
        assert (match3(x, layer.M) != match3_of_two(x, layer.M)).any()
        after, _ = jax.jit(step)(state, t, data)
        for name, g in slope(params, x).items():  # Adam's first step is the learning rate against the sign of the gradient; the warm-up is at t / 4 of it
            change, clear = np.asarray(after[name] - params[name]), np.abs(g) > 1e-5
            np.testing.assert_allclose(np.where(clear, change, 0), np.where(clear, -0.01 * t / 4 * np.sign(g), 0), rtol=1e-2)
        moved = np.flatnonzero((after["table"] != params["table"]).any(axis=1))
        assert len(moved) > 1 and set(moved) <= set(np.asarray(x).ravel())  # the tokens of this step's sequences


# From end to end


def test_entries_are_within_the_bound_and_of_five_draws():
    for entries in ("uniform", "signs"):
        Q, keys, values = draw(np.random.default_rng(0), entries, 1.5, 200, 4)
        matrices = np.stack([Q, *keys, *values])
        assert np.abs(matrices).max() <= 1.5
        assert (np.abs(matrices) == 1.5).all() == (entries == "signs")
        assert np.abs(matrices.mean()) < 0.1 and np.abs(np.corrcoef(matrices.reshape(5, -1)) - np.eye(5)).max() < 0.15
        assert np.square(matrices).mean() == pytest.approx(1.5**2 if entries == "signs" else 1.5**2 / 3, rel=0.05)


def test_measured_errors_are_those_of_both_polynomials():
    condition = {"entries": "signs", "d": 2, "n": 5, "B": 1.5}
    config = Config(degrees=(2, 4), max_rank=10)  # rank 15 of degree 4 is too large
    row, other = (measure_error(config, condition, seed) for seed in (1000, 1001))
    assert row["degree"].tolist() == [2] and row["rank"].tolist() == [6]
    inputs = draw(numpy_rng(1000, "entries"), "signs", 1.5, 5, 2)
    A, products = weights(*inputs[:2]), np.einsum("ac,bc->abc", *inputs[2]).reshape(25, -1)
    exact = A @ products / A.sum(axis=1, keepdims=True)
    for name, p in (("taylor", [1, 1, 0.5]), ("chebyshev", chebyshev_coefficients(2, 1.5**3))):
        truncated = np.polynomial.polynomial.polyval(np.log(A), p)
        error = np.abs(truncated @ products / truncated.sum(axis=1, keepdims=True) - exact).max()
        assert row[f"error_{name}"] == pytest.approx([error])
    assert row["chebyshev_relative_error"] == pytest.approx([chebyshev_relative_error(2, 1.5**3)])
    assert row["largest_output"] == pytest.approx(np.abs(exact).max())
    assert row["error_taylor"] != other["error_taylor"]


def test_degrees_are_counted_on_the_logits_of_each_order():
    config = Config(degree_bounds=(1.0, 2.0))
    for order in (2, 4):
        assert count_degrees(config, {"order": order}, 0)["degree_needed"].tolist() == [degree_needed(1.0, 0.01), degree_needed(2.0**order, 0.01)]


SMALL = Config(
    naive_n=(8, 16), fast_n=(16, 32), workloads=((4, 2),), calls=1, error_n=(8,), bounds=(1.0,), degrees=(1, 2), degree_orders=(2, 3),
    match_n=(8,), match_M=(31,), instances=20, beta_shares=(0.001, 1.0), heads=(), steps=4, warmup=1, batch=8, test_sequences=50, measurements=2,
)  # fmt: skip


def test_a_small_run_gives_rows_and_claims():
    """All but the trained layers, whose compilation takes seconds; the smoke profile has them."""
    grid = [condition for condition in conditions(SMALL) if condition["experiment"] != "trained"]
    with jax.enable_x64(False):
        trials = pd.DataFrame([{**condition, "seed": seed, **row} for condition in grid for seed, row in enumerate(run(SMALL, condition, (0, 1), "cpu"))])
    assert len(trials) == 2 * len(grid)
    assert claims.error_over_guarantee(trials).between(1e-9, 1).all()
    errors = trials[trials.experiment == "error"].error_taylor
    assert all(errors_of[1] < errors_of[0] for errors_of in errors)
    assert claims.instances_solved(trials).tolist() == [1, 1]
    assert claims.exact_slope(trials).notna().all()
    with pytest.raises(NotRun):
        claims.error_as_power_of_n(trials)


def test_an_instance_is_solved_when_all_its_answers_are_right():
    row = solve_match3(dataclasses.replace(SMALL, beta_shares=(0.015,)), {"n": 8, "M": 31}, 0)
    x = numpy_rng(0, "sequences").integers(0, 31, (20, 8))
    right = np.asarray(answers(jnp.asarray(x), 31, 0.015 * full_beta(31, 8))) == match3(x, 31)
    assert row["accuracy_by_beta"] == pytest.approx([right.mean()])
    assert row["solved"] == pytest.approx(right.all(axis=1).mean())
    assert row["solved"] < right.mean() < 1


def test_the_crossover_is_the_last_one_and_stays_within_the_lengths():
    n = np.array([10, 20, 40, 80])
    ones = np.ones(4)
    assert claims.crossover(n, np.array([0.5, 2.0, 0.5, 2.0]), ones) == pytest.approx(np.sqrt(40 * 80))
    assert claims.crossover(n, 2 * ones, ones) == 10
    assert claims.crossover(n, ones / 2, ones) == 80


def test_claims_are_computed_from_the_right_rows():
    length = np.array([1, 2, 4, 8])
    rows = []
    for seed in (0, 1):
        rows.append({"experiment": "time", "algorithm": "exact", "d": 4, "seed": seed, "length": length, "call_seconds": np.array([9.0, *(length[1:] ** 3.0)])})
        seconds = 9.0 * length  # exact and fast cross at n = 3
        rows.append({"experiment": "time", "algorithm": "fast", "d": 4, "g": 6, "seed": seed, "length": length, "call_seconds": seconds})
        for order, heads, accuracy, triples in ((3, 1, 0.9 + 0.01 * seed, 0.8), (2, 1, 0.6, 0.75), (2, 8, 0.7, 0.4)):
            rows.append({"experiment": "trained", "order": order, "heads": heads, "seed": seed, "test_accuracy": accuracy, "triples_accuracy": triples})
        for entries, n, B, error in (("uniform", 256, 1.0, 256.0**-3), ("signs", 256, 1.0, 256.0**-2), ("uniform", 64, 1.0, 1e-7), ("uniform", 64, 2.0, 1e-2)):
            errors = {"degree": np.array([4, 6]), "error_taylor": np.array([1.0, error])}
            eps = np.array([0.6, 0.2, 1e-13])  # the bound says nothing, is 0.5 B^2, is below rounding
            errors |= {"chebyshev_relative_error": eps, "error_chebyshev": np.array([9.0, 0.1 + 0.1 * seed, 9.0])}
            rows.append({"experiment": "error", "entries": entries, "d": 4, "n": n, "B": B, "seed": seed, **errors})
        for order in (2, 3):
            bound = np.array([1.0, 1.5, 2.0, 2.4])
            rows.append({"experiment": "degree", "order": order, "seed": seed, "bound": bound, "degree_needed": np.array([99.0, *(bound[1:] ** order)])})
    trials = pd.DataFrame(rows)
    expected = {
        claims.exact_slope: [3, 3],
        claims.fast_slope: [1, 1],
        claims.accuracy_over_best_matrix_layer: [0.2, 0.21],
        claims.error_as_power_of_n: [-3, -3],
        claims.error_as_power_of_n_for_signs: [-2, -2],
        claims.decades_of_error: [5, 5],
        claims.slope_gained_by_an_order: [1, 1],
        claims.error_over_guarantee: [0.2, 0.4],
        claims.length_of_crossover: [3, 3],
        claims.accuracy_over_one_matrix_head: [0.3, 0.31],
        claims.triples_accuracy_over_best_matrix_layer: [0.05, 0.05],
    }
    for function, values in expected.items():
        np.testing.assert_allclose(function(trials), values, rtol=1e-9)
