"""Abrupt in-context learning: the sequences, the network against a slow one, an induction head built by hand, the reduced models' closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from papers.icl_abrupt_learning import claims, model, reduced, replicate
from papers.icl_abrupt_learning.replicate import Config, conditions, prepare, run
from shared.optim.many import train_many
from shared.seeds import numpy_rng

N, L, D, K, SPAN, T = 4, 8, 96, 32, 97, 9
SETTING = model.Setting(N=N, B=2, eps=0.1, p_C=0.0, span=SPAN, batch=512)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Most of the time of these tests is compilation, and their programs run once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def world() -> model.World:
    return model.draw_world(rng(0), K, L, D, alpha=0.0)


@pytest.fixture(scope="module")
def tests(world) -> model.TestSets:
    return jax.jit(model.draw_tests, static_argnums=2)(jax.random.key(0), world, SETTING)


# ---- sequences ----


def test_items_have_unit_expected_norm_and_the_noise_that_is_asked_for():
    mu, label = rng(0).normal(size=(4000, D)) / np.sqrt(D), np.zeros((L, D))
    classes = model.Classes(np.zeros((4000, N), int), np.arange(4000))
    for eps in (0.1, 1.0):
        setting = SETTING._replace(eps=eps, batch=4000)
        x = model.assemble(jax.random.key(0), jnp.asarray(mu), jnp.asarray(label), classes, setting).x[..., SPAN:]
        assert np.square(x[:, -1]).sum(axis=1).mean() == pytest.approx(1, abs=0.01)
        noise = x[:, 0] - mu[0] / np.sqrt(1 + eps**2)
        assert np.square(noise).sum(axis=1).mean() == pytest.approx(eps**2 / (1 + eps**2), rel=0.05)
        assert np.abs(noise - x[:, 2] + mu[0] / np.sqrt(1 + eps**2)).max() > 0.01  # every occurrence has a noise of its own


def test_tokens_alternate_and_positions_are_one_block_from_an_even_offset(world):
    classes = model.Classes(jnp.tile(jnp.array([[3, 12, 3, 31]]), (512, 1)), jnp.full(512, 12))
    for shift in (0, 1):
        x, y, context = model.assemble(jax.random.key(1), world.mu, world.label, classes, SETTING._replace(eps=0.0), shift)
        assert x.shape == (512, T, SPAN + D)
        np.testing.assert_array_equal(context[0], (np.array([3, 12, 3, 31]) + shift) % L)
        assert (np.asarray(y) == (12 + shift) % L).all()
        np.testing.assert_allclose(x[5, 1:-1:2, SPAN:], world.label[np.array(context[5])], atol=1e-6)
        np.testing.assert_allclose(x[5, ::2, SPAN:], world.mu[np.array([3, 12, 3, 31, 12])], atol=1e-6)
    offset = np.asarray(x[:, 0, :SPAN]).argmax(axis=1)
    for o, rows in zip(offset, np.asarray(x[:, :, :SPAN]), strict=True):
        np.testing.assert_array_equal(rows, np.eye(SPAN)[o : o + T])
    np.testing.assert_array_equal(np.unique(offset), np.arange(SPAN - T + 1))


@pytest.mark.parametrize("B", [1, 2, 4])
def test_bursty_contexts_hold_each_class_B_times_and_the_target(B):
    cdf = jnp.asarray(np.arange(1, 1_000_001) / 1_000_000)  # so many classes that none is drawn twice
    context, target = map(np.asarray, model.bursty_classes(jax.random.key(2), cdf, 8, B, 300))
    for row, answer in zip(context, target, strict=True):
        classes, counts = np.unique(row, return_counts=True)
        assert len(classes) == 8 // B and (counts == B).all() and answer in classes
    assert len(np.unique((context == target[:, None]).argmax(axis=1))) >= 8 // B  # the target's place varies
    if B == 2:  # and copies are shuffled: two fixed places hold one class with probability 1 / 7
        assert (context[:, 0] == context[:, 4]).mean() == pytest.approx(1 / 7, abs=0.07)


def test_distinct_classes_have_distinct_labels_and_use_all_classes():
    context, _ = model.distinct_classes(jax.random.key(3), K, L, N, 1, 500)
    assert all(len(np.unique(row % L)) == N for row in np.asarray(context))
    assert len(np.unique(context)) == K


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_classes_follow_the_power_law_and_the_in_weights_test_never_shows_the_target(alpha):
    cdf = jnp.asarray(model.draw_world(rng(0), 5, 5, D, alpha).cdf)
    P = np.arange(1, 6.0) ** -alpha / (np.arange(1, 6.0) ** -alpha).sum()
    draw = jax.jit(model.independent_classes, static_argnums=(2, 3, 4))
    context, target = map(np.asarray, draw(jax.random.key(4), cdf, N, 20_000, True))
    assert not (context == target[:, None]).any()
    np.testing.assert_allclose(np.bincount(target, minlength=5) / 20_000, P, atol=0.015)
    for k in range(5):  # the rest of the classes keep their proportions
        rest = np.where(np.arange(5) == k, 0, P) / (1 - P[k])
        np.testing.assert_allclose(np.bincount(context[target == k].ravel(), minlength=5) / (target == k).sum() / N, rest, atol=0.02)
    free = np.asarray(draw(jax.random.key(5), cdf, N, 20_000, False).context)
    np.testing.assert_allclose(np.bincount(free.ravel(), minlength=5) / 80_000, P, atol=0.015)


def test_fresh_classes_are_new_in_every_batch_and_keep_labels_in_order(world):
    setting = SETTING._replace(p_C=0.5, eps=0.0)
    draw = jax.jit(model.training_sequences, static_argnums=2)
    first, second = (draw(jax.random.key(seed), world, setting) for seed in (0, 1))
    distance = [np.linalg.norm(np.asarray(s.x[:, -1, SPAN:])[:, None] - world.mu, axis=2).min(axis=1) for s in (first, second)]
    known = distance[0] < 1e-4
    assert known.mean() == pytest.approx(0.5, abs=0.1)
    new = [np.asarray(s.x[d > 1e-4, -1, SPAN:]) for s, d in zip((first, second), distance, strict=True)]
    assert np.linalg.norm(new[0][:, None] - new[1], axis=2).min() > 0.1
    for x, y, context in zip(*map(np.asarray, first), strict=True):  # the label of a repeated item is the one next to it
        twin = np.flatnonzero(np.linalg.norm(x[:-1:2, SPAN:] - x[-1, SPAN:], axis=1) < 1e-4)
        assert len(twin) >= 2 and (context[twin] == y).all()
        np.testing.assert_allclose(x[2 * twin[0] + 1, SPAN:], world.label[y], atol=1e-6)


def test_sequences_that_are_not_bursty_show_the_target_by_chance_only(world):
    x = np.asarray(jax.jit(model.training_sequences, static_argnums=2)(jax.random.key(0), world, SETTING._replace(B=0, eps=0.0)).x)[..., SPAN:]
    shown = (np.abs(x[:, :-1:2] - x[:, -1:]).max(axis=2) < 1e-4).any(axis=1)
    assert shown.mean() == pytest.approx(1 - (1 - 1 / K) ** N, abs=0.06)


def test_the_four_test_sets(tests, world):
    def nearest(x):
        return np.linalg.norm(np.asarray(x[:, -1, SPAN:])[:, None] - world.mu, axis=2)

    assert (nearest(tests.ic.x).min(axis=1) > 0.3).all()
    for trained in (tests.overall, tests.iw):
        np.testing.assert_array_equal(nearest(trained.x).argmin(axis=1) % L, trained.y)
    np.testing.assert_array_equal((nearest(tests.ic2.x).argmin(axis=1) + 1) % L, tests.ic2.y)
    for in_context in (tests.ic, tests.ic2):
        assert ((in_context.context == in_context.y[:, None]).sum(axis=1) == 2).all()


# ---- network ----


def test_weights_start_at_the_papers_scales():
    params = model.init_params(rng(1), D, SPAN, L)
    E = SPAN + D
    for head in (params.first, params.second):
        assert all(w.shape == (E, E) and w.std() * np.sqrt(D) == pytest.approx(1, abs=0.03) for w in head)
    assert all(W.std() * np.sqrt(E / 2) == pytest.approx(1, abs=0.03) for W in params.read_out.W)
    assert params.read_out.out.std() * np.sqrt(E) == pytest.approx(1, abs=0.1)
    assert np.abs(params.first.Q - params.second.Q).max() > 0.1 and np.abs(params.first.Q - params.first.K).max() > 0.1


def plain_network(params: model.Params, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """One sequence (T, E), by loops, in float64: outputs at every token before the read-out, and both attentions."""
    h, maps = x.astype(np.float64), []
    for head in (params.first, params.second):
        Q, K, V = (np.asarray(w, np.float64) for w in head)
        new, p = h.copy(), np.zeros((len(x), len(x)))
        for i in range(len(x)):
            scores = np.array([(Q @ h[i]) @ (K @ h[j]) for j in range(i + 1)])
            p[i, : i + 1] = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            for j in range(i + 1):
                new[i] += p[i, j] * (V @ h[j])
        h, maps = new, [*maps, p]
    return h, maps


def test_network_equals_loops_and_attention_is_causal(tests):
    params = model.init_params(rng(1), D, SPAN, L)
    x = tests.ic.x[:3]
    logits, p1, p2 = model.network(params, x, rows=T)
    answer_only, _, last_row = model.network(params, x)
    for i in range(3):
        h, maps = plain_network(params, np.asarray(x[i]))
        np.testing.assert_allclose(p1[i], maps[0], atol=2e-5)
        np.testing.assert_allclose(p2[i], maps[1], atol=2e-5)
        z = h[-1]
        for W, b in zip(params.read_out.W, params.read_out.b, strict=True):
            z = np.maximum(z @ np.asarray(W, np.float64) + b, 0)
        np.testing.assert_allclose(logits[i], z @ np.asarray(params.read_out.out, np.float64), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(answer_only, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(last_row[:, 0], p2[:, -1], atol=1e-5)
    np.testing.assert_allclose(p1.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(p2.sum(axis=2), 1, atol=1e-5)


def test_earlier_tokens_know_nothing_of_the_target(tests):
    params = model.init_params(rng(1), D, SPAN, L)
    x = np.asarray(tests.ic.x[:3])
    other = x.copy()
    other[:, -1] += 1.0
    (a, p), (b, q) = (model.add_attention(params.first, jnp.asarray(z), T) for z in (x, other))
    np.testing.assert_array_equal(a[:, :-1], b[:, :-1])
    np.testing.assert_array_equal(p[:, :-1], q[:, :-1])
    assert np.abs(a[:, -1] - b[:, -1]).max() > 0.1


def induction_head_by_hand(world: model.World, gain: float = 60.0) -> model.Params:
    """Layer 1: a token attends to the one before it and adds that content to its position entries. Layer 2: the target's content looks for its copy
    there and adds twenty times the content next to it, the label, to its own. The read-out passes signed contents through its ReLUs, lifted by a constant."""
    E, lift = SPAN + D, 1000.0
    Q1, K1, V1, Q2, K2, V2 = np.zeros((6, E, E))
    Q1[np.arange(SPAN - 1), np.arange(1, SPAN)] = gain  # position i asks for ...
    K1[:SPAN, :SPAN] = np.eye(SPAN)  # ... position i - 1
    V1[:D, SPAN:] = 10 * np.eye(D)
    Q2[:D, SPAN:] = gain * np.eye(D)
    K2[:D, :D] = np.eye(D)
    K2[:D, SPAN:] = -10 * np.eye(D)  # the first token can attend to itself only: what is its own does not count as gathered
    V2[SPAN:, SPAN:] = 20 * np.eye(D)
    out = np.zeros((E, L))
    out[SPAN:] = np.asarray(world.label).T
    bias = np.zeros((E, L))
    bias[0] = -out.sum(axis=0)  # entry 0 of the lifted stream is about the lift: takes it off each logit
    read_out = model.ReadOut((np.eye(E),) * 3, (lift, 0.0, 0.0), out + bias)
    return jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), model.Params(model.Head(Q1, K1, V1), model.Head(Q2, K2, V2), read_out))


def test_an_induction_head_built_by_hand_solves_novel_classes(world, tests):
    measures = jax.jit(model.measure)(induction_head_by_hand(world), model.Data(world, jax.random.key(0), tests, jnp.asarray(0.0)))
    assert all(float(measures[name]) > 0.99 for name in ("ic", "ic2", "cla", "ila", "tila"))
    assert float(measures["iw"]) < 0.3


def test_an_untrained_network_is_at_chance(tests, world):
    params = model.init_params(rng(1), D, SPAN, L)
    zero = params._replace(read_out=params.read_out._replace(out=jnp.zeros_like(params.read_out.out)))
    data = model.Data(world, jax.random.key(0), tests, jnp.asarray(0.0))
    assert float(model.loss(zero, tests.ic)) == pytest.approx(np.log(L), rel=1e-5)
    random = [jax.jit(model.measure)(model.init_params(rng(seed), D, SPAN, L), data) for seed in range(12)]
    assert np.mean([m["ic"] for m in random]) == pytest.approx(1 / L, abs=0.06)
    assert np.mean([m["cla"] for m in random]) == pytest.approx(N / 2 / L, abs=0.1)  # two distinct labels of eight in a context with B = 2


def test_measures_are_those_of_their_test_sets(tests, world):
    tests = jax.tree.map(np.asarray, tests)
    params = model.init_params(rng(2), D, SPAN, L)
    found = jax.jit(model.measure)(params, model.Data(world, jax.random.key(0), tests, jnp.asarray(0.0)))
    network = jax.jit(model.network)
    logits = {name: np.asarray(network(params, sequences.x)[0], np.float64) for name, sequences in tests._asdict().items()}
    answers = {name: values.argmax(axis=1) for name, values in logits.items()}
    for name, sequences in tests._asdict().items():
        assert float(found[name]) == pytest.approx((answers[name] == sequences.y).mean(), abs=0.005)
    p = np.exp(logits["overall"] - logits["overall"].max(axis=1, keepdims=True))
    assert float(found["loss"]) == pytest.approx(-np.log(p[np.arange(len(p)), tests.overall.y] / p.sum(axis=1)).mean(), rel=1e-3)
    assert float(found["cla"]) == pytest.approx((answers["ic"][:, None] == tests.ic.context).any(axis=1).mean(), abs=0.005)
    _, p1, p2 = (np.asarray(value) for value in network(params, tests.ic.x))
    assert float(found["ila"]) == pytest.approx(np.mean([p1[:, 2 * n + 1, 2 * n].mean() for n in range(N)]), rel=1e-3)
    by_hand = [sum(p2[i, 0, 2 * n + 1] for n in range(N) if tests.ic.context[i, n] == tests.ic.y[i]) for i in range(40)]
    assert float(model.target_label_attention(p2[:40], jax.tree.map(lambda leaf: leaf[:40], tests.ic))) == pytest.approx(np.mean(by_hand), rel=1e-3)


def test_a_training_step_is_plain_sgd_with_decay(world):
    params, setting = model.init_params(rng(1), D, SPAN, L), SETTING._replace(batch=16)
    data = model.Data(world, jax.random.key(7), None, jnp.asarray(0.02))
    stepped = jax.jit(model.training_step(setting, 0.1))(params, 3, data)
    sequences = model.training_sequences(jax.random.fold_in(data.key, 3), world, setting)
    grads = jax.jit(jax.grad(model.loss))(params, sequences)
    assert float(jnp.abs(grads.first.Q).max()) > 0
    for new, old, grad in zip(*map(jax.tree.leaves, (stepped, params, grads)), strict=True):
        np.testing.assert_allclose(new, 0.9 * old - 0.02 * grad, rtol=1e-4, atol=1e-6)


# ---- the induction head with three parameters ----


def reduced_head(beta1: float, beta2: float, alpha: float, width: int = 64) -> reduced.InductionHead:
    return reduced.InductionHead(*map(jnp.float32, (beta1, beta2, alpha)), model.init_read_out(rng(2), 2 * D, width, L))


def test_reduced_attention_equals_loops(tests):
    head, content = reduced_head(1.3, 4.0, 0.7), np.asarray(reduced.content_of(tests.ic, SETTING)[:4], np.float64)
    p1, p2 = reduced.target_attention(head, jnp.asarray(content))
    for x, found in zip(content, p2, strict=True):
        scores = np.zeros(T)
        for j in range(T):
            weights = np.array([np.exp(1.3) if k == j - 1 else 1.0 for k in range(j + 1)])
            np.testing.assert_allclose(p1[j, : j + 1], weights / weights.sum(), rtol=1e-5)
            if j % 2 == 1:
                scores[j] = 4.0 * x[-1] @ (weights @ x[: j + 1] / weights.sum()) + 0.7
        np.testing.assert_allclose(found, np.exp(scores) / np.exp(scores).sum(), rtol=1e-4)


def test_reduced_model_does_not_see_the_order_of_pairs_once_layer_one_is_sharp(tests):
    content = np.asarray(reduced.content_of(tests.ic, SETTING)[:16])
    swapped = content.copy()
    swapped[:, [0, 1, 4, 5]] = content[:, [4, 5, 0, 1]]
    logits, other = (reduced.induction_head(reduced_head(30.0, 4.0, 0.7), jnp.asarray(x))[0] for x in (content, swapped))
    np.testing.assert_allclose(logits, other, atol=1e-4)
    blunt, other = (reduced.induction_head(reduced_head(1.0, 4.0, 0.7), jnp.asarray(x))[0] for x in (content, swapped))
    assert np.abs(blunt - other).max() > 1e-3  # a label that attends to its prefix too knows where it stands


def test_reduced_model_attends_to_the_right_label_and_reads_labels_only(tests):
    data = model.Data(None, None, tests, None)
    measures = jax.jit(reduced.induction_head_measure(SETTING))(reduced_head(30.0, 60.0, 0.0), data)
    assert float(measures["tila"]) > 0.99 and float(measures["ila"]) > 0.99
    content = np.asarray(reduced.content_of(tests.ic, SETTING)[:4])
    p2 = np.asarray(reduced.target_attention(reduced_head(0.0, 0.0, 1.0), jnp.asarray(content))[1])
    np.testing.assert_allclose(p2[:, 1::2], np.e / (N * np.e + N + 1), rtol=1e-5)
    np.testing.assert_allclose(p2[:, ::2], 1 / (N * np.e + N + 1), rtol=1e-5)
    head = reduced_head(0.0, 0.0, 1.0)
    summary = content[:, 1::2].sum(axis=1) * np.e / (N * np.e + N + 1)
    expected = model.read(head.read_out, jnp.asarray(np.concatenate([content[:, -1], summary], axis=1)))
    np.testing.assert_allclose(reduced.induction_head(head, jnp.asarray(content))[0], expected, rtol=1e-4, atol=1e-5)


def test_without_the_context_label_stage_alpha_stays_zero(world):
    data = model.Data(world, jax.random.key(7), None, jnp.asarray(0.1))
    setting = SETTING._replace(batch=16)
    heads = [jax.jit(reduced.induction_head_step(setting, 0.0, stage))(reduced_head(0.5, 0.5, 0.3), 0, data) for stage in (True, False)]
    assert float(heads[1].alpha) == 0 and float(heads[0].alpha) not in (0.0, 0.3)
    assert all(float(head.beta1) != 0.5 and float(head.beta2) != 0.5 for head in heads)


# ---- nested logits ----


def nested(beta1: float, beta2: float, xi: float) -> reduced.NestedLogits:
    return reduced.NestedLogits(*map(jnp.float32, (beta1, beta2, xi)))


def sizes(n: int, labels: int) -> reduced.Sizes:
    return reduced.Sizes(jnp.float32(n), jnp.float32(labels))


slopes, nested_loss = jax.jit(jax.grad(reduced.nested_loss)), jax.jit(reduced.nested_loss)


@pytest.mark.parametrize(("n", "labels"), [(8, 32), (8, 9), (8, 8), (4, 16)])
def test_nested_loss_is_its_formula(n, labels):
    for b1, b2, xi in rng(0).normal(size=(5, 3)) * 3:
        a = np.exp(b1) / (np.exp(b1) + n)
        w, other = np.exp(b2 * a) / (np.exp(b2 * a) + 2 * n), 1 / (np.exp(b2 * a) + 2 * n)
        expected = -np.log(np.exp(xi * w) / (np.exp(xi * w) + (n - 1) * np.exp(xi * other) + labels - n))
        assert float(nested_loss(nested(b1, b2, xi), sizes(n, labels))) == pytest.approx(expected, rel=1e-4)


def test_nested_loss_at_its_ends():
    for b1, b2 in ((0.0, 0.0), (2.0, -3.0), (5.0, 9.0)):
        at = nested(b1, b2, 0.0)
        assert float(nested_loss(at, sizes(8, 32))) == pytest.approx(np.log(32), rel=1e-5)
        assert float(slopes(at, sizes(8, 32)).beta1) == pytest.approx(0, abs=1e-7)
        assert float(slopes(at, sizes(8, 32)).beta2) == pytest.approx(0, abs=1e-7)
    assert float(nested_loss(nested(30.0, 30.0, 30.0), sizes(8, 32))) < 1e-5
    context_only = nested(0.0, 0.0, 600.0)  # w = w': all labels of the context alike, ln N is all that can be had
    assert float(nested_loss(context_only, sizes(8, 32))) == pytest.approx(np.log(8), rel=1e-3)


def test_the_first_slope_is_the_context_label_stage_and_a_saddle_where_there_is_none():
    w = 1 / 17
    for labels in (8, 9, 16, 32):
        assert float(slopes(nested(0.3, 0.0, 0.0), sizes(8, labels)).xi) == pytest.approx(-w * (1 - 8 / labels), abs=1e-7)


def test_the_reduced_models_start_small():
    logits = np.stack(jax.vmap(reduced.start_descent)(jax.random.split(jax.random.key(1), 1000)).logits)
    assert logits.shape == (3, 1000) and np.allclose(logits.std(axis=1), 0.1, atol=0.01) and np.allclose(logits.mean(axis=1), 0, atol=0.015)
    heads = np.array([reduced.init_induction_head(rng(seed), 2, 2, 2)[:3] for seed in range(300)])
    assert np.allclose(heads.std(axis=0), 0.1, atol=0.02) and np.allclose(heads.mean(axis=0), 0, atol=0.03)


def test_descent_learns_and_notes_when():
    first = jax.vmap(reduced.start_descent)(jax.random.split(jax.random.key(0), 4))
    size = reduced.Sizes(np.full(4, 8, np.float32), np.full(4, 32, np.float32))
    last, curves = train_many(reduced.descent_step, reduced.descent_measure, range(3501), first, size)
    losses = np.asarray(curves["loss"])  # (runs, 3501): the loss after 0, 1, ... steps
    assert (np.diff(losses) < 1e-4).all()
    assert (losses[:, -1] < 0.5 * np.log(8)).all() and (losses[:, 0] > 0.5 * np.log(8)).all()
    np.testing.assert_array_equal(last.learnt_after, (losses < 0.5 * np.log(8)).argmax(axis=1))
    assert 1500 < np.median(last.learnt_after) < 2500  # a plateau of about 1900 steps, then a fall within some tens of them
    fall = (losses < 0.5).argmax(axis=1) - (losses < np.log(8) + 0.1).argmax(axis=1)
    assert (fall > 20).all() and (fall < 120).all()
    for name, curve in curves.items():
        if name != "loss":
            gradient = getattr(jax.vmap(slopes)(first.logits, size), name)
            np.testing.assert_allclose(np.asarray(curve)[:, 1] - np.asarray(curve)[:, 0], -reduced.DESCENT_RATE * gradient, rtol=1e-2, atol=1e-7)
    assert int(reduced.descent_step(reduced.start_descent(jax.random.key(0)), 0, sizes(2, 16)).learnt_after) == -1


# ---- claims and a miniature ----


def test_crossings_and_widths_of_planted_curves():
    steps = np.linspace(0, 100, 101)
    plateau_then_ramp = np.clip(0.1 + (steps - 50) * 0.09, 0.1, 1.0)  # 0.1 until 50, 1 from 60 on
    assert claims.crossing(steps, plateau_then_ramp, 0.55) == pytest.approx(55)
    assert claims.half_rise(steps, plateau_then_ramp) == pytest.approx(55)
    assert claims.width_of_rise(steps, plateau_then_ramp) == pytest.approx((0.6 / 0.09) / (50 + 0.1 / 0.09))
    assert claims.width_of_rise(steps, plateau_then_ramp, floor=0.25) == pytest.approx((0.45 / 0.09) / (50 + 0.3 / 0.09))
    assert claims.width_of_rise(steps, 0.4 * plateau_then_ramp) == 1


def test_claims_of_planted_trials():
    steps = np.linspace(0, 100, 101)
    ic, cla = (np.clip(0.1 + (steps - start) * 0.09, 0.1, 1.0) for start in (50, 20))
    curves = {"steps": steps, "curve_ic": ic, "curve_cla": cla, "curve_tila": 2 * ic}
    rows = [{"experiment": "abrupt", "K": 9, "B": 2, "pairs": 8, "seed": seed} | curves for seed in (0, 1)]
    for stage, curve in ((True, cla), (False, ic)):
        rows += [{"experiment": "induction head", "stage": stage, "seed": 0, "steps": steps, "curve_ic": curve}]
    for stage, curve in ((True, cla), (False, 0.4 * ic)):  # never half right: the last step
        rows += [{"experiment": "induction head", "stage": stage, "seed": 1, "steps": steps, "curve_ic": curve}]
    for k, b, in_context, in_weights in ((16, 1, 0.2, 0.9), (16, 2, 0.5, 0.5), (256, 1, 0.6, 0.3), (256, 2, 0.9, 0.1)):
        finals = {"final_ic": in_context, "final_iw": in_weights}
        rows += [{"experiment": "grid", "K": k, "B": b, "eps": 0.1, "alpha": 0.0, "seed": seed} | finals for seed in (0, 1)]
    for name, k, b, value, in_context, in_weights in (("alpha", 256, 2, 1.0, 0.8, 0.6), ("alpha", 256, 2, 1.5, 0.0, 0.9), ("eps", 256, 1, 1.0, 0.9, 0.05)):
        setting = {"experiment": {"alpha": "zipf", "eps": "noise"}[name], "K": k, "B": b, "eps": 0.1, "alpha": 0.0} | {name: value}
        rows += [setting | {"seed": seed, "final_ic": in_context, "final_iw": in_weights} for seed in (0, 1)]
    for labels, after in ((8, [1000.0, 4000.0]), (9, [1.0, 1.0]), (32, [100.0, 100.0])):
        rows += [{"experiment": "nested logits", "L": labels, "seed": seed, "learnt_after": np.array(after)} for seed in (0, 1)]
    trials = pd.DataFrame(rows)
    np.testing.assert_allclose(claims.abruptness(trials), (0.6 / 0.09) / (50 + 0.1 / 0.09))
    np.testing.assert_allclose(claims.abruptness_above_plateau(trials), (0.45 / 0.09) / (50 + 0.3 / 0.09))
    half_right = 50 + 0.4 / 0.09
    np.testing.assert_allclose(claims.bias_speeds_up(trials).sort_index(), np.log(np.array([half_right, 100]) / (half_right - 30)))
    np.testing.assert_allclose(claims.alignment(trials), 1)
    np.testing.assert_allclose(claims.stage_before(trials), 55 / 25)
    np.testing.assert_allclose(claims.classes_and_burstiness(trials), 0.8 + 0.7)
    np.testing.assert_allclose(claims.both_at_zipf_one(trials), 0.6 - 0.1)
    np.testing.assert_allclose(claims.noise(trials), 0.85 - 0.3)
    np.testing.assert_allclose(claims.slowdown(trials), (np.log(10) + np.log(40)) / 2)


def test_every_condition_trains_on_the_data_it_names(monkeypatch):
    class Prepared(Exception):
        """What was asked for."""

    def asked(*arguments):
        raise Prepared(arguments)

    monkeypatch.setattr(replicate, "prepare", asked)
    config, found = Config(), {}
    for condition in conditions(config):
        if condition["experiment"] != "nested logits":
            with pytest.raises(Prepared) as caught:
                run(config, condition, (3, 4), "cpu")
            setting, K_, L_, D_, alpha, lr, tests_, seeds = caught.value.args[0]
            assert (tests_, seeds, L_) == (config.tests, (3, 4), 32)
            if condition["experiment"] == "induction head":
                assert (setting.N, setting.B, K_, D_, alpha, lr, setting.batch) == (8, 1, 512, 63, 0.0, config.head_lr, config.head_batch)
            else:
                assert (setting.N, setting.span, D_, lr, setting.batch) == (8, config.span, config.D, config.lr, config.batch)
                assert (K_, setting.B, setting.eps, alpha, setting.p_C) == tuple(condition[name] for name in ("K", "B", "eps", "alpha", "p_C"))
                found.setdefault(condition["experiment"], []).append((K_, setting.B, setting.eps, alpha, setting.p_C))
    assert found == {
        "abrupt": [(512, 2, 0.1, 0, 0)],
        "grid": [(32, 1, 0.1, 0, 0), (32, 2, 0.1, 0, 0), (1024, 1, 0.1, 0, 0), (1024, 2, 0.1, 0, 0)],
        "noise": [(1024, 1, 1, 0, 0)],
        "zipf": [(1024, 2, 0.1, 1, 0)],
        "only in context": [(512, 2, 0.1, 0, 1)],
        "only in weights": [(32, 2, 0.1, 0, 0), (1024, 2, 0.1, 0, 0)],
    }


def test_a_miniature_of_every_experiment_gives_rows_and_depends_on_the_seed():
    # all experiments have the same N, L, D, K and span, so that one program draws all their test sets
    config = Config(
        N=2, L=4, D=6, span=5, batch=8, tests=32, points=4, abrupt_K=8, abrupt_B=1, abrupt_steps=8, grid_K=(8,), grid_B=(1,), noises=(1.0,), noise_K=4,
        alphas=(1.0,), alpha_K=8, steps=8, head_D=6, head_N=2, head_L=4, head_K=8, head_width=6, head_batch=8, head_steps=8, nested_N=2, nested_L=(2,),
        nested_starts=3, nested_steps=40, nested_points=4,
    )  # fmt: skip
    last_of_each = {condition["experiment"]: condition for condition in conditions(config)}
    assert len(last_of_each) == 8
    for experiment, condition in last_of_each.items():
        if experiment in ("grid", "noise", "zipf", "only in context"):
            continue  # the same function as "abrupt"
        first, second = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        assert any((first[name] != second[name]).any() for name in first if name.startswith("curve"))
        for name in first:
            if name.startswith("final_"):
                assert first[name] == pytest.approx(first[f"curve_{name[6:]}"][-3:].mean(), abs=1e-6)
        if experiment == "nested logits":  # too few steps to learn anything
            assert first["learnt"] == 0 and (first["learnt_after"] == config.nested_steps).all() and first["curve_loss"].shape == (3, 5)
            for row, swapped in zip((second, first), run(config, condition, (1, 0), "cpu"), strict=True):
                np.testing.assert_allclose(row["curve_loss"], swapped["curve_loss"], rtol=1e-5)
        if experiment == "abrupt":
            assert np.abs(first["attention_1_after"] - first["attention_1_before"]).max() > 0
            data = prepare(replicate.setting_of(config, condition), 8, 4, 6, 1.0, 0.3, 32, (0, 1))
            for i in (0, 1):
                for found, drawn in zip(data.world, model.draw_world(numpy_rng(i, "world"), 8, 4, 6, 1.0), strict=True):
                    np.testing.assert_array_equal(found[i], drawn)
            assert (data.lr == np.float32(0.3)).all() and data.tests.ic.y.shape == (2, 32)
            np.testing.assert_allclose(np.triu(first["attention_2_after"], 1), 0)
            assert first["attention_1_before"].shape == (5, 5) and len(first["curve_ic"]) == 5
