"""Feature emergence in grokking: the closed forms of the paper, the optimisers against torch, the batch trainer, and a miniature of the experiments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch

from papers.grokking_feature_emergence import claims, model, replicate, theory
from papers.grokking_feature_emergence.replicate import Config, conditions, run, run_lazy, sustained, train
from shared.engine import NotRun
from shared.optim.many import train_many
from shared.seeds import numpy_rng


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


def test_initial_weights_are_distributed_as_torchs():
    M, K = 23, 256
    for ours, layer in zip(model.init_params(rng(0), M, K), (torch.nn.Linear(2 * M, K, bias=False), torch.nn.Linear(K, M, bias=False)), strict=True):
        theirs = layer.weight.detach().numpy()
        assert ours.shape == theirs.T.shape
        assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)


def test_activations_equal_torchs():
    z = np.linspace(-2, 2, 9)
    t = torch.tensor(z)
    wanted = {"square": t**2, "relu": torch.relu(t), "silu": torch.nn.functional.silu(t), "relu2": torch.relu(t) ** 2}
    assert set(wanted) == set(model.ACTIVATIONS)
    for name, values in wanted.items():
        np.testing.assert_allclose(model.ACTIVATIONS[name](jnp.asarray(z)), values, rtol=1e-5, atol=1e-6)


def test_loss_and_gradient_equal_a_plain_torch_network_on_the_train_rows():
    M, K = 7, 10
    problem = cyclic_problem(M, 0.6)
    params = model.init_params(rng(1), M, K)
    rows = np.flatnonzero(np.asarray(problem.train))
    W, V = (torch.tensor(np.asarray(param), dtype=torch.float64, requires_grad=True) for param in params)
    o = (torch.tensor(dense_inputs(M)[rows]) @ W) ** 2 @ V
    o = o - o.mean(dim=1, keepdim=True)
    target = torch.nn.functional.one_hot(torch.tensor((rows // M + rows % M) % M), M) - 1 / M
    expected = ((o - target) ** 2).sum(dim=1).mean()
    expected.backward()
    value, grad = jax.jit(jax.value_and_grad(model.loss), static_argnums=2)(params, problem, "square")
    assert float(value) == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(grad.W, W.grad, atol=1e-6)
    np.testing.assert_allclose(grad.V, V.grad, atol=1e-6)


def test_what_is_measured_is_the_back_propagated_gradient_and_accuracies_and_losses_on_their_own_pairs():
    M, K = 7, 10
    problem, state = cyclic_problem(M, 0.6), model.init_state(rng(1), M, K)
    metrics = {name: float(value) for name, value in jax.jit(model.measurement())(state, problem).items()}
    W, V = (np.asarray(param, dtype=float) for param in state.params)
    rows, labels = np.asarray(problem.train) == 1, np.asarray(problem.labels)
    F = torch.tensor((dense_inputs(M) @ W) ** 2, requires_grad=True)
    o = F @ torch.tensor(V)
    losses = ((o - o.mean(dim=1, keepdim=True) - torch.tensor(np.eye(M)[labels] - 1 / M)) ** 2).sum(dim=1)
    losses[rows].sum().backward()
    G = -F.grad.numpy() / 2
    Y = np.eye(M)[labels[rows]] - np.eye(M)[labels[rows]].mean(axis=0)
    signal = Y @ Y.T @ F.detach().numpy()[rows]
    right = o.detach().numpy().argmax(axis=1) == labels
    wanted = {
        "train_accuracy": right[rows].mean(),
        "test_accuracy": right[~rows].mean(),
        "train_loss": losses[rows].mean().item(),
        "test_loss": losses[~rows].mean().item(),
        "signal_norm": np.linalg.norm(G),
        "signal_cosine": (G[rows] * signal).sum() / np.linalg.norm(G) / np.linalg.norm(signal),
        "W_norm": np.linalg.norm(W),
    }
    assert metrics == pytest.approx(wanted, rel=1e-4)


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


def newton_schulz(G: np.ndarray) -> np.ndarray:
    """The five steps as polynomials of the singular values, s <- a s + b s^3 + c s^5, with the constants of the official variant."""
    U, singular, Vt = np.linalg.svd(G, full_matrices=False)
    singular = singular / np.linalg.norm(singular)
    for a, b, c in ((4.01, -9.22, 5.80), (3.49, -6.38, 3.23), (3.34, -6.21, 3.20), (3.64, -7.48, 4.43), (3.46, -5.35, 2.85)):
        singular = a * singular + b * singular**3 + c * singular**5
    assert (np.abs(singular - 1) < 0.3).all()
    return (U * singular) @ Vt


def test_muon_steps_along_the_running_mean_with_its_singular_values_near_one():
    shape = 20, 50  # the next test has more rows than columns
    param, grad, mean = (rng(seed).normal(size=shape) for seed in range(3))
    updated, moments = jax.jit(model.muon)(param, grad, model.Moments(mean, np.zeros(shape)), 3, 0.1, 0.5)
    mean = 0.99 * mean + 0.01 * grad
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(updated, 0.95 * param - 0.1 * newton_schulz(mean), atol=1e-5)


def test_a_run_starts_from_its_seed_and_moves_W_by_the_named_optimiser_and_V_by_adam():
    M, K, lr, wd, seeds = 5, 8, 0.01, 0.1, (3, 4)
    arguments = {"lr": lr, "wd": wd, "schedule": [1], "activation": "relu2", "optimiser": "muon", "permute_labels": True}
    first, last, _ = train("Z5", K, 0.6, seeds, **arguments)
    for i, seed in enumerate(seeds):
        start = model.init_params(numpy_rng(seed, "init"), M, K)
        rows = np.flatnonzero(model.random_split(numpy_rng(seed, "split"), M, 0.6))
        labels = numpy_rng(seed, "labels").permutation(model.group_table("Z5").ravel())[rows]
        W, V = (torch.tensor(param.astype(float), requires_grad=True) for param in start)
        o = torch.relu(torch.tensor(dense_inputs(M)[rows]) @ W) ** 2 @ V
        ((o - o.mean(dim=1, keepdim=True) - torch.tensor(np.eye(M)[labels] - 1 / M)) ** 2).sum(dim=1).mean().backward()
        np.testing.assert_array_equal(first.params.W[i], start.W)
        np.testing.assert_allclose(last.params.W[i], (1 - lr * wd) * start.W - lr * newton_schulz(0.01 * W.grad.numpy()), atol=1e-5)
        torch.optim.Adam([V], lr=lr, weight_decay=wd).step()
        np.testing.assert_allclose(last.params.V[i], V.detach(), atol=1e-5)


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
    assert narrow == pytest.approx(0.84, abs=0.02) and wide == pytest.approx(0.92, abs=0.02)


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
        W, ends = train_many(theory.ascent_step, theory.ascent_metrics, [0, 3000], starts, Y)
        np.testing.assert_allclose(ends["energy"][:, 1], M / 4, rtol=1e-6)
        np.testing.assert_allclose(theory.peaks(W), 1, atol=1e-5)
        np.testing.assert_allclose(np.square(np.asarray(W)[0, :M]).sum(axis=0), 0.5, atol=1e-5)
        assert float(ends["slope"][:, 1].max()) < 1e-4 < 0.1 < float(ends["slope"][:, 0].min())


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
    W[M:] *= 2  # neither does the half that reads g2
    power = np.asarray(theory.frequency_power(jnp.asarray(W)))
    spectrum = np.abs(np.fft.fft(W[:M], axis=0)) ** 2
    np.testing.assert_allclose(power, [spectrum[k] + spectrum[M - k] for k in range(1, 6)], atol=1e-4)
    np.testing.assert_allclose(theory.peaks(W), [1, 0.5], atol=0.01)
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


def fake_runs(calls: list):
    """A stand-in for ``train``: it notes what it is asked for and hands back weights and curves that tell first from last and train from test."""

    def train(group, K, fraction, seeds, **arguments):
        calls.append({"group": group, "K": K, "fraction": fraction} | arguments)
        M, times = len(model.group_table(group)), np.linspace(0, 1, len(arguments["schedule"]))
        W_first, W_last = (np.stack([np.tile(wave(M, k, 0.0, 0.0)[:, None], (1, K)) + 0.3 * mixed for _ in seeds]) for k, mixed in ((1, 1), (2, 0)))
        W_first[:, :M] += rng(0).normal(size=(len(seeds), M, K))
        states = [model.State(model.Params(W, np.zeros((len(seeds), K, M))), None, None) for W in (W_first, W_last)]
        curves = {"train_accuracy": np.minimum(1, 10 * times), "test_accuracy": 0.98 * times, "train_loss": 1 - times}
        return *states, {name: np.tile(curve, (len(seeds), 1)) for name, curve in curves.items()}

    return train


def test_every_experiment_trains_with_its_own_settings_and_reads_the_right_end(monkeypatch):
    calls = []
    monkeypatch.setattr(replicate, "train", fake_runs(calls))
    config = Config()
    curve = {"experiment": "curve", "group": "Z23", "width": 30, "decay": 2e-4}
    (row,) = run(config, curve | {"labels": "true"}, (0,), "cpu")
    run(config, curve | {"labels": "permuted"}, (0,), "cpu")
    assert [call["permute_labels"] for call in calls] == [False, True]
    common = {"group": "Z23", "K": 30, "fraction": 0.5, "lr": 0.01, "wd": 2e-4, "activation": "square"}
    assert all(calls[0][name] == value for name, value in common.items())
    np.testing.assert_array_equal(calls[0]["schedule"], np.arange(10, 1501, 10))
    assert (row["step_train"], row["step_test"]) == (10 * 16, 10 * 146)  # 10 (i / 149) >= 0.99 from i = 15 on, 0.98 (i / 149) >= 0.95 from i = 145 on
    assert (row["final_train_accuracy"], row["final_test_accuracy"]) == pytest.approx((1, 0.98))
    assert row["peak_fraction"] == pytest.approx(1)
    assert (row["power_after"].argmax(axis=1) == 1).all()
    assert row["power_before"].max(axis=1).sum() < 0.9 * row["power_before"].sum()
    assert (row["steps"][-1], row["curve_test_accuracy"][-1]) == pytest.approx((1500, 0.98))

    (row,) = run(config, {"experiment": "phase", "group": "Z17", "width": 30, "kappa": 2.0}, (0,), "cpu")
    assert row["train_fraction"] == calls[-1]["fraction"] == pytest.approx(2 * np.log(17) / 17)
    assert (calls[-1]["group"], calls[-1]["wd"], calls[-1]["lr"], calls[-1]["schedule"]) == ("Z17", 5e-4, 0.01, [1500])
    (row,) = run(config, {"experiment": "muon", "group": "Z31", "width": 16, "optimiser": "adamw"}, (0,), "cpu")
    assert {name: calls[-1][name] for name in ("fraction", "wd", "lr", "optimiser")} == {"fraction": 0.6, "wd": 2e-4, "lr": 0.01, "optimiser": "adamw"}
    assert row["frequencies"] == 1


def test_strongest_nodes_are_those_of_most_power_in_order_of_frequency():
    nodes = [scale * wave(7, k, 0.0, 0.0) for scale, k in ((1, 3), (3, 2), (0.1, 1), (2, 1))]
    power = theory.strongest_nodes(np.stack(nodes, axis=1), 2)
    np.testing.assert_array_equal(power.argmax(axis=1), [0, 1])  # frequencies 1 and 2, of scales 2 and 3
    assert power[1].sum() == pytest.approx(9 / 4 * power[0].sum())


def test_claims_read_the_right_rows():
    curves = [("true", 0.0, -1, 0.1), ("true", 2e-4, 400, 0.9), ("true", 5e-4, 200, 0.99), ("permuted", 5e-4, -1, 0.05)]
    rows = [
        {"experiment": "curve", "group": "Z23", "labels": labels, "decay": decay, "step_train": 20, "step_test": step, "final_test_accuracy": accuracy,
         "peak_fraction": accuracy - 0.01}
        for labels, decay, step, accuracy in curves
    ]  # fmt: skip
    for name, bonus in (("adam", 0.0), ("adamw", 0.05), ("muon", 0.1)):
        rows += [{"experiment": "muon", "group": "Z31", "width": width, "optimiser": name, "final_test_accuracy": width / 100 + bonus} for width in (16, 32)]
        rows += [{"experiment": "muon", "group": "Z31", "width": 64, "optimiser": name, "final_test_accuracy": 1.0}]
    for width in (256, 1024):
        rows += [{"experiment": "lazy", "width": width, "cosine_random": -0.04, "cosines_ridge": np.array([0.2, 0.84 + width / 1e5, 1.0])}]
    ends = [("all", np.nan, 1.0), ("subset", 1.0, 0.1), ("subset", 3.0, 0.4), ("subset", 5.0, 0.9)]
    for group in ("Z7", "Z11"):
        rows += [{"experiment": "landscape", "group": group, "pairs": pairs, "kappa": kappa, "single_mode": share} for pairs, kappa, share in ends]
    trials = pd.DataFrame([row | {"seed": seed} for row in rows for seed in (0, 1)])
    wanted = {
        claims.grokking_delay: 20.0, claims.weight_decay_needed: 0.8, claims.single_irreps: 0.98, claims.muon_gap: 0.1, claims.signal_gain: 0.8064,
        claims.single_maxima: 1.0, claims.memorising_maxima: 0.8, claims.random_labels: 23 * 0.05,
    }  # fmt: skip
    for measure, value in wanted.items():
        assert measure(trials).to_dict() == pytest.approx({0: value, 1: value}), measure.__name__
    with pytest.raises(NotRun):
        claims.grokking_delay(trials.assign(step_test=-1))


def test_miniature_experiments_give_rows_and_depend_on_the_seed():
    config = Config(
        curve_order=7, curve_width=16, curve_steps=40, curve_decays=(5e-4,),
        landscape_orders=(7,), landscape_kappas=(2.0,), landscape_starts=4, landscape_steps=50,
    )  # fmt: skip
    last_of_each = {condition["experiment"]: condition for condition in conditions(config)}
    assert list(last_of_each) == ["curve", "phase", "landscape", "lazy", "muon"]
    for name in ("curve", "landscape"):  # permuted labels, a subset of the pairs; the others are run above or trained by the same program
        condition = last_of_each[name]
        first, second = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        assert any((first[name] != second[name]).any() for name in first)
    assert first["single_mode"] == (first["peaks"] > 0.95).mean()
    assert first["train_fraction"] == pytest.approx(2 * np.log(7) / 7)
    assert np.abs(first["energies"] - 7 / 4).max() > 0.1  # on the full table all would be M/4
