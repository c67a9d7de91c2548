"""Feature emergence in grokking: the closed forms of the paper, the optimisers against torch, the batch trainer, and a miniature of the experiments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch

from papers.grokking_feature_emergence import claims, model, theory
from papers.grokking_feature_emergence.replicate import Config, conditions, run, run_lazy, sustained, train
from shared.optim.many import train_many


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def dense_inputs(M: int) -> np.ndarray:
    """X, (M^2, 2M), row g1 * M + g2 = [onehot(g1); onehot(g2)], made by loops."""
    X = np.zeros((M * M, 2 * M))
    for g1 in range(M):
        for g2 in range(M):
            X[g1 * M + g2, [g1, M + g2]] = 1
    return X


def cyclic_problem(M: int, fraction: float, seed: int = 0, lr: float = 0.01, wd: float = 0.0) -> model.Problem:
    labels = jnp.asarray(model.group_table(f"Z{M}").ravel())
    return model.Problem(labels, model.random_split(rng(seed), M, fraction), jnp.asarray(lr), jnp.asarray(wd))


def all_pairs_Y(M: int):
    return jax.jit(model.centred_labels, static_argnums=2)(model.group_table(f"Z{M}").ravel(), np.ones(M * M), M)


energy = jax.jit(theory.energy)


def unit(W: np.ndarray) -> np.ndarray:
    return W / np.linalg.norm(W, axis=-2, keepdims=True)


def wave(M: int, k: int, phase_u: float, phase_v: float) -> np.ndarray:
    """A unit vector whose halves u and v, of equal norm, are cosines of frequency k."""
    angle = 2 * np.pi * k * np.arange(M) / M
    u, v = np.cos(angle + phase_u), np.cos(angle + phase_v)
    return np.concatenate([u / np.linalg.norm(u), v / np.linalg.norm(v)]) / np.sqrt(2)


# ---- groups and splits ----


@pytest.mark.parametrize("name", ["Z7", "Z2xZ3xZ5", "S3", "S4"])
def test_tables_are_groups(name):
    table = model.group_table(name)
    M = len(table)
    assert (np.sort(table, axis=0) == np.arange(M)[:, None]).all()
    assert (np.sort(table, axis=1) == np.arange(M)).all()
    assert (table[table] == table[:, table]).all()  # (ab)c = a(bc)
    assert (table != table.T).any() == name.startswith("S")


def test_product_of_coprime_cyclic_groups_has_an_element_of_full_order():
    table = model.group_table("Z2xZ3xZ5")
    element = power = 21  # (1, 1, 1) = 1 * 15 + 1 * 5 + 1
    order = 1
    while power != 0:
        power, order = table[power, element], order + 1
    assert order == 30


def test_splits_are_random_nested_and_of_the_right_size():
    small, large = (model.random_split(rng(0), 11, p) for p in (0.3, 0.6))
    assert small.sum() == round(0.3 * 121) and large.sum() == round(0.6 * 121)
    assert (large >= small).all()
    assert (model.random_split(rng(1), 11, 0.3) != small).any()


def test_critical_fraction():
    assert model.critical_fraction("Z23", 2.0) == pytest.approx(2 * np.log(23) / 23)
    assert model.critical_fraction("S4", 2.0) == pytest.approx(1.5 * 2 * np.log(24) / 24)
    assert model.critical_fraction("Z7", 5.0) == 0.9


# ---- network and loss ----


def test_outer_sums_are_the_one_hot_products():
    M, K = 5, 3
    X = dense_inputs(M)
    W, G = rng(0).normal(size=(2 * M, K)), rng(1).normal(size=(M * M, K))
    np.testing.assert_allclose(model.preactivations(jnp.asarray(W)), X @ W, atol=1e-5)
    np.testing.assert_allclose(model.transposed_inputs(jnp.asarray(G), M), X.T @ G, atol=1e-5)


@pytest.mark.parametrize("activation", model.ACTIVATIONS)
def test_loss_and_gradient_equal_a_plain_torch_network_on_the_train_rows(activation):
    M, K = 7, 10
    problem = cyclic_problem(M, 0.6)
    params = model.init_params(rng(1), M, K)
    rows = np.flatnonzero(np.asarray(problem.train))
    W, V = (torch.tensor(np.asarray(param), dtype=torch.float64, requires_grad=True) for param in params)
    Z = torch.tensor(dense_inputs(M)[rows]) @ W
    F = {"square": Z**2, "relu": torch.relu(Z), "silu": torch.nn.functional.silu(Z), "relu2": torch.relu(Z) ** 2}[activation]
    o = F @ V
    o = o - o.mean(dim=1, keepdim=True)
    target = torch.nn.functional.one_hot(torch.tensor((rows // M + rows % M) % M), M) - 1 / M
    expected = ((o - target) ** 2).sum(dim=1).mean()
    expected.backward()
    value, grad = jax.jit(jax.value_and_grad(model.loss), static_argnums=2)(params, problem, activation)
    assert float(value) == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(grad.W, W.grad, atol=1e-6)
    np.testing.assert_allclose(grad.V, V.grad, atol=1e-6)


def test_measured_signal_is_the_back_propagated_gradient_and_accuracies_are_on_their_own_pairs():
    M, K = 7, 10
    problem = cyclic_problem(M, 0.6)
    state = model.init_state(rng(1), M, K)
    metrics = jax.jit(model.measurement())(state, problem)
    F = jnp.square(model.preactivations(state.params.W))
    n = float(problem.train.sum())

    def loss_of_features(F):
        return model.masked_mean(model.pair_losses(model.centred_output(F, state.params.V), problem.labels), problem.train)

    G = -n / 2 * jax.jit(jax.grad(loss_of_features))(F)
    assert float(metrics["signal_norm"]) == pytest.approx(float(jnp.linalg.norm(G)), rel=1e-5)
    predicted = np.asarray(F @ state.params.V).argmax(axis=1)
    right, rows = predicted == np.asarray(problem.labels), np.asarray(problem.train) == 1
    assert float(metrics["train_accuracy"]) == pytest.approx(right[rows].mean())
    assert float(metrics["test_accuracy"]) == pytest.approx(right[~rows].mean())
    assert float(metrics["train_loss"]) == pytest.approx(float(model.loss(state.params, problem, "square")), rel=1e-6)


# ---- optimisers ----


@pytest.mark.parametrize(("name", "oracle"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_equals_torch(name, oracle):
    draw = rng(0)
    param, lr, wd = draw.normal(size=(4, 3)).astype(np.float32), 0.01, 0.1
    theirs = torch.tensor(param, requires_grad=True)
    optimiser = oracle([theirs], lr=lr, weight_decay=wd)
    ours, moments, step = jnp.asarray(param), model.Moments(jnp.zeros((4, 3)), jnp.zeros((4, 3))), jax.jit(model.OPTIMISERS[name])
    for t in range(5):
        grad = draw.normal(size=(4, 3)).astype(np.float32)
        theirs.grad = torch.tensor(grad)
        optimiser.step()
        ours, moments = step(ours, grad, moments, t, lr, wd)
        np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)])
def test_newton_schulz_brings_singular_values_near_one_and_keeps_the_singular_vectors(shape):
    G = rng(0).normal(size=shape)
    U, _, Vt = np.linalg.svd(G, full_matrices=False)
    rotated = U.T @ np.asarray(jax.jit(model.orthogonalise)(jnp.asarray(G))) @ Vt.T
    assert (np.abs(np.diag(rotated) - 1) < 0.3).all()
    np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-4)


def test_muon_step():
    draw = rng(0)
    param, grad, mean = (jnp.asarray(draw.normal(size=(6, 4))) for _ in range(3))
    updated, moments = jax.jit(model.muon)(param, grad, model.Moments(mean, jnp.zeros((6, 4))), 3, 0.1, 0.5)
    np.testing.assert_allclose(moments.mean, 0.99 * mean + 0.01 * grad, rtol=1e-5)
    np.testing.assert_allclose(updated, 0.95 * param - 0.1 * jax.jit(model.orthogonalise)(moments.mean), rtol=1e-5, atol=1e-6)


def test_a_training_step_moves_W_by_the_named_optimiser_and_V_by_adam():
    problem, state = cyclic_problem(5, 0.6, wd=0.1), model.init_state(rng(0), 5, 8)
    grad = jax.jit(jax.grad(model.loss), static_argnums=2)(state.params, problem, "relu2")
    stepped = jax.jit(model.training_step("relu2", "muon"))(state, 0, problem)
    np.testing.assert_allclose(stepped.params.W, jax.jit(model.muon)(state.params.W, grad.W, state.W_moments, 0, 0.01, 0.1)[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stepped.params.V, jax.jit(model.adam)(state.params.V, grad.V, state.V_moments, 0, 0.01, 0.1)[0], rtol=1e-4, atol=1e-6)


# ---- Stage I ----


@pytest.mark.parametrize("K", [12, 60])
def test_back_propagated_gradient_at_the_ridge_optimum_has_the_closed_form(K):
    M, labels = 5, model.group_table("Z5").ravel()

    @jax.jit
    def ours(F, Y, eta):
        V = theory.ridge_top_layer(F, Y, eta)
        return V, theory.backpropagated(F, Y, V), theory.backpropagated_at_ridge(F, Y, eta)

    with jax.enable_x64(True):
        mask = model.random_split(rng(0), M, 0.8)
        rows = mask == 1
        raw_F, raw_Y = (dense_inputs(M)[rows] @ rng(0).normal(size=(2 * M, K))) ** 2, np.eye(M)[labels[rows]]
        table_F = np.zeros((M * M, K))
        table_F[rows] = raw_F
        F, Y = model.centre(jnp.asarray(table_F), mask)[rows], model.centred_labels(labels, mask, M)[rows]
        n = len(F)
        P = np.eye(n) - np.ones((n, n)) / n
        for eta in (1e-3, 0.1, 10.0):
            V = np.linalg.solve(raw_F.T @ P @ raw_F + eta * np.eye(K), raw_F.T @ P @ raw_Y)
            direct = P @ (raw_Y - raw_F @ V) @ V.T
            layer, *signals = ours(F, Y, eta)
            np.testing.assert_allclose(layer, V, rtol=1e-6, atol=1e-9)
            for G in signals:
                assert np.abs(G - direct).max() / np.abs(direct).max() < 1e-6


def test_without_ridge_the_signal_vanishes_once_features_outnumber_pairs():
    with jax.enable_x64(True):
        draw = rng(0)
        F, Y = (jnp.asarray(A - A.mean(axis=0)) for A in (draw.normal(size=(20, 50)), np.eye(5)[draw.integers(5, size=20)]))
        norms = [np.linalg.norm(jax.jit(theory.backpropagated_at_ridge)(F, Y, eta)) for eta in (1.0, 1e-3, 1e-6)]
    assert norms[1] < 2e-3 * norms[0] and norms[2] < 2e-3 * norms[1]


def test_weight_decay_turns_the_signal_from_noise_into_the_labels():
    rows = [run_lazy(Config(lazy_etas=(1.0,)), {"group": "Z23", "width": K}, (1000, 1001)) for K in (256, 1024)]
    assert all(np.abs(row["cosine_random"]).max() < 0.1 for row in rows)
    narrow, wide = (row["cosines_ridge"][:, 0] for row in rows)
    assert (narrow > 0.8).all() and (wide > narrow).all()


# ---- Stage II ----


@pytest.mark.parametrize("fraction", [1.0, 0.6])
def test_energy_and_its_gradient(fraction):
    with jax.enable_x64(True):
        M = 5
        labels = model.group_table("Z5").ravel()
        mask = model.random_split(rng(0), M, fraction)
        Y = model.centred_labels(jnp.asarray(labels), jnp.asarray(mask), M)
        W = rng(0).normal(size=(2 * M, 4))
        X, rows = dense_inputs(M)[mask == 1], labels[mask == 1]
        Y_plain = np.eye(M)[rows] - np.eye(M)[rows].mean(axis=0)
        for j in range(4):
            assert float(energy(W, Y)[j]) == pytest.approx(0.5 * np.sum((Y_plain.T @ (X @ W[:, j]) ** 2) ** 2))
        numeric, h = np.zeros_like(W), 1e-5
        for i in range(2 * M):
            bump = np.zeros_like(W)
            bump[i] = h
            numeric[i] = (energy(W + bump, Y) - energy(W - bump, Y)) / (2 * h)
        np.testing.assert_allclose(jax.jit(theory.energy_gradient)(jnp.asarray(W), Y), numeric, rtol=1e-6, atol=1e-6)


def test_energy_is_a_sum_over_frequencies_and_knows_no_shift():
    with jax.enable_x64(True):
        M = 9
        W = rng(0).normal(size=(2 * M, 6))
        u, v = np.fft.fft(W[:M], axis=0), np.fft.fft(W[M:], axis=0)
        closed = 2 / M * (np.abs(u[1:]) ** 2 * np.abs(v[1:]) ** 2).sum(axis=0)
        np.testing.assert_allclose(energy(W, all_pairs_Y(M)), closed)
        shifted = np.concatenate([np.roll(W[:M], 2, axis=0), W[M:]])
        np.testing.assert_allclose(energy(shifted, all_pairs_Y(M)), closed)


@pytest.mark.parametrize(("M", "k", "expected"), [(7, 1, 7 / 4), (7, 3, 7 / 4), (8, 3, 2.0), (8, 4, 4.0)])
def test_one_frequency_has_the_maximal_energy_whatever_its_phases(M, k, expected):
    phases = [(0.0, 0.0), (np.pi, 0.0)] if 2 * k == M else [(0.0, 0.0), (0.7, -2.1), (3.0, 1.4)]
    W = np.stack([wave(M, k, *pair) for pair in phases], axis=1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(energy(W, all_pairs_Y(M)), expected)


def test_every_ascent_ends_on_one_frequency_with_a_quarter_of_M():
    M = 11
    with jax.enable_x64(True):
        Y = all_pairs_Y(M)[None]
        starts = unit(rng(0).normal(size=(1, 2 * M, 32)))
        W, ends = train_many(theory.ascent_step, theory.ascent_metrics, [3000], starts, Y)
        np.testing.assert_allclose(ends["energy"], M / 4, rtol=1e-6)
        np.testing.assert_allclose(theory.peaks(W), 1, atol=1e-5)
        np.testing.assert_allclose(np.square(np.asarray(W)[0, :M]).sum(axis=0), 0.5, atol=1e-5)
        assert float(ends["slope"].max()) < 1e-4


def test_ascent_never_descends():
    Y = model.centred_labels(jnp.asarray(model.group_table("Z7").ravel()), model.random_split(rng(0), 7, 0.5), 7)
    W = unit(rng(1).normal(size=(14, 16)))
    _, energies = train_many(theory.ascent_step, theory.energy, range(31), W[None], Y[None])
    assert (np.diff(np.asarray(energies[0]), axis=0) > -1e-5).all()


# ---- Stage III ----


def test_with_some_frequencies_already_fitted_ascent_goes_to_the_missing_ones():
    M, missing = 11, [2, 5]
    angles = 2 * np.pi * np.outer(np.arange(M), missing) / M
    modes = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * np.sqrt(2 / M)
    residual = all_pairs_Y(M) @ jnp.asarray(modes @ modes.T, dtype=jnp.float32)
    starts = unit(rng(0).normal(size=(2 * M, 32)))
    W, _ = train_many(theory.ascent_step, theory.ascent_metrics, [1000], starts[None], residual[None])
    assert set(np.asarray(theory.frequency_power(W[0])).argmax(axis=0) + 1) == set(missing)


def test_nodes_of_similar_features_repel():
    draw = rng(0)
    common = draw.normal(size=(40, 1))
    F = np.concatenate([common + 0.5 * draw.normal(size=(40, 2)), draw.normal(size=(40, 1))], axis=1)
    F = F - F.mean(axis=0)
    B = jax.jit(theory.interaction)(jnp.asarray(F), 1.0)
    np.testing.assert_allclose(B @ (F.T @ F + np.eye(3)), np.eye(3), atol=1e-4)
    assert B[0, 1] < 0 < B[0, 0]


# ---- Fourier powers ----


def test_frequency_power_and_the_peak_fraction():
    M = 11
    W = np.stack([3 * wave(M, 2, 0.3, 1.0), wave(M, 4, 0.0, 0.0) + wave(M, 5, 1.0, 0.0)], axis=1) + 0.4  # a constant counts for nothing
    power = np.asarray(theory.frequency_power(jnp.asarray(W)))
    spectrum = np.abs(np.fft.fft(W[:M], axis=0)) ** 2
    np.testing.assert_allclose(power, [spectrum[k] + spectrum[M - k] for k in range(1, 6)], atol=1e-4)
    weight = power.sum(axis=0)
    assert float(theory.peak_fraction(jnp.asarray(W))) == pytest.approx((weight[0] + 0.5 * weight[1]) / weight.sum(), rel=1e-3)
    assert int(theory.frequencies_carried(jnp.asarray(W))) == 3
    assert int(theory.frequencies_carried(jnp.asarray(W[:, 1:]))) == 2


# ---- what the experiments conclude ----


def test_random_labels_do_not_generalise_and_true_ones_do():
    M, arguments = 11, {"lr": 0.01, "wd": 5e-4, "schedule": [600]}
    for permute, generalises in ((True, False), (False, True)):
        _, _, curves = train(f"Z{M}", 128, 0.8, (1000, 1001, 1002), permute_labels=permute, **arguments)
        np.testing.assert_array_equal(curves["train_accuracy"], 1)
        accuracy = np.asarray(curves["test_accuracy"]).mean()
        assert accuracy > 0.9 if generalises else accuracy <= 3 / M


def test_sustained_takes_the_first_of_three_good_evaluations():
    accuracy = np.array([[0.2, 1.0, 0.5, 0.95, 0.96, 1.0, 1.0], [0.2, 1.0, 1.0, 0.5, 0.9, 1.0, 1.0]])
    np.testing.assert_array_equal(sustained(accuracy, 0.95, 10 * np.arange(1, 8)), [40, -1])


def test_thresholds_are_interpolated_and_a_planted_scaling_law_is_recovered():
    groups, kappas = (11, 17, 23, 31), np.array([2.0, 2.5, 3.0, 3.5])
    rows = []
    for M in groups:
        for kappa in kappas:
            accuracy = np.clip((kappa - 2.6) * 2 + 0.5, 0, 1)
            law = {"group": f"Z{M}", "kappa": kappa, "train_fraction": kappa * np.log(M) / M}
            rows += [{"experiment": "phase", "seed": seed, "final_test_accuracy": accuracy} | law for seed in (0, 1)]
    trials = pd.DataFrame(rows)
    np.testing.assert_allclose(claims.scaling_slope(trials), 1.0)
    at = 2.5 + 0.5 * (0.5 - 0.3) / (1.0 - 0.3)
    np.testing.assert_allclose(claims.critical_constant(trials), at)
    np.testing.assert_allclose(claims.thresholds(trials).loc[0, "Z23"], at * np.log(23) / 23)


def test_a_miniature_of_every_experiment_gives_rows_and_depends_on_the_seed():
    config = Config(
        curve_order=7, curve_width=16, curve_steps=40, curve_decays=(5e-4,), phase_groups=("S3",), phase_widths=(16,), phase_kappas=(1.5,), phase_steps=40,
        landscape_orders=(7,), landscape_kappas=(2.0,), landscape_starts=4, landscape_steps=50, lazy_order=7, lazy_widths=(32,), muon_order=7,
        muon_widths=(8,), muon_steps=40,
    )  # fmt: skip
    last_of_each = {condition["experiment"]: condition for condition in conditions(config)}  # permuted labels, S3, a subset, Muon
    assert list(last_of_each) == ["curve", "phase", "landscape", "lazy", "muon"]
    for condition in last_of_each.values():
        first, second = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        if condition["experiment"] in ("curve", "landscape", "lazy"):
            assert any((first[name] != second[name]).any() for name in first)
