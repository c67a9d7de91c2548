"""Sequence mixers: parallel forms, recurrent forms and plain sums over all pairs give the same outputs and states."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from shared.sequence import delta, linear, softmax
from shared.sequence.features import Identity, PositiveElu, Taylor
from shared.sequence.recurrence import decay_sums, unroll

BATCH, HEADS, TIME, D, DV = 2, 3, 37, 5, 4
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
FEATURES = [Identity(), PositiveElu(), Taylor(), Taylor(packed=False), Taylor(scale=1.0)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def inputs(dtype=torch.float64, time=TIME):
    """q, k, v, log gates, step sizes; unit keys, so that the delta rule stays bounded."""
    q, k, v = (draw(BATCH, HEADS, time, width, seed=i, dtype=dtype) for i, width in enumerate((D, D, DV)))
    log_g, b = draw(BATCH, HEADS, time, seed=3, dtype=dtype), draw(BATCH, HEADS, time, seed=4, dtype=dtype)
    return q / 2, k / k.norm(dim=-1, keepdim=True), v, -0.3 * log_g.abs(), b.sigmoid()


def close(a, b, tolerance=1e-10):
    """Equal within the tolerance, relative to the size of b."""
    torch.testing.assert_close(a, b.to(a.dtype), rtol=0, atol=tolerance * max(1.0, b.abs().max().item()))


def weighted_sums(q, k, v, log_g, features, normalise):
    """y_t = sum_i g_(i+1) ... g_t phi(q_t) . phi(k_i) v_i, by two loops over time."""
    y = torch.zeros(*q.shape[:3], v.shape[-1], dtype=v.dtype)
    for t in range(q.shape[2]):
        total = torch.zeros(BATCH, HEADS, 1, dtype=v.dtype)
        for i in range(t + 1):
            weight = (features(q[:, :, t]) * features(k[:, :, i])).sum(-1, keepdim=True)
            if log_g is not None:
                weight = weight * log_g[:, :, i + 1 : t + 1].exp().prod(-1, keepdim=True)
            y[:, :, t] += weight * v[:, :, i]
            total += weight
        if normalise:
            y[:, :, t] /= total
    return y


# ---- feature maps ----


@pytest.mark.parametrize("features", FEATURES)
def test_the_kernel_of_a_feature_map_is_the_dot_product_of_its_features(features):
    q, k, *_ = inputs()
    close(features.kernel(q, k), features(q) @ features(k).mT)


@pytest.mark.parametrize("packed", [True, False])
def test_taylor_features_are_the_second_order_expansion_and_as_many_as_said(packed):
    features = Taylor(packed=packed)
    q, k = draw(7, 16, seed=1), draw(9, 16, seed=2)
    s = q @ k.T / 4  # sqrt(16)
    close(features(q) @ features(k).T, 1 + s + s**2 / 2)
    assert features(q).shape[-1] == features.size(16) == (153 if packed else 273)
    assert (features.kernel(10 * q, k) >= 0.5).all()


# ---- linear attention ----


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_linear_attention_is_the_plain_weighted_sum(features, gated, normalise):
    q, k, v, log_g, _ = inputs()
    if normalise and isinstance(features, Identity):
        q, k = q.abs(), k.abs()  # a denominator away from 0
    log_g = log_g if gated else None
    expected = weighted_sums(q, k, v, log_g, features, normalise)
    for chunk in (1, 8, 37, 64):
        y, _ = linear.linear_attention(q, k, v, log_g, features=features, normalise=normalise, chunk=chunk)
        close(y, expected)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_linear_attention_steps_give_the_parallel_outputs_and_state(dtype, features, gated, normalise):
    q, k, v, log_g, _ = inputs(dtype)
    if normalise and isinstance(features, Identity):
        q, k = q.abs(), k.abs()
    gates = (log_g,) if gated else ()
    y, memory = linear.linear_attention(q, k, v, *gates, features=features, normalise=normalise, chunk=8)
    step = partial(linear.linear_attention_step, features=features, normalise=normalise)
    stepped, last = unroll(step, linear.empty_memory(k, v, features), q, k, v, *gates)
    assert y.dtype == stepped.dtype == dtype
    for a, b in zip((y, *memory), (stepped, *last), strict=True):
        close(a, b, TOLERANCE[dtype])


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("cut", [1, 16, 20])
def test_linear_attention_goes_on_from_a_prefill(gated, cut):
    q, k, v, log_g, _ = inputs()
    features = Taylor()
    run = partial(linear.linear_attention, features=features, normalise=True, chunk=8)
    whole, end = run(q, k, v, log_g if gated else None)
    head, memory = run(q[:, :, :cut], k[:, :, :cut], v[:, :, :cut], log_g[:, :, :cut] if gated else None)
    tail, last = run(q[:, :, cut:], k[:, :, cut:], v[:, :, cut:], log_g[:, :, cut:] if gated else None, memory=memory)
    close(torch.cat([head, tail], dim=2), whole)
    close(last.S, end.S)
    next_y, _ = linear.linear_attention_step(memory, *(x[:, :, cut] for x in (q, k, v, log_g)[: 4 if gated else 3]), features=features, normalise=True)
    close(next_y, whole[:, :, cut])


def test_gates_of_one_do_nothing_and_gates_near_zero_forget_all():
    q, k, v, log_g, _ = inputs()
    close(linear.linear_attention(q, k, v, 0 * log_g, chunk=8)[0], linear.linear_attention(q, k, v, chunk=8)[0])
    only_now = (q * k).sum(-1, keepdim=True) * v
    close(linear.linear_attention(q, k, v, 0 * log_g - 100, chunk=8)[0], only_now)


def test_padding_on_the_left_changes_nothing():
    q, k, v, *_ = inputs()
    features = Taylor()
    padded = [torch.cat([draw(BATCH, HEADS, 11, x.shape[-1], seed=9), x], dim=2) for x in (q, k, v)]
    mask = torch.arange(11 + TIME).expand(BATCH, -1) >= 11
    expected, end = linear.linear_attention(q, k, v, features=features, normalise=True)
    y, memory = linear.linear_attention(*padded, features=features, normalise=True, mask=mask, chunk=8)
    close(y[:, :, 11:], expected)
    assert torch.equal(y[:, :, :11], torch.zeros_like(y[:, :, :11]))
    close(memory.S, end.S)
    close(linear.memorise(*padded[1:], features, mask).S, end.S)


def test_half_precision_inputs_are_summed_in_single():
    q, k, v, *_ = inputs()
    features = Taylor()
    expected, _ = linear.linear_attention(q, k, v, features=features, normalise=True)
    y, memory = linear.linear_attention(*(x.to(torch.bfloat16) for x in (q, k, v)), features=features, normalise=True, chunk=8)
    assert y.dtype == torch.bfloat16
    assert memory.S.dtype == torch.float32
    close(y.double(), expected, 2e-2)


def test_normalised_attention_of_equal_values_returns_the_value():
    q, k, v, log_g, _ = inputs()
    v = v[:, :, :1].expand_as(v)
    close(linear.linear_attention(q, k, v, log_g, features=Taylor(), normalise=True)[0], v)


def test_gradients_of_the_parallel_form_are_those_of_the_recurrent_form():
    leaves = [x.requires_grad_() for x in inputs()[:4]]
    features, target = Taylor(), draw(BATCH, HEADS, TIME, DV, seed=8)
    y, _ = linear.linear_attention(*leaves, features=features, normalise=True, chunk=8)
    step = partial(linear.linear_attention_step, features=features, normalise=True)
    stepped, _ = unroll(step, linear.empty_memory(leaves[1], leaves[2], features), *leaves)
    for a, b in zip(*(torch.autograd.grad((out * target).sum(), leaves) for out in (y, stepped)), strict=True):
        close(a, b)


# ---- prefix linear attention ----


@pytest.mark.parametrize("normalise", [False, True])
def test_prefix_linear_attention_is_the_plain_sum_over_prefix_and_past(normalise):
    q, k, v, *_ = inputs()
    features, m = Taylor(), 13
    prefix_k, prefix_v = draw(BATCH, HEADS, m, D, seed=5), draw(BATCH, HEADS, m, DV, seed=6)
    y, memory = linear.prefix_linear_attention(q, k, v, prefix_k, prefix_v, features=features, normalise=normalise, chunk=8)
    past = (features(q) @ features(k).mT).tril()
    prefix = features(q) @ features(prefix_k).mT
    expected = past @ v + prefix @ prefix_v
    if normalise:
        expected = expected / (past.sum(-1, keepdim=True) + prefix.sum(-1, keepdim=True))
    close(y, expected)

    cut = 20  # decoding from the state at `cut` gives the parallel output
    _, memory = linear.prefix_linear_attention(*(x[:, :, :cut] for x in (q, k, v)), prefix_k, prefix_v, features=features, normalise=normalise)
    decoded, _ = linear.linear_attention_step(memory, q[:, :, cut], k[:, :, cut], v[:, :, cut], features=features, normalise=normalise)
    close(decoded, y[:, :, cut])


def test_prefix_linear_attention_has_causal_and_order_free_attention_as_its_ends():
    q, k, v, *_ = inputs()
    features = Taylor()
    nothing = torch.zeros(BATCH, TIME, dtype=torch.bool)
    run = partial(linear.prefix_linear_attention, q, k, v, k, v, features=features, chunk=8)
    close(run(prefix_mask=nothing)[0], linear.linear_attention(q, k, v, features=features, normalise=True)[0])
    order_free = linear.recall(linear.memorise(k, v, features), q, features, normalise=True)
    close(run(mask=nothing)[0], order_free)
    weights = features.kernel(q, k)
    close(order_free, weights @ v / weights.sum(-1, keepdim=True))


# ---- delta rule ----


def plain_delta(q, k, v, b, log_g):
    """S_t = g_t (I - b_t k_t k_t^T) S_(t-1) + b_t k_t v_t^T with full matrices."""
    S, outputs = torch.zeros(BATCH, HEADS, D, DV, dtype=v.dtype), []
    for t in range(q.shape[2]):
        k_t, v_t, b_t = k[:, :, t, :, None], v[:, :, t, None], b[:, :, t, None, None]
        g_t = 1 if log_g is None else log_g[:, :, t, None, None].exp()
        S = g_t * (torch.eye(D, dtype=v.dtype) - b_t * k_t @ k_t.mT) @ S + b_t * k_t @ v_t
        outputs.append((q[:, :, t, None] @ S)[:, :, 0])
    return torch.stack(outputs, dim=2), S


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("chunk", [1, 8, 37, 64])
def test_the_delta_rule_is_the_plain_matrix_recurrence(gated, chunk):
    q, k, v, log_g, b = inputs()
    gates = (log_g,) if gated else ()
    for a, c in zip(delta.delta_rule(q, k, v, b, *gates, chunk=chunk), plain_delta(q, k, v, b, log_g if gated else None), strict=True):
        close(a, c)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("gated", [False, True])
def test_delta_rule_steps_give_the_parallel_outputs_and_state_and_go_on_from_a_prefill(dtype, gated):
    q, k, v, log_g, b = inputs(dtype)
    rows = (q, k, v, b, log_g) if gated else (q, k, v, b)
    y, S = delta.delta_rule(*rows, chunk=8)
    stepped, last = unroll(delta.delta_rule_step, torch.zeros_like(S), *rows)
    close(stepped, y, TOLERANCE[dtype])
    close(last, S, TOLERANCE[dtype])
    _, middle = delta.delta_rule(*(x[:, :, :19] for x in rows), chunk=8)
    tail, end = delta.delta_rule(*(x[:, :, 19:] for x in rows), S=middle, chunk=8)
    close(tail, y[:, :, 19:], TOLERANCE[dtype])
    close(end, S, TOLERANCE[dtype])


def test_a_full_step_of_the_delta_rule_on_a_unit_key_stores_the_value():
    _, k, v, log_g, b = inputs()
    y, _ = delta.delta_rule(k, k, v, torch.ones_like(b), log_g, chunk=8)
    close(y, v)


# ---- softmax attention, decays ----


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_softmax_attention_is_the_plain_weighted_mean_and_its_steps_agree(dtype):
    q, k, v, *_ = inputs(dtype)
    weights = (q @ k.mT / 0.7).exp().tril()
    expected = weights @ v / weights.sum(-1, keepdim=True)
    y, cache = softmax.softmax_attention(q, k, v, tau=0.7)
    close(y, expected, TOLERANCE[dtype])
    stepped, last = unroll(partial(softmax.softmax_attention_step, tau=0.7), softmax.empty_cache(k, v), q, k, v)
    close(stepped, expected, TOLERANCE[dtype])
    assert torch.equal(last.k, cache.k)
    _, half = softmax.softmax_attention(*(x[:, :, :15] for x in (q, k, v)), tau=0.7)
    tail, _ = softmax.softmax_attention(*(x[:, :, 15:] for x in (q, k, v)), tau=0.7, cache=half)
    close(tail, expected[:, :, 15:], TOLERANCE[dtype])
    close(softmax.softmax_attention(q, k, v, causal=False)[0], (q @ k.mT / D**0.5).softmax(-1) @ v, TOLERANCE[dtype])


def test_decay_sums_add_the_gates_between_two_times():
    log_g = draw(6, seed=3)
    sums = decay_sums(log_g)
    for i in range(6):
        for j in range(6):
            assert sums[i, j].item() == (pytest.approx(log_g[j + 1 : i + 1].sum().item()) if j <= i else -torch.inf)
