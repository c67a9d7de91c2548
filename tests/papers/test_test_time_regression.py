"""Layers as regressions against explicit solutions, autodiff and limits; the generators; a run end to end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from papers.test_time_regression import claims, layers, model, replicate, tasks
from papers.test_time_regression.replicate import RECALLERS, Config, answers_of_one_layer, chosen_by_leave_one_out, conditions, left_out, run
from papers.test_time_regression.trained import Recaller, trained_recall
from shared.engine import NotRun
from shared.seeds import torch_generator
from shared.sequence.delta import delta_rule
from shared.sequence.linear import linear_attention
from shared.sequence.softmax import softmax_attention

B, T, D, E = 3, 20, 4, 5


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(a, b, tolerance=1e-8):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.fixture
def pairs():
    """q, k, v of B tasks."""
    draw = gen(1)
    return tasks.normal(draw, B, 1, T, D), tasks.normal(draw, B, 1, T, D), tasks.normal(draw, B, 1, T, E)


def weighted_ridge(k, v, weights, lam):
    """argmin_M sum_i weights_i ||v_i - M k_i||^2 + lam ||M||^2 for one task, as an ordinary least-squares problem in numpy; returns M^T."""
    root = np.sqrt(weights)[:, None]
    rows = np.r_[root * k, np.sqrt(lam) * np.eye(k.shape[1])]
    return np.linalg.lstsq(rows, np.r_[root * v, np.zeros((k.shape[1], v.shape[1]))], rcond=None)[0]


# ---- linear memories ----


def test_one_gradient_step_is_linear_attention_and_newtons_step_is_least_squares(pairs):
    q, k, v = pairs
    y, _ = linear_attention(q, k, v)
    for t in (1, 7, T):
        past = k[:, :, :t], v[:, :, :t]
        close(q[:, :, t - 1 : t] @ model.gradient_step(*past), y[:, :, t - 1 : t])
        close(model.gradient_step(*past, lam=0.3), model.least_squares(*past, lam=0.3))


@pytest.mark.parametrize("g", [1.0, 0.9])
def test_recursive_and_direct_least_squares_are_weighted_ridge_at_every_time(pairs, g):
    q, k, v = pairs
    lam = 0.3
    y, (P, S) = model.recursive_least_squares(q, k, v, lam, g)
    for t in range(1, T + 1):
        direct = model.least_squares(k[:, :, :t], v[:, :, :t], lam, g)
        plain = weighted_ridge(k[0, 0, :t].numpy(), v[0, 0, :t].numpy(), g ** np.arange(t - 1, -1, -1), g**t * lam)
        close(direct[0, 0], torch.tensor(plain))
        close(y[:, :, t - 1 : t], q[:, :, t - 1 : t] @ direct)
    close(S, direct)
    root = (g ** torch.arange(T - 1, -1, -1, dtype=k.dtype)).sqrt()[:, None]
    close(P @ model.gram(root * k, g**T * lam), torch.eye(D, dtype=k.dtype).expand_as(P))


def test_an_invertible_change_of_keys_changes_linear_attention_but_not_least_squares(pairs):
    q, k, v = pairs
    change = tasks.normal(gen(2), D, D)
    close(q @ change @ model.least_squares(k @ change, v, 0.0), q @ model.least_squares(k, v, 0.0))
    assert (linear_attention(q @ change, k @ change, v)[0] - linear_attention(q, k, v)[0]).abs().max() > 0.1


def test_the_delta_rule_with_full_steps_recalls_orthonormal_keys_exactly():
    k = torch.linalg.qr(tasks.normal(gen(), B, 1, D, D))[0]
    v = tasks.normal(gen(1), B, 1, D, E)
    y, S = delta_rule(k, k, v, model.normalised_step_size(k, 1.0))
    close(k @ S, v)
    close(y, v)


def test_the_implicit_step_is_proximal_and_has_the_projection_as_its_limit(pairs):
    _, k, v = pairs
    delta, S = 0.7, tasks.normal(gen(3), B, 1, D, E)
    k, v = k[:, :, :1], v[:, :, :1]
    _, after = delta_rule(k, k, v, model.implicit_step_size(k, delta), S=S)
    after = after.requires_grad_()
    objective = ((after - S) ** 2).sum() + delta * ((v - k @ after) ** 2).sum()
    close(torch.autograd.grad(objective, after)[0], torch.zeros_like(S))
    close(model.implicit_step_size(k, 1e12), 1 / (k**2).sum(-1))
    close(model.normalised_step_size(k, 1.0), 1 / (k**2).sum(-1))


def test_momentum_is_torchs_sgd_with_momentum(pairs):
    q, k, v = pairs
    b = torch.full((B, 1, T), 0.05, dtype=k.dtype)
    y, S = model.momentum_delta_rule(q, k, v, b, 0.8)
    weight = torch.zeros(B, 1, D, E, dtype=k.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=0.05, momentum=0.8)
    for t in range(T):
        optimiser.zero_grad()
        model.regression_loss(weight, k[:, :, t : t + 1], v[:, :, t : t + 1]).backward()
        optimiser.step()
        close(y[:, :, t], (q[:, :, t : t + 1] @ weight).squeeze(2).detach())
    close(S, weight.detach())
    close(model.momentum_delta_rule(q, k, v, b, 0.0)[0], delta_rule(q, k, v, b)[0])


# ---- local regression ----


def test_softmax_attention_is_local_constant_regression_and_unit_norms_make_its_weights_rbf(pairs):
    q, k, v = pairs
    seen = torch.ones(T, T, dtype=torch.bool).tril()
    weights = model.local_weights(model.dot_scores(q, k), D**0.5, seen)
    close(model.local_polynomial(weights, q, k, v, 0), softmax_attention(q, k, v)[0])
    u, w = model.unit(q), model.unit(k)
    close(model.local_weights(model.dot_scores(u, w), 0.3, seen), model.local_weights(model.rbf_scores(u, w), 0.3, seen), 1e-12)
    by_norm = model.rbf_scores(q, k) + (k**2).sum(-1)[..., None, :] / 2  # long keys are favoured by exp(|k|^2 / 2 tau)
    close(weights, model.local_weights(by_norm, D**0.5, seen), 1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_local_polynomials_are_weighted_least_squares_with_an_intercept(degree):
    draw = gen(4)
    q, k, v = tasks.normal(draw, 1, 1, 2, 2), tasks.normal(draw, 1, 1, 10, 2), tasks.normal(draw, 1, 1, 10, E)
    weights = model.local_weights(model.rbf_scores(q, k), 0.8)
    y = model.local_polynomial(weights, q, k, v, degree, tau=0.8)
    for i in range(2):
        d = (k[0, 0] - q[0, 0, i]).numpy()
        columns = [np.ones((10, 1)), *([d] if degree else []), *([np.c_[d[:, :1] ** 2, d[:, :1] * d[:, 1:], d[:, 1:] ** 2]] if degree == 2 else [])]
        root = np.sqrt(weights[0, 0, i].numpy())[:, None]
        fit = np.linalg.lstsq(root * np.hstack(columns), root * v[0, 0].numpy(), rcond=None)[0]
        close(y[0, 0, i], torch.tensor(fit[0]))  # the intercept is the value at the query


def test_local_linear_regression_reproduces_affine_maps_and_local_constant_does_not(pairs):
    q, k, _ = pairs
    v = k @ tasks.normal(gen(5), D, E) + tasks.normal(gen(6), E)
    expected = q @ tasks.normal(gen(5), D, E) + tasks.normal(gen(6), E)
    weights = model.local_weights(model.rbf_scores(q, k), 2.0)
    close(model.local_polynomial(weights, q, k, v, 1), expected)
    close(model.local_linear_from_moments(weights, q, k, v), expected)
    assert (model.local_polynomial(weights, q, k, v, 0) - expected).abs().max() > 0.1


def test_an_infinite_bandwidth_gives_the_mean_and_ordinary_least_squares(pairs):
    q, k, v = pairs
    weights = model.local_weights(model.rbf_scores(q, k), 1e14)
    close(model.local_polynomial(weights, q, k, v, 0), v.mean(2, keepdim=True).expand(-1, -1, T, -1))
    with_one = [torch.cat([x, torch.ones_like(x[..., :1])], dim=-1) for x in (q, k)]
    close(model.local_polynomial(weights, q, k, v, 1), with_one[0] @ model.least_squares(with_one[1], v, 0.0))


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_two_forms_of_local_linear_attention_agree_and_survive_a_window_of_one_pair(pairs, ridge):
    q, k, v = pairs
    weights = model.local_weights(model.dot_scores(q, k), 1.0)
    close(model.local_linear_from_moments(weights, q, k, v, ridge), model.local_polynomial(weights, q, k, v, 1, ridge=ridge))
    alone = torch.eye(T, dtype=k.dtype).expand(B, 1, T, T)
    close(model.local_polynomial(alone, k, k, v, 1, ridge=0.1), v)
    for tau in (1e-2, 1e-3, 1e-4):  # weights of other pairs down to the smallest numbers
        assert model.local_polynomial(model.local_weights(model.dot_scores(q, k), tau), q, k, v, 1, tau, 0.1).isfinite().all()


def test_the_ridge_is_relative_to_the_variance_in_the_window(pairs):
    q, k, v = pairs
    weights = model.local_weights(model.rbf_scores(q, k), 1.0)
    y = model.local_polynomial(weights, q, k, v, 1, ridge=0.1)
    close(model.local_polynomial(weights, 7 * q, 7 * k, v, 1, ridge=0.1), y)
    assert (y - model.local_polynomial(weights, q, k, v, 1)).abs().max() > 1e-3
    mean, variance = weights @ k, weights @ (k**2) - (weights @ k) ** 2  # explicitly, at the first query of the first task
    s, x, lam = weights[0, 0, 0, :, None], k[0, 0] - mean[0, 0, 0], 0.1 * variance[0, 0, 0].mean()
    slope = torch.linalg.solve(x.T @ (s * x) + lam * torch.eye(D, dtype=k.dtype), x.T @ (s * v[0, 0]))
    close(y[0, 0, 0], (s * v[0, 0]).sum(0) + (q[0, 0, 0] - mean[0, 0, 0]) @ slope)
    quadratic = [model.local_polynomial(weights, c * q, c * k, v, 2, tau=c**2, ridge=0.1) for c in (1, 7)]  # monomials are in units of the window
    close(*quadratic)


# ---- layers and generators ----


@pytest.mark.parametrize("name", layers.layers(0.1, features=True))
def test_layers_answer_causally_at_any_positions(pairs, name):
    """The answer at a position does not depend on later pairs, nor on which other positions are asked for."""
    q, k, v = pairs
    layer, at = layers.layers(0.1, features=True)[name], [2, 9, T - 1]
    y = layer.answer(q, k, v, at, *layer.knobs[0])
    assert y.shape == (B, 1, 3, E)
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[:, :, 10:], changed_v[:, :, 10:] = 1.0, -1.0
    if name != "longhorn":  # whose step size is in units of the mean squared norm of all keys
        close(layer.answer(q, changed_k, changed_v, at, *layer.knobs[0])[:, :, :2], y[:, :, :2])
    close(layer.answer(q, k, v, [9], *layer.knobs[0]), y[:, :, 1:2])
    own = v.clone()
    own[:, :, 9] += 1  # the own pair is memorised before it is asked for; the last knob is the widest window
    answers = [layer.answer(q, k, values, [9], *layer.knobs[-1]) for values in (v, own)]
    assert (answers[1] - answers[0]).abs().max() > 1e-2


def test_each_layer_is_the_memory_that_its_name_says(pairs):
    q, k, v = pairs
    at, t, design = [3, T - 1], torch.arange(T), layers.layers(0.1, features=True)
    causal = (t <= torch.tensor(at)[:, None]).double()  # (m, t)
    dots, taylor = (kernel(q[:, :, at], k) for kernel in (model.dot_scores, layers.TAYLOR.kernel))

    def answer(name, *knob):
        return design[name].answer(q, k, v, at, *knob)

    close(answer("linear"), (causal * dots) @ v / causal.sum(1, keepdim=True))
    decay = causal * 0.9 ** (torch.tensor(at)[:, None] - t).clamp(min=0)
    close(answer("gated linear, best scale", 0.9), (decay * dots) @ v / decay.sum(1, keepdim=True), 1e-6)  # the sum of weights is in single precision
    close(answer("linear, Taylor features"), (causal * taylor) @ v / (causal * taylor).sum(-1, keepdim=True))
    for i, end in enumerate(at):
        past = k[:, :, : end + 1], v[:, :, : end + 1]
        close(answer("discounted least squares", 0.1, 0.9)[:, :, i], (q[:, :, end : end + 1] @ model.least_squares(*past, 0.1, 0.9))[:, :, 0])
        dual = torch.linalg.solve(layers.TAYLOR.kernel(past[0], past[0]) + 0.1 * torch.eye(end + 1, dtype=k.dtype), past[1])
        close(answer("least squares, Taylor features", 0.1)[:, :, i], (taylor[:, :, i : i + 1, : end + 1] @ dual)[:, :, 0])
    units = model.unit(q), model.unit(k)
    close(answer("softmax, QK-norm", 0.3), softmax_attention(*units, v, tau=0.3)[0][:, :, at])
    weights = model.local_weights(dots, 0.7, causal.bool())
    close(answer("softmax", 0.7), weights @ v)
    close(answer("local linear", 0.7), model.local_polynomial(weights, q[:, :, at], k, v, 1, ridge=layers.RIDGE))
    gates = torch.full(k.shape[:3], 0.9, dtype=k.dtype).log()
    close(answer("gated delta", 0.3, 0.9), delta_rule(q, k, v, model.normalised_step_size(k, 0.3), gates)[0][:, :, at])
    close(design["longhorn"].answer(3 * q, 3 * k, v, at, 1.0), answer("longhorn", 1.0))  # its step has no unit


def test_a_scaled_layer_takes_the_best_scale_and_a_knob_is_chosen_on_the_tuning_tasks():
    problem = tasks.linear_recall(gen(), 40, 30, 4, 0.9, 0.1)
    at = [10, 29]
    plain, scaled = (layers.tuned_error(layers.layers(0.1)[name], problem, problem, at) for name in ("linear", "linear, best scale"))
    assert (scaled < plain).all() and (scaled < 1).all()
    y, target = (x[:, :, at] for x in (layers.linear(*problem[:3], list(range(30))), problem.target))
    c = (y * target).sum((0, 1, 3)) / (y * y).sum((0, 1, 3))
    close(scaled, ((c[:, None] * y - target) ** 2).sum((0, 1, 3)) / (target**2).sum((0, 1, 3)))
    large = layers.Layer(lambda q, k, v, at, c: 3 * layers.least_squares(q, k, v, at, 0.1) if c else 0.01 * layers.linear(q, k, v, at), ((0.0,), (1.0,)), True)
    assert (layers.tuned_error(large, problem, problem, at) < 0.1).all()  # knobs are compared after scaling
    design = layers.layers(0.1)
    for name in ("delta", "gated linear, best scale"):
        one_knob = [layers.tuned_error(design[name]._replace(knobs=(knob,)), problem, problem, at) for knob in design[name].knobs]
        close(layers.tuned_error(design[name], problem, problem, at), torch.stack(one_knob).min(0).values)


def test_keys_have_the_covariance_that_is_asked_for():
    k = tasks.correlated_keys(gen(), 50, 2000, 4, 0.9)[:, 0].flatten(0, 1)
    i = torch.arange(4)
    close(torch.cov(k.T), 0.9 ** (i[:, None] - i).abs().double(), 0.03)


def test_targets_are_noise_free_values_of_the_map_in_force():
    q, k, v, target = tasks.linear_recall(gen(), 2, 100, 6, 0.5, 0.0)
    close(q @ model.least_squares(k, v, 0.0), target)
    q, k, v, target = tasks.switching_recall(gen(), 2, 100, 6, 0.0)
    for part in (slice(0, 50), slice(50, 100)):
        close(q[:, :, part] @ model.least_squares(k[:, :, part], v[:, :, part], 0.0), target[:, :, part])
    q, k, v, target = tasks.exact_recall(gen(), 4, 8, 8)
    matches = (q[..., :, None, :] == k[..., None, :, :]).all(-1)  # (b, 1, t, t)
    assert (matches.sum(-1) == 1).all() and not matches.triu(1).any()
    close(matches.double() @ v, target)


def test_noise_is_on_stored_values_alone_and_queries_are_fresh():
    def smooth(domain):
        return lambda sigma: tasks.smooth_recall(gen(), 20, 50, 3, E, sigma, domain)

    for draw in (lambda sigma: tasks.linear_recall(gen(), 20, 50, 6, 0.9, sigma), smooth("cube"), smooth("sphere")):
        clean, noisy = draw(0.0), draw(0.3)
        close(noisy.target, clean.target)
        close(noisy.k, clean.k)
        assert (noisy.v - clean.v).std().item() == pytest.approx(0.3, rel=0.05)
        assert (torch.cdist(clean.q, clean.k) > 0).all()
    assert tasks.linear_recall(gen(), 200, 20, 8, 0.0, 0.1).target.std().item() == pytest.approx(1, rel=0.05)  # A ~ N(0, 1/d) keeps the size of keys


def test_waves_are_sines_of_three_times_the_key_along_unit_directions():
    waves = tasks.Waves.draw(gen(), 2, 3, E)
    close(waves.w.norm(dim=2), torch.ones(2, 1, E, dtype=torch.float64))
    k = tasks.normal(gen(1), 2, 1, 7, 3)
    close(waves(k)[1, 0, 4, 2], torch.sin(3 * (k[1, 0, 4] * waves.w[1, 0, :, 2]).sum() + waves.phase[1, 0, 0, 2]))


def test_stored_keys_vary_in_norm_only():
    narrow, wide = (tasks.smooth_recall(gen(), 5, 50, 3, E, 0.05, "sphere", spread) for spread in (0.0, 0.5))
    close(model.unit(wide.k), narrow.k)
    close(wide.v, narrow.v)
    close(narrow.k.norm(dim=-1), torch.ones(5, 1, 50, dtype=torch.float64))
    assert wide.k.norm(dim=-1).log().std().item() == pytest.approx(0.5, rel=0.2)


def test_leave_one_out_leaves_the_own_pair_out_and_chooses_its_best_bandwidth(pairs):
    _, k, v = pairs
    scores = model.rbf_scores(k, k)
    assert (model.local_weights(left_out(scores), 1.0).diagonal(dim1=-2, dim2=-1) == 0).all()
    flat = torch.ones_like(v) + 0.1 * v  # a constant with noise: the widest window is best
    _, tau = chosen_by_leave_one_out(scores, scores, k, k, k, flat, 0)
    assert (tau > 0.3).all()


def test_a_chosen_bandwidth_is_best_for_pairs_that_are_left_out_and_serves_the_queries(pairs):
    q, k, v = pairs
    q, k, v = q[:1], k[:1], torch.sin(k[:1]) @ torch.ones(D, 1, dtype=k.dtype)
    y, tau = chosen_by_leave_one_out(model.rbf_scores(k, k), model.rbf_scores(q, k), k, q, k, v, 1)

    def answer(q, k, v, tau):
        return model.local_polynomial(model.local_weights(model.rbf_scores(q, k), tau), q, k, v, 1, tau, layers.RIDGE)

    losses = []
    for candidate in replicate.TAUS:
        others = [[j for j in range(T) if j != i] for i in range(T)]
        errors = [answer(k[:, :, i : i + 1], k[:, :, rest], v[:, :, rest], candidate) - v[:, :, i : i + 1] for i, rest in enumerate(others)]
        losses.append(torch.cat(errors).square().mean().item())
    assert tau.item() == pytest.approx(replicate.TAUS[int(np.argmin(losses))])
    close(y, answer(q, k, v, tau.item()))


def test_streams_ask_for_every_key_once_and_answers_are_the_paired_values():
    tokens, answers = tasks.multi_query_streams(gen(), 6, 8, 64)
    assert tokens.shape == (6, 24)
    for stream, wanted in zip(tokens.tolist(), answers.tolist(), strict=True):
        book = dict(zip(stream[:16:2], stream[1:16:2], strict=True))
        assert len(book) == 8 and max(book) < 32 <= min(book.values())
        assert [book[key] for key in stream[16:]] == wanted
        assert sorted(stream[16:]) == sorted(book)


def test_bigrams_and_successors_are_counted_as_by_hand():
    tokens = torch.tensor([[0, 1, 0, 1, 0, 2, 0, 2, 0]])
    assert tasks.repeated_bigrams(tokens).tolist() == [[False, False, True, True, False, False, True, True]]
    assert tasks.most_frequent_successor(tokens, 3)[0, [2, 4, 6]].tolist() == [1, 1, 1]  # after 0: 1 once, twice, twice against one 2
    assert tasks.most_frequent_successor(tokens, 3)[0, 3].item() == 0


def test_a_short_convolution_pairs_each_token_with_the_one_before_and_one_layer_then_recalls():
    x = tasks.normal(gen(), 1, 1, 5, D)
    q, k, v = model.short_convolution(x)
    close(k[:, :, 1:], x[:, :, :-1])
    assert torch.equal(k[:, :, 0], torch.zeros(1, 1, D, dtype=x.dtype))
    assert torch.equal(q, x) and torch.equal(v, x)
    tokens, wanted = tasks.multi_query_streams(gen(), 6, 8, 64)
    code = torch.linalg.qr(tasks.normal(gen(1), 64, 64))[0]  # orthonormal codes: linear attention and the delta rule are exact, too
    for recaller in RECALLERS.values():
        with_conv, without = (code[tokens], True), (code[tokens], False)
        right = [(answers_of_one_layer(recaller, *how)[:, 16:] @ code.T).argmax(-1) == wanted for how in (with_conv, without)]
        assert right[0].all() and not right[1].any()


# ---- the run ----

MINI = dataclasses.replace(
    Config(), tasks=3, tuning_tasks=2, lengths=(16, 128), rhos=(0.0, 0.9), switch_time=128, smooth_tasks=1, smooth_pairs=24, norm_spreads=(0.5,), pairs=(8, 16)
)
MINI = dataclasses.replace(MINI, streams=2, text_windows=1, text_length=80, timing_lengths=(64,), timing_calls=1)


def test_knobs_are_chosen_on_other_tasks_than_those_judged(monkeypatch):
    seen, streams = [], set()
    monkeypatch.setattr(replicate, "torch_generator", lambda *names: streams.add(names) or torch_generator(*names))
    monkeypatch.setattr(layers, "tuned_error", lambda layer, tuning, test, at: seen.append((tuning, test)) or torch.zeros(len(at)))
    for seed in (1000, 1001):
        replicate.recall(MINI, "linear", 0.9, seed, "cpu")
    (tuning, test), (other_tuning, other_test) = seen[0], seen[-1]
    assert len(tuning.q) == MINI.tuning_tasks and len(test.q) == MINI.tasks
    for a, b in ((tuning, test), (tuning, other_tuning), (test, other_test)):
        assert not torch.isin(a.v, b.v).any()
    assert len(streams) == 4
    assert MINI.ridge == pytest.approx(0.1**2 * 16)


def test_errors_of_smooth_maps_are_mean_squares_with_a_gaussian_window_on_the_cube():
    row, other = (replicate.smooth(MINI, "cube", 2, seed, "cpu") for seed in (1000, 1001))
    q, k, v, target = tasks.smooth_recall(torch_generator(1000, "smooth"), 1, MINI.smooth_pairs, 2, MINI.outputs, MINI.smooth_sigma, "cube")
    y, tau = chosen_by_leave_one_out(model.rbf_scores(k, k), model.rbf_scores(q, k), k, q, k, v, 1)
    squared = ((y - target) ** 2).mean(-1)
    border = (q - 0.5).abs().amax(-1) > 0.4
    got = [row[name] for name in ("error_p1", "border_p1", "interior_p1", "log10_tau_p1")]
    np.testing.assert_allclose(got, [squared.mean(), squared[border].mean(), squared[~border].mean(), tau.log10().item()])
    assert row["error_p0"] != other["error_p0"]


def test_normalised_attention_does_not_see_norms_and_raw_attention_suffers_from_them():
    config = dataclasses.replace(MINI, smooth_tasks=6)
    equal, spread = (replicate.norms(config, 2, sigma_n, 1000, "cpu") for sigma_n in (0.0, 0.5))
    assert equal["error_without"] == pytest.approx(equal["error_with"])
    assert spread["error_with"] == pytest.approx(equal["error_with"])
    assert spread["error_without"] > 2 * spread["error_with"]
    q, k, v, target = tasks.smooth_recall(torch_generator(1000, "norms"), 6, MINI.smooth_pairs, 2, MINI.outputs, MINI.smooth_sigma, "sphere", 0.5)
    own = model.unit(k)  # pairs that are left out are asked for with queries of norm 1, as in the test
    y, _ = chosen_by_leave_one_out(model.dot_scores(own, k), model.dot_scores(q, k), own, q, k, v, 0)
    assert spread["error_without"] == pytest.approx(((y - target) ** 2).mean().item())


def test_claims_are_computed_from_the_right_rows():
    one = {"seed": 1000}
    at, errors = np.array([64, 128]), np.array([9.0, 1.0])
    rows = [
        {"experiment": "recall", "generator": "linear", "rho": rho, "length": at, "error_least_squares": 1e-3 * errors, "error_linear": linear * errors,
         "error_linear_best_scale": best * errors} for rho, linear, best in ((0.0, 0.1, 0.01), (0.9, 10.0, 0.02))
    ]  # fmt: skip
    rows += [{"experiment": "recall", "generator": "switch", "length": np.array([128, 192]), "error_least_squares": np.array([1e-3, 1.0]),
              "error_discounted_least_squares": np.array([1e-3, 1e-2])}]  # fmt: skip
    rows += [
        {"experiment": "norms", "Dk": Dk, "sigma_n": s, "error_without": e, "error_with": 1.0}
        for Dk, s, e in ((2, 0.5, np.e), (4, 0.5, np.e**3), (2, 1.0, 99.0))
    ]
    rows += [{"experiment": "smooth", "domain": domain, "Dk": Dk, "error_p0": np.exp(log), "error_p1": 1.0}
             for domain, Dk, log in (("cube", 2, 1), ("cube", 4, 2), ("sphere", 2, 3), ("sphere", 4, 4))]  # fmt: skip
    recalled = {"accuracy_least_squares_conv": 1.0, "accuracy_least_squares_plain": 0.1, "accuracy_softmax_conv": 1.0, "accuracy_softmax_plain": 0.3}
    rows += [{"experiment": "mqar", "pairs": n} | {name: x / n for name, x in recalled.items()} for n in (16, 8)] + [{"experiment": "text"} | recalled]
    rows += [{"experiment": "timing", "timing_length": np.array([512, 1024]), "p0_seconds": np.array([1.0, 2.0]), "p1_seconds": np.array([1.0, 10.0])}]
    rows += [{"experiment": "identities", "gradient_step": 0.1, "preconditioned_step": 0.2} | dict.fromkeys(claims.IDENTITIES, 0.0) | {"gate_of_one": 0.3}]
    trials = pd.DataFrame([row | one for row in rows])
    expected = {
        claims.gap_widens: 2,
        claims.gap_widens_at_best_scale: np.log10(2),
        claims.forgetting: 2,
        claims.normalisation: 2,
        claims.first_order: 1,
        claims.first_order_on_the_sphere: 4,
        claims.recall_by_convolution: 0.7 / 16,
        claims.recall_in_text: 0.7,
        claims.cost: 5,
        claims.one_step: 0.2,
        claims.other_identities: 0.3,
    }
    for value, number in expected.items():
        assert value(trials).to_dict() == {1000: pytest.approx(number)}, value.__name__


def test_a_mini_run_gives_finite_rows_and_values_for_claims():
    rows = []
    for condition in conditions(MINI):
        if condition["experiment"] != "text":  # which needs the data set
            for seed, row in zip((1000, 1001), run(MINI, condition, (1000, 1001), "cpu"), strict=True):
                assert all(np.isfinite(np.asarray(x, dtype=float)).all() for x in row.values())
                rows.append(condition | {"seed": seed} | row)
    trials = pd.DataFrame(rows)
    assert (claims.one_step(trials) < 1e-8).all() and (claims.other_identities(trials) < 1e-8).all()
    assert (claims.gap_widens(trials) > 0).all()
    assert (claims.recall_by_convolution(trials) > 0.8).all()
    for value in (claims.normalisation, claims.first_order, claims.first_order_on_the_sphere, claims.forgetting, claims.gap_widens_at_best_scale):
        assert value(trials).index.tolist() == [1000, 1001]
    with pytest.raises(NotRun):
        claims.cost(trials)  # not timed at t = 1024
    with pytest.raises(NotRun):
        claims.recall_in_text(trials)


@pytest.mark.parametrize("mixer", ["linear", "delta", "softmax"])
def test_the_trained_layers_are_causal_and_run(mixer):
    torch.manual_seed(0)
    net = Recaller(16, mixer, conv=True).eval()
    tokens = torch.randint(16, (2, 10))
    other = torch.cat([tokens[:, :6], (tokens[:, 6:] + 1) % 16], dim=1)
    close(net(tokens)[:, :6], net(other)[:, :6], 1e-5)
    assert set(trained_recall(mixer, True, 1, 16, 4, 1000, "cpu", batch=2)) == {"trained_accuracy", "trained_loss"}
