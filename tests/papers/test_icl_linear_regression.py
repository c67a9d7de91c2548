"""In-context linear regression: the layer against plain loops and torch, the predictors against NumPy, the closed forms, and a miniature of the experiments."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from papers.icl_linear_regression import bench, claims, model, replicate, theory
from papers.icl_linear_regression.replicate import Config, State, adam, conditions, errors_of_predictors, read_pattern, run, train, training_step
from shared.engine import NotRun
from shared.seeds import jax_keys, numpy_rng

D, L, S2 = 5, 40, 0.1  # the paper's standard setting: d, L, s2


draw = jax.jit(model.draw_prompts, static_argnums=(1, 2, 3))
predict = jax.jit(model.predict, static_argnums=3)
predict_prefixes = jax.jit(model.predict_prefixes, static_argnums=(3, 4))
read_off = jax.jit(model.pattern)
STANDARD, CORRELATED, TASKS = model.single_task(D, S2), model.single_task(D, S2, rho=0.5), model.two_tasks(D, 3, 4, S2)
NOISELESS_TASKS = model.two_tasks(D, 3, 4, 0.0)


@functools.cache
def some_prompts(setting: model.Setting = STANDARD) -> model.Prompts:
    """Six prompts of twelve examples."""
    return draw(jax.random.key(3), setting, 6, 12)


@functools.cache
def many_prompts(setting: model.Setting = STANDARD) -> model.Prompts:
    return draw(jax.random.key(0), setting, 20_000, 100)


def some_params(H: int, N: int = 1) -> model.Params:
    return jax.tree.map(lambda p: 2 * p, model.init_params(np.random.default_rng(7), H, D, N))


def two_heads(omega: float, mu: float) -> model.Params:
    return model.in_learnt_form(jnp.array([omega, -omega]), jnp.array([mu, -mu]), D)


def predict_by_loops(params: model.Params, Z: np.ndarray, x_q: np.ndarray, attention: str) -> np.ndarray:
    """The paper's formula for one prompt, columns as tokens: sum_h O V Z softmax(Z^T K^T Q z_q / sqrt(D))."""
    columns = Z.T  # (D, L)
    z_q = np.concatenate([x_q, np.zeros(len(columns) - len(x_q))])
    total = np.zeros(params.O.shape[1])
    for Q, K, V, O in zip(*(np.asarray(p, np.float64) for p in params), strict=True):
        s = columns.T @ K.T @ Q @ z_q / np.sqrt(len(columns))
        weights = np.exp(s) / np.exp(s).sum() if attention == "softmax" else s / columns.shape[1]
        total += O @ V @ columns @ weights
    return total


def predict_all_by_loops(params: model.Params, Z, x_q, attention: str) -> np.ndarray:
    return np.array([predict_by_loops(params, *prompt, attention) for prompt in zip(np.asarray(Z, np.float64), np.asarray(x_q, np.float64), strict=True)])


# ---- prompts ----


def test_prompts_have_the_stated_covariance_weights_and_noise():
    Z, x_q, y_q = map(np.asarray, many_prompts(CORRELATED))
    x, y = Z[..., :D], Z[..., D]
    assert np.cov(x[:2000].reshape(-1, D).T) == pytest.approx(CORRELATED.Sigma, abs=0.02)
    assert np.cov(x_q.T) == pytest.approx(CORRELATED.Sigma, abs=0.04)
    beta, rest, _, _ = zip(*(np.linalg.lstsq(X, Y, rcond=None) for X, Y in zip(x[:500], y[:500], strict=True)), strict=True)
    assert np.mean(np.concatenate(rest)) / (100 - D) == pytest.approx(S2, rel=0.03)  # 100 - d degrees of freedom are left to the noise
    assert np.var(beta) == pytest.approx(1 / D, rel=0.1)
    query_error = y_q[:500, 0] - (np.array(beta) * x_q[:500]).sum(axis=1)
    assert query_error.var() == pytest.approx(S2 * (1 + D / (100 - D - 1)), rel=0.25)  # the query shares beta with the examples, and has noise


def test_a_task_reads_only_its_own_covariates():
    Z, x_q, y_q = map(np.asarray, some_prompts(NOISELESS_TASKS))
    for k, (start, stop) in enumerate([(0, 3), (1, 5)]):
        for X, y, q, target in zip(Z[..., :5], Z[..., 5 + k], x_q, y_q[:, k], strict=True):
            beta = np.linalg.lstsq(X, y, rcond=None)[0]
            outside = np.delete(np.arange(5), np.arange(start, stop))
            assert np.abs(beta[outside]).max() < 1e-4
            assert np.abs(beta[start:stop]).min() > 1e-4
            assert q @ beta == pytest.approx(target, abs=1e-4)
    y = np.asarray(draw(jax.random.key(0), TASKS, 4000, 12).Z[..., D:])
    assert y.var(axis=(0, 1)) == pytest.approx([3 * (1 + S2), 4 * (1 + S2)], rel=0.05)


# ---- the layer ----


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("N", [1, 2])
def test_the_layer_is_the_papers_formula(attention, N):
    prompts, params = some_prompts(STANDARD if N == 1 else NOISELESS_TASKS), some_params(3, N)
    got = predict(params, prompts.Z, prompts.x_q, attention)
    assert np.asarray(got) == pytest.approx(predict_all_by_loops(params, prompts.Z, prompts.x_q, attention), abs=1e-5)


def torch_layer(params: model.Params) -> bench.TorchAttention:
    """The torch module with our weights, one task."""
    H = len(params.Q)
    module = bench.TorchAttention(H, D)
    with torch.no_grad():
        for name, p in zip(("q", "k", "v"), params[:3], strict=True):
            getattr(module, name).weight.copy_(torch.tensor(np.asarray(p).reshape(-1, D + 1)))
        module.o.weight.copy_(torch.tensor(np.asarray(params.O[:, 0]).reshape(1, -1)))
    return module


def our_params(H: int, weights: list[torch.Tensor]) -> list[np.ndarray]:
    """What torch keeps for q, k, v and o, in the shapes of ``Params``."""
    q, k, v, o = (np.asarray(weight.detach()) for weight in weights)
    return [*(p.reshape(H, D + 1, D + 1) for p in (q, k, v)), o.reshape(H, 1, D + 1)]


def test_the_layer_is_the_torch_module_with_the_same_weights():
    prompts, params = some_prompts(), some_params(2)
    with torch.no_grad():
        wanted = torch_layer(params)(*(torch.tensor(np.asarray(a)) for a in (prompts.Z, prompts.x_q))).numpy()
    assert np.asarray(predict(params, prompts.Z, prompts.x_q))[:, 0] == pytest.approx(wanted, abs=1e-5)


def test_one_step_of_the_optimiser_from_the_same_state_is_torchs():
    """Weights, both moments of Adam and its step count are handed over in mid-training; then both sides see the same batch."""
    H, lr, lr_end, steps, taken, key = 3, 0.05, 0.005, 8, 3, jax.random.key(1)
    step = jax.jit(training_step(STANDARD, "softmax", 12, 6, adam(lr, lr_end, steps)))
    start = some_params(H)
    state = State(start, adam(lr, lr_end, steps).init(start))
    for t in range(taken):
        state = step(state, t, key)
    after = step(state, taken, key).params

    module = torch_layer(state.params)
    weights = [layer.weight for layer in (module.q, module.k, module.v, module.o)]
    Z, x_q, y_q = (torch.tensor(np.asarray(a)) for a in draw(jax.random.fold_in(key, taken), STANDARD, 6, 12))
    torch.nn.functional.mse_loss(module(Z, x_q), y_q[:, 0]).backward()
    gradients = our_params(H, [weight.grad for weight in weights])
    rate, t = lr_end + (lr - lr_end) * (1 + np.cos(np.pi * taken / steps)) / 2, taken + 1
    moments = state.adam[0]
    for before, ours, gradient, m, v in zip(state.params, after, gradients, moments.mu, moments.nu, strict=True):
        m, v = (0.9 * np.asarray(m) + 0.1 * gradient) / (1 - 0.9**t), (0.999 * np.asarray(v) + 0.001 * gradient**2) / (1 - 0.999**t)
        theirs = np.asarray(before) - rate * m / (np.sqrt(v) + 1e-8)  # torch.optim.Adam, no weight decay
        assert np.asarray(ours) == pytest.approx(theirs, abs=1e-6)  # decoupled weight decay would show at 1e-6, not at 1e-5
        assert np.abs(theirs - np.asarray(before)).max() > 1e-3  # a step was taken


def test_initial_weights_are_distributed_as_torchs():
    H = 400
    params, module = model.init_params(np.random.default_rng(0), H, D), bench.TorchAttention(H, D)
    for ours, theirs in zip(params, (module.q, module.k, module.v, module.o), strict=True):
        weight = theirs.weight.detach().numpy()
        assert float(np.std(ours)) == pytest.approx(weight.std(), rel=0.05)
        assert float(np.abs(ours).max()) == pytest.approx(np.abs(weight).max(), rel=0.01)


def test_attention_weights_sum_to_one_and_the_order_of_examples_is_irrelevant():
    prompts, params = some_prompts(), some_params(4)
    weights = model.attention_weights("softmax", model.scores(params, prompts.Z, prompts.x_q), L)
    assert np.asarray(weights.sum(axis=-1)) == pytest.approx(1.0, abs=1e-6)
    order = np.random.default_rng(0).permutation(prompts.Z.shape[1])
    shuffled = predict(params, prompts.Z[:, order], prompts.x_q)
    assert np.asarray(shuffled) == pytest.approx(np.asarray(predict(params, prompts.Z, prompts.x_q)), abs=1e-5)


def test_predictions_on_prefixes_are_predictions_on_shorter_prompts():
    prompts, params = some_prompts(), some_params(2)
    at_once = {name: np.asarray(predict_prefixes(params, prompts.Z, prompts.x_q, name, 7)) for name in ("softmax", "linear", "linear/L")}
    for l in (1, 7, 12):
        softmax, linear = (predict_all_by_loops(params, prompts.Z[:, :l], prompts.x_q, name) for name in ("softmax", "linear"))
        assert at_once["softmax"][:, l - 1] == pytest.approx(softmax, abs=1e-4)
        assert at_once["linear/L"][:, l - 1] == pytest.approx(linear, abs=1e-4)
        assert at_once["linear"][:, l - 1] == pytest.approx(linear * l / 7, abs=1e-4)


def test_the_columns_of_kq_beyond_d_act_on_nothing():
    gradient = jax.jit(jax.grad(model.loss))(some_params(2), some_prompts())
    assert (np.asarray(gradient.Q[..., D]) == 0).all()
    assert (np.asarray(gradient.Q[..., :D]) != 0).all()


# ---- the learnt form ----


def reduced_model(omega, mu, Z: np.ndarray, x_q: np.ndarray) -> float:
    """sum_h mu_h sum_l y_l softmax_l(omega_h x_l.x_q), for one prompt."""
    X, y = Z[:, :-1], Z[:, -1]
    e = [np.exp(w * X @ x_q) for w in omega]
    return sum(m * (y * w / w.sum()).sum() for m, w in zip(mu, e, strict=True))


def test_the_learnt_form_is_the_reduced_model_and_its_pattern_is_pure():
    omega, mu = jnp.array([0.3, -0.2, 0.1]), jnp.array([2.0, -1.5, -0.5])
    params, prompts = model.in_learnt_form(omega, mu, D), some_prompts()
    wanted = [reduced_model(np.asarray(omega), np.asarray(mu), np.asarray(Z), np.asarray(x_q)) for Z, x_q in zip(prompts.Z, prompts.x_q, strict=True)]
    assert np.asarray(predict(params, prompts.Z, prompts.x_q))[:, 0] == pytest.approx(np.array(wanted), abs=1e-6)
    pattern = read_off(params)
    assert np.asarray(pattern.omega) == pytest.approx(np.asarray(omega), rel=1e-5)
    assert np.asarray(pattern.mu) == pytest.approx(np.asarray(mu), rel=1e-5)
    assert np.asarray([pattern.diag_ratio, pattern.last_ratio]) == pytest.approx(1.0, abs=1e-6)
    assert np.asarray(pattern.diag_variance) == pytest.approx(0.0, abs=1e-9)


def test_the_pattern_is_read_off_the_weights_as_defined():
    params = some_params(3)
    pattern = read_off(params)
    for h in range(3):
        KQ = np.asarray(params.K[h]).T @ np.asarray(params.Q[h])[:, :D] / np.sqrt(D + 1)
        whole = np.asarray(params.K[h]).T @ np.asarray(params.Q[h]) / np.sqrt(D + 1)
        OV = np.asarray(params.O[h, 0]) @ np.asarray(params.V[h])
        diagonal = np.diag(KQ)
        assert float(pattern.omega[h]) == pytest.approx(diagonal.mean(), rel=1e-4)
        assert float(pattern.diag_ratio[h]) == pytest.approx((diagonal**2).sum() / (KQ**2).sum(), rel=1e-4)
        assert float(pattern.diag_ratio_whole[h]) == pytest.approx((diagonal**2).sum() / (whole**2).sum(), rel=1e-4)
        assert float(pattern.diag_variance[h]) == pytest.approx(diagonal.var(), rel=1e-3)
        assert float(pattern.mu[h]) == pytest.approx(OV[-1], rel=1e-4)
        assert float(pattern.last_ratio[h]) == pytest.approx(OV[-1] ** 2 / (OV**2).sum(), rel=1e-4)
    assert model.is_active(jnp.array([3.0, -0.031, 0.029])).tolist() == [True, True, False]


def test_the_learnt_form_is_invariant_to_rotations_and_a_zero_sum_to_shifts_of_the_labels():
    prompts, params = some_prompts(), two_heads(0.4, 2.0)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    rotated = jnp.concatenate([prompts.Z[..., :D] @ rotation, prompts.Z[..., D:]], axis=2)
    before = np.asarray(predict(params, prompts.Z, prompts.x_q))
    assert np.asarray(predict(params, rotated, prompts.x_q @ rotation)) == pytest.approx(before, abs=1e-5)
    shifted = prompts.Z.at[..., D].add(3.0)
    assert np.asarray(predict(params, shifted, prompts.x_q)) == pytest.approx(before, abs=1e-5)
    unbalanced = model.in_learnt_form(jnp.array([0.4, -0.4]), jnp.array([2.0, -1.0]), D)
    change = predict(unbalanced, shifted, prompts.x_q) - predict(unbalanced, prompts.Z, prompts.x_q)
    assert np.asarray(change) == pytest.approx(3.0, abs=1e-4)


def test_two_heads_become_debiased_gradient_descent_at_the_second_order_of_omega():
    prompts = jax.tree.map(lambda a: a[:200, :12] if a.ndim == 3 else a[:200], many_prompts())
    Z, x_q = np.asarray(prompts.Z), np.asarray(prompts.x_q)
    debiased = np.einsum("bl,bld,bd->b", Z[..., D] - Z[..., D].mean(axis=1, keepdims=True), Z[..., :D], x_q) / Z.shape[1]
    gaps = []
    for omega in (0.2, 0.1, 0.05):
        yhat = predict(two_heads(omega, 0.5 / omega), prompts.Z, prompts.x_q)[:, 0]  # eta = 2 omega mu = 1
        gaps.append(float(jnp.sqrt(jnp.square(yhat - debiased).mean())))
    orders = np.log2(np.array(gaps[:-1]) / np.array(gaps[1:]))
    assert orders == pytest.approx(2.0, abs=0.25)


def test_the_effective_preconditioner_is_eta_times_the_identity_in_the_learnt_form():
    assert np.asarray(model.effective_preconditioner(two_heads(0.13, 3.45))) == pytest.approx(2 * 0.13 * 3.45 * np.eye(D), abs=1e-6)


# ---- predictors ----


def test_gradient_descent_and_ridge_on_prefixes_equal_their_definitions():
    prompts = some_prompts()
    plain, debiased = (np.asarray(p) for p in jax.jit(model.gd_prefixes)(prompts.Z, prompts.x_q))
    ridge = np.asarray(jax.jit(model.ridge_prefixes)(prompts.Z, prompts.x_q, 0.5))
    for l in (1, 4, 12):
        for b in range(len(prompts.Z)):
            X, y, x_q = np.asarray(prompts.Z[b, :l, :D]), np.asarray(prompts.Z[b, :l, D]), np.asarray(prompts.x_q[b])
            assert plain[b, l - 1] == pytest.approx((y * (X @ x_q)).sum() / l, abs=1e-5)
            assert debiased[b, l - 1] == pytest.approx(((y - y.mean()) * (X @ x_q)).sum() / l, abs=1e-5)
            assert ridge[b, l - 1] == pytest.approx(x_q @ np.linalg.solve(X.T @ X + 0.5 * np.eye(D), X.T @ y), abs=1e-4)


def test_errors_equal_the_authors_own_monte_carlo():
    """The values printed in the authors' notebook, 50 000 prompts each, at L = 40 and L = 100."""
    prompts = many_prompts()
    omega, mu, _ = theory.one_head_minimiser(D, L, S2)
    smoother = model.in_learnt_form(jnp.array([omega]), jnp.array([mu]), D)
    predictions = {
        "two heads": predict_prefixes(two_heads(0.13, 3.45), prompts.Z, prompts.x_q, "softmax", L)[..., 0],
        "smoother": predict_prefixes(smoother, prompts.Z, prompts.x_q, "softmax", L)[..., 0],
        "ridge": model.ridge_prefixes(prompts.Z, prompts.x_q, D * S2),
    }
    authors = {"two heads": (0.2430, 0.1638), "smoother": (0.4048, 0.2844), "ridge": (0.1146, 0.1041)}
    for name, values in authors.items():
        for length, value in zip((40, 100), values, strict=True):
            assert float(jnp.square(predictions[name][:, length - 1] - prompts.y_q[:, 0]).mean()) == pytest.approx(value, rel=0.03), (name, length)


# ---- theory ----


def test_the_minimum_with_one_head_is_the_closed_form():
    omega, mu, value = theory.one_head_minimiser(D, L, S2)
    with jax.enable_x64():
        found = minimize(lambda p: float(theory.approximate_loss(jnp.array(p[:1]), jnp.array(p[1:]), D, L, S2)), [0.3, 1.0], tol=1e-12)
    assert found.fun == pytest.approx(value, abs=1e-6)
    assert found.x == pytest.approx([omega, mu], abs=1e-4)
    assert value == pytest.approx(0.37207, abs=1e-5)


def test_two_heads_of_one_sign_can_rest_in_a_valley_of_minima_no_better_than_one_head():
    """Any split of the best head's mu over two heads is stationary; while both parts are positive, the loss curves up but along the split."""
    omega, mu, value = theory.one_head_minimiser(D, L, S2)

    @jax.jit
    def loss_gradient_and_hessian(point):
        def split_loss(point):
            return theory.approximate_loss(point[:2], point[2:], D, L, S2)

        return split_loss(point), jax.grad(split_loss)(point), jax.hessian(split_loss)(point)

    with jax.enable_x64():
        for share in (0.2, 0.5, 0.8, 1.2):
            loss, gradient, hessian = loss_gradient_and_hessian(jnp.array([omega, omega, share * mu, (1 - share) * mu]))
            assert float(loss) == pytest.approx(value, abs=1e-9)
            assert np.asarray(gradient) == pytest.approx(0.0, abs=1e-9)
            curvatures = np.linalg.eigvalsh(hessian)
            flat = np.abs(curvatures) < 1e-9
            assert flat.sum() == 1
            assert (curvatures[~flat].min() > 0.1) == (share < 1)


def test_opposite_skew_parts_in_two_heads_of_one_sign_lower_the_true_loss():
    """The valley of the approximate loss, which knows only multiples of the identity, is a ridge of the true loss: it falls where the two heads turn the
    query in opposite senses, with skew parts that cancel in sum_h mu_h KQ_h."""
    prompts, omega, mu = jax.tree.map(lambda a: a[:, :L] if a.ndim == 3 else a, many_prompts()), 0.52, 1.50  # near the best single head
    split = model.in_learnt_form(jnp.array([omega, omega]), jnp.array([mu / 2, mu / 2]), D)
    skew = np.random.default_rng(0).normal(size=(D, D))
    skew = 0.25 * (skew - skew.T) / np.linalg.norm(skew - skew.T)
    turn = np.zeros((2, D + 1, D + 1), dtype=np.float32)
    turn[:, :D, :D] = np.stack([skew, -skew]) * np.sqrt(D + 1)
    squared_errors = jax.jit(lambda params: jnp.square(model.predict(params, prompts.Z, prompts.x_q) - prompts.y_q)[:, 0])
    change = np.asarray(squared_errors(split._replace(Q=split.Q + turn)) - squared_errors(split))
    assert change.mean() < -3 * change.std() / np.sqrt(len(change))
    assert change.mean() > -0.01  # a small gain, next to what a head of the other sign brings


def test_two_heads_approach_the_infimum_and_the_best_mu_is_the_minimiser():
    with jax.enable_x64():
        limit = theory.many_heads_infimum(D, L, S2)
        assert limit == pytest.approx(0.22088, abs=1e-5)
        omega = jnp.array([1e-3, -1e-3])
        mu = theory.best_mu(omega, D, L, S2)
        assert float(theory.approximate_loss(omega, mu, D, L, S2)) == pytest.approx(limit, abs=1e-5)
        gradient = jax.grad(theory.approximate_loss, argnums=1)(omega, mu, D, L, S2)
        assert np.asarray(gradient) == pytest.approx(0.0, abs=1e-10)


def test_the_gradient_of_the_approximate_loss_equals_finite_differences():
    loss_and_gradient = jax.jit(jax.value_and_grad(lambda point: theory.approximate_loss(point[:3], point[3:], D, L, S2)))
    with jax.enable_x64():
        point = np.array([0.3, -0.2, 0.5, 1.0, -2.0, 0.4])
        gradient = loss_and_gradient(point)[1]
        for i, shift in enumerate(1e-6 * np.eye(6)):
            up, down = (float(loss_and_gradient(point + sign * shift)[0]) for sign in (1, -1))
            assert float(gradient[i]) == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-7)


def test_the_approximate_loss_is_near_the_measured_one_for_small_omega():
    prompts, omega, mu = many_prompts(), jnp.array([0.15, -0.15]), jnp.array([2.9, -2.9])
    measured = float(jax.jit(model.loss)(model.in_learnt_form(omega, mu, D), prompts))
    assert measured == pytest.approx(float(theory.approximate_loss(omega, mu, D, 100, S2)), rel=0.06)


def test_the_flow_is_a_runge_kutta_step_of_order_four_down_the_gradient():
    dt, start = 0.04, np.array([[0.2, -0.1], [0.5, -0.4]])  # omega, mu
    gradient = jax.jit(jax.grad(lambda point: theory.approximate_loss(*point, D, L, S2)))
    with jax.enable_x64():
        k1 = -gradient(start)
        k2 = -gradient(start + dt / 2 * k1)
        k3 = -gradient(start + dt / 2 * k2)
        k4 = -gradient(start + dt * k3)
        end = np.stack(jax.jit(theory.flow_step(D, L, S2, dt))(tuple(start), 0, None))
        wanted = np.asarray(start + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    assert end == pytest.approx(wanted, abs=1e-12)


def test_the_best_step_of_gradient_descent_has_the_stated_risk_and_no_better_neighbour():
    assert theory.best_gd_risk(D, L, S2) == pytest.approx(0.23978, abs=1e-5)
    step_size = theory.best_gd_step(np.eye(D), L, S2)[0, 0]
    assert step_size == pytest.approx(1 + S2 - theory.best_gd_risk(D, L, S2))

    def risk_on(setting):
        Z, x_q, y_q = many_prompts(setting)
        Xy = np.asarray((Z[:, :L, :D] * Z[:, :L, D:]).mean(axis=1))
        return lambda Gamma: np.square(((Xy @ Gamma) * x_q).sum(axis=1) - y_q[:, 0]).mean()

    assert risk_on(STANDARD)(step_size * np.eye(D)) == pytest.approx(theory.best_gd_risk(D, L, S2), rel=0.03)
    risk, Gamma = risk_on(CORRELATED), theory.best_gd_step(CORRELATED.Sigma, L, S2)
    for axis in np.linalg.eigh(CORRELATED.Sigma)[1].T[[0, -1]]:
        change = 0.2 * np.outer(axis, axis) * (axis @ Gamma @ axis)
        assert risk(Gamma) < min(risk(Gamma + change), risk(Gamma - change))


# ---- end to end ----


def made_up_trials() -> pd.DataFrame:
    """Rows of the trained layers, two seeds each."""
    lengths = np.array([10.0, 40.0, 100.0])
    one = {"experiment": "isotropic", "attention": "softmax", "H": 1, "error": 0.40, "errors": np.array([0.9, 0.4, 0.3]), "lengths": lengths}
    purity = {"diag_ratio": 0.99, "diag_ratio_whole": 0.8, "distance_to_debiased": 0.01, "mu_sum_ratio": 0.02}
    two = one | {"H": 2, "error": 0.25, "errors": np.array([0.6, 0.25, 0.2])} | purity
    four = two | {"H": 4, "error": 0.24, "distance_to_debiased": 0.002, "mu_sum_ratio": 0.03}
    eight = four | {"H": 8, "error": 0.235}
    linear = two | {"attention": "linear", "error": 0.24, "errors": np.array([0.7, 0.24, 1.7])}
    rows = [one, two, four, eight, linear, two | {"experiment": "correlated", "error": 9.0}, {"experiment": "predictors", "lengths": lengths}]
    return pd.DataFrame([{**row, "seed": seed} for row in rows for seed in (0, 1)])


def test_claims_read_the_right_rows():
    trials = made_up_trials()
    wanted = {
        claims.multi_head_gain: 0.15, claims.more_heads_gain: 0.01, claims.diagonal_ratio: 0.99, claims.diagonal_ratio_whole: 0.8, claims.zero_sum: 0.03,
        claims.distance_to_debiased: 0.01, claims.linear_length_gap: 1.5, claims.four_head_gain: 0.16, claims.distance_to_debiased_of_four: 0.002,
        claims.eight_heads_gain: 0.005,
    }  # fmt: skip
    for measure, value in wanted.items():
        assert measure(trials).to_dict() == pytest.approx({0: value, 1: value}), measure.__name__
    ends = [np.array([[0.0, 0.0], end]) for end in ([0.2, -0.2], [0.2, 0.1]) * 7]
    assert claims.parted(trials.assign(curve_omega=ends)).to_dict() == {0: 1.0, 1: 0.0}
    with pytest.raises(NotRun):
        claims.zero_sum(trials[trials["H"] != 4])


def trained_to(params: model.Params):
    """A stand-in for ``train``, which ends every seed's run at these weights."""

    def train(config, setting, attention, H, seeds, read):
        stacked = jax.tree.map(lambda p: jnp.stack([p] * len(seeds)), params)
        readings = jax.jit(jax.vmap(lambda p: read(State(p, None), None)))(stacked)
        return stacked, np.array([1, 2]), {name: np.stack([np.zeros_like(values), values], axis=1) for name, values in readings.items()}

    return train


def fixed_prompts(asked: list):
    """A stand-in for ``draw_prompts`` with the same prompts at every call, which notes what it is asked for."""

    def draw_prompts(key, setting, batch, L):
        asked.append((setting, batch, L))
        normals = np.random.default_rng(batch).normal(size=(batch, L + 2, D + setting.N)).astype(np.float32)
        return model.Prompts(jnp.asarray(normals[:, :L]), jnp.asarray(normals[:, L, :D]), jnp.asarray(normals[:, L + 1, D:]))

    return draw_prompts


def test_a_trained_layer_is_tested_as_the_claims_define(monkeypatch):
    asked = []
    monkeypatch.setattr(replicate, "draw_prompts", fixed_prompts(asked))
    params = model.in_learnt_form(jnp.array([0.3, -0.2, 0.4]), jnp.array([2.0, -1.5, 0.001]), D)  # the third head is a dummy, and made impure
    params = params._replace(Q=params.Q.at[2, 0, 1].set(3.0))
    monkeypatch.setattr(replicate, "train", trained_to(params))
    config = Config(test_prompts=200, test_lengths=(10, 40, 50))
    (row,) = run(config, {"experiment": "correlated", "attention": "softmax", "H": 3, "rho": 0.5}, (1000,), "cpu")
    assert asked[0] == (model.single_task(D, S2, rho=0.5), 200, 50)
    Z, x_q, y_q = (np.asarray(a, np.float64) for a in fixed_prompts([])(None, *asked[0]))
    predictions = {length: predict_all_by_loops(params, Z[:, :length], x_q, "softmax") for length in config.test_lengths}
    assert row["errors"] == pytest.approx([np.square(yhat - y_q).mean() for yhat in predictions.values()], rel=1e-3)
    assert row["error"] == row["errors"][1]
    yhat, y = predictions[L][:, 0], Z[:, :L, D]
    debiased = np.einsum("bl,bld,bd->b", y - y.mean(axis=1, keepdims=True), Z[:, :L, :D], x_q) / L
    eta = np.linalg.lstsq(debiased[:, None], yhat, rcond=None)[0][0]
    assert row["eta"] == pytest.approx(eta, rel=1e-3)
    assert row["distance_to_debiased"] == pytest.approx(np.square(yhat - eta * debiased).mean() / yhat.var(), rel=1e-2)
    assert (row["active_heads"], row["diag_ratio"], row["last_ratio"]) == pytest.approx((2, 1, 1))
    assert row["mu_sum_ratio"] == pytest.approx(0.501 / 3.501, rel=1e-3)
    assert row["preconditioner"] == pytest.approx(0.9 * np.eye(D), abs=2e-3)


def test_the_predictors_are_fitted_to_the_training_length():
    """The kernel smoother and the steps of gradient descent are the best of their kind at L, also on shorter prompts."""
    errors = jax.jit(functools.partial(errors_of_predictors((5, 12), L, D, S2), None))(some_prompts())
    Z, x_q, y_q = (np.asarray(a, np.float64) for a in some_prompts())
    omega, mu, _ = theory.one_head_minimiser(D, L, S2)
    kernel = [reduced_model([omega], [mu], prompt, q) for prompt, q in zip(Z, x_q, strict=True)]
    S = np.einsum("bld,bd->bl", Z[..., :D], x_q)
    y = Z[..., D]
    wanted = {
        "gd": (y * S).mean(axis=1) / (1 + (D + 1 + S2 * D) / L),
        "debiased_gd": ((y - y.mean(axis=1, keepdims=True)) * S).mean(axis=1) / (1 + (1 + S2) * D / L),
        "kernel": np.array(kernel),
        "ridge": np.array([q @ np.linalg.solve(X.T @ X + D * S2 * np.eye(D), X.T @ t) for X, t, q in zip(Z[..., :D], y, x_q, strict=True)]),
    }
    for name, yhat in wanted.items():
        assert errors[f"errors_{name}"][1] == pytest.approx(np.square(yhat - y_q[:, 0]).mean(), rel=1e-3), name


def test_training_four_heads_beats_what_one_head_can_do_and_starts_from_the_seed():
    def read(state, key):
        return read_pattern(state, key) | {"loss": model.loss(state.params, model.draw_prompts(jax.random.key(0), STANDARD, 2000, L))}

    config = Config(steps=500, batch=32, curve_points=2)
    _, steps, curves = train(config, STANDARD, "softmax", 4, (1000, 1001), read)
    assert steps.tolist() == [10, 500]
    assert (curves["loss"][:, 0] > 0.8).all()
    assert (curves["loss"][:, -1] < 0.3).all()  # the best single head is at 0.40
    assert (curves["mu"][:, -1].min(axis=1) < 0).all() and (curves["mu"][:, -1].max(axis=1) > 0).all()
    assert curves["loss"][0, -1] != curves["loss"][1, -1]


def test_every_run_starts_from_its_own_weights_and_prompts(monkeypatch):
    seen = {}

    def nothing_trained(step, read, schedule, state, keys):
        seen.update(state=state, keys=keys)
        return state, {}

    monkeypatch.setattr(replicate, "train_many", nothing_trained)
    train(Config(), STANDARD, "softmax", 2, (3, 4), read_pattern)
    for i, seed in enumerate((3, 4)):
        for ours, wanted in zip(seen["state"].params, model.init_params(numpy_rng(seed, "init"), 2, D), strict=True):
            np.testing.assert_array_equal(ours[i], wanted)
    assert (jax.random.key_data(seen["keys"]) == jax.random.key_data(jax_keys((3, 4), "prompts"))).all()


def test_two_tasks_are_tested_each_on_its_own_label(monkeypatch):
    params, asked = some_params(3, 2), []
    monkeypatch.setattr(replicate, "train", trained_to(params))
    monkeypatch.setattr(replicate, "draw_prompts", fixed_prompts(asked))
    (row,) = run(Config(test_prompts=200), {"experiment": "tasks", "attention": "softmax", "H": 3}, (5,), "cpu")
    assert asked[0] == (model.two_tasks(5, 3, 4, 1e-4), 200, L)
    Z, x_q, y_q = fixed_prompts([])(None, *asked[0])
    assert row["errors"] == pytest.approx(np.square(predict_all_by_loops(params, Z, x_q, "softmax") - np.asarray(y_q)).mean(axis=0), rel=1e-3)
    OV = [np.asarray(O) @ np.asarray(V) for O, V in zip(params.O, params.V, strict=True)]
    assert row["service"] == pytest.approx(np.array([[head[0, 5], head[1, 6]] for head in OV]), abs=1e-5)


def test_the_flow_ends_at_the_one_head_minimum_or_with_heads_of_both_signs():
    config = Config(curve_points=2, flow_time=20.0, flow_dt=0.05, flow_starts=6)
    (flow,) = run(config, {"experiment": "flow", "H": 2}, (5,), "cpu")
    assert flow["flow_loss"][-1] < flow["flow_loss"][0]
    assert flow["end_losses"][0] == flow["flow_loss"][-1]
    one_head, parted = (flow["end_losses"][flow["end_both_signs"] == signs] for signs in (False, True))
    assert len(one_head) and len(parted) and one_head.min() > 0.35 > 0.25 > parted.max()
    assert flow["end_mu_sum_ratios"][flow["end_both_signs"]].max() < 0.1


def test_the_grid_of_conditions():
    assert [condition["experiment"] for condition in conditions(Config())] == ["isotropic"] * 5 + ["predictors"] + ["flow"] * 3 + ["correlated"] + ["tasks"] * 2
