"""Pointer networks: the equations, the targets, the searches and the marks."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, Delaunay

from papers.pointer_networks import geometry, model, replicate, tours

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
H, N = 12, 4  # one size for most tests: a compiled program serves them all

open_decoder = jax.jit(model.open_decoder, static_argnums=0)
decoder_step = jax.jit(model.decoder_step, static_argnums=0)
log_likelihood = jax.jit(model.log_likelihood, static_argnums=0)
greedy = jax.jit(model.greedy, static_argnums=(0, 4))
beam_search = jax.jit(model.beam_search, static_argnums=2)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def weights(kind: str, scale: float = 0.5, seed: int = 3) -> dict:
    return model.init(np.random.default_rng(seed), kind, H, N + 1, scale)


def draw_points(rng: np.random.Generator, n: int = N) -> np.ndarray:
    return rng.random((n, 2)).astype(np.float32)


def first_step(kind: str, w: dict, points: np.ndarray, n: int) -> np.ndarray:
    return np.asarray(decoder_step(kind, w, *open_decoder(kind, w, points, n), w["start"])[1])


# --- the models


def test_the_lstm_is_torchs(rng):
    w, points = weights("ptr"), draw_points(rng, 9)
    theirs = torch.nn.LSTM(2, H)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(w["encoder"]["W_x"].T.copy()))
        theirs.weight_hh_l0.copy_(torch.tensor(w["encoder"]["W_h"].T.copy()))
        theirs.bias_ih_l0.copy_(torch.tensor(w["encoder"]["b"]))
        theirs.bias_hh_l0.zero_()
        states, (h, c) = theirs(torch.tensor(points))
    e, final = jax.jit(model.encode)(w, points, 9)
    np.testing.assert_allclose(e, states.numpy(), atol=1e-5)
    np.testing.assert_allclose(final, (h[0].numpy(), c[0].numpy()), atol=1e-5)


def test_pointer_scores_are_the_papers_formula_written_as_loops(rng):
    w = weights("ptr")
    e, d = rng.normal(size=(5, H)).astype(np.float32), rng.normal(size=H).astype(np.float32)
    by_loops = [sum(w["v"][k] * np.tanh(e[j] @ w["W1"][:, k] + d @ w["W2"][:, k]) for k in range(H)) for j in range(5)]
    np.testing.assert_allclose(model.pointer_scores(w, e @ w["W1"], d, jnp.ones(5, bool)), by_loops, atol=1e-5)


def test_probabilities_sum_to_one_over_the_slots_and_are_zero_on_padding(rng):
    p = np.exp(first_step("ptr", weights("ptr"), draw_points(rng, 7), 4))
    assert p.shape == (8,)
    assert p[:5].sum() == pytest.approx(1, abs=1e-6)
    assert (p[:5] > 0).all() and (p[5:] == 0).all()


def test_without_v_the_pointer_is_uniform_over_the_points_and_the_stop_symbol(rng):
    w = weights("ptr")
    w["v"] = np.zeros_like(w["v"])
    np.testing.assert_allclose(np.exp(first_step("ptr", w, draw_points(rng, 7), 4))[:5], 1 / 5, rtol=1e-6)


def test_permuted_encoder_states_permute_the_pointer(rng):
    w, slots = weights("ptr"), np.array([0, 3, 1, 4, 2])
    memory, state = open_decoder("ptr", w, draw_points(rng), N)
    shuffled = {name: array[slots] for name, array in memory.items()}
    plain, moved = (np.asarray(decoder_step("ptr", w, m, state, w["start"])[1]) for m in (memory, shuffled))
    np.testing.assert_allclose(moved, plain[slots], atol=1e-6)
    assert np.ptp(plain) > 1e-3  # a constant would pass


@pytest.mark.parametrize("kind", model.KINDS)
def test_padding_changes_nothing(kind, rng):
    """Four points give the same likelihoods whether nothing, zeros or anything else stands behind them, with the fixed dictionaries too."""
    w, P, target = weights(kind), draw_points(rng), np.array([2, 4, 0, -1, -1])
    alone = np.asarray(log_likelihood(kind, w, P, N, target))
    assert (alone[:3] < 0).all() and (alone[3:] == 0).all()
    for filler in (np.zeros((3, 2), np.float32), draw_points(rng, 3)):
        np.testing.assert_allclose(log_likelihood(kind, w, np.concatenate([P, filler]), N, target), alone, atol=1e-6)


@pytest.mark.parametrize("kind", model.KINDS)
def test_the_likelihood_chains_decoder_steps_fed_with_coordinates(kind, rng):
    """Teacher forcing equals one step after the other, each given the *coordinates* of the point chosen before."""
    w, P, target = weights(kind), draw_points(rng), np.array([3, 1, 4, 2, 0])
    memory, state = open_decoder(kind, w, P, N)
    x, chain = w["start"], []
    for slot in target:
        state, log_p = decoder_step(kind, w, memory, state, x)
        chain.append(log_p[slot])
        x = P[slot - 1]
    np.testing.assert_allclose(log_likelihood(kind, w, P, N, target), chain, atol=1e-5)


@pytest.mark.parametrize("kind", model.KINDS)
def test_all_sequences_have_probability_one_together(kind, rng):
    """Over all sequences that stop within five steps, and all of five pointers, the probabilities sum to 1."""
    w, P = weights(kind), draw_points(rng)
    stopped = [[*s, 0] + [-1] * (4 - len(s)) for m in range(5) for s in itertools.product((1, 2, 3, 4), repeat=m)]
    sequences = np.array([*stopped, *itertools.product((1, 2, 3, 4), repeat=5)])
    assert sum(np.exp(log_likelihood(kind, w, P, N, target).sum()) for target in sequences) == pytest.approx(1, abs=1e-4)


def test_attention_mixes_encoder_states_and_feeds_the_mixture_to_the_next_step(rng):
    """d' = sum_j softmax(u)_j e_j by hand; the prediction reads [d; d'] and so does the next LSTM step."""
    w, P = weights("attention"), draw_points(rng)
    memory, state = open_decoder("attention", w, P, N)
    e, (h, c) = np.asarray(memory["e"]), state[:2]
    context = np.zeros(H, np.float32)
    for x in (w["start"], P[2]):
        state, log_p = decoder_step("attention", w, memory, state, x)
        h, c = model.lstm_step(w["decoder"], (h, c), np.concatenate([x, context]))
        u = np.tanh(e @ w["W1"] + h @ w["W2"]) @ w["v"]
        context = np.asarray(np.exp(u) / np.exp(u).sum() @ e)
        logits = np.concatenate([h, context]) @ w["W_out"] + w["b_out"]
        np.testing.assert_allclose(log_p, logits - np.log(np.exp(logits).sum()), atol=1e-5)


@pytest.mark.parametrize("kind", model.KINDS)
def test_an_untrained_model_knows_nothing(kind, rng):
    w = weights(kind, scale=0.08)
    losses = [-log_likelihood(kind, w, draw_points(rng), N, np.array([3, 1, 4, 2, 0])).mean() for _ in range(10)]
    assert np.mean(losses) == pytest.approx(np.log(N + 1), abs=0.1)


# --- searches


def test_greedy_takes_the_most_probable_slot_until_the_stop_symbol(rng):
    lengths = set()
    for seed in range(20):
        w, P = weights("ptr", 1.5, seed), draw_points(rng)
        memory, state = open_decoder("ptr", w, P, N)
        x, expected = w["start"], []
        while len(expected) < 8 and 0 not in expected:
            state, log_p = decoder_step("ptr", w, memory, state, x)
            expected.append(int(np.argmax(log_p)))
            x = P[expected[-1] - 1]
        assert greedy("ptr", w, P, N, 8).tolist() == expected + [0] * (8 - len(expected))
        lengths.add(len(expected))
    assert len(lengths) > 1


def tour_score(w: dict, P: np.ndarray, tour) -> float:
    """log p of a tour, given that it starts where it starts."""
    return float(log_likelihood("ptr", w, P, len(P), np.asarray(tour))[1:].sum())


def test_a_beam_of_one_is_greedy_among_the_cities_not_yet_visited(rng):
    for seed in range(5):
        w, P = weights("ptr", 1.5, seed), draw_points(rng, 5)
        memory, state = open_decoder("ptr", w, P, 5)
        state, _ = decoder_step("ptr", w, memory, state, w["start"])
        tour = [1]
        while len(tour) < 5:
            state, log_p = decoder_step("ptr", w, memory, state, P[tour[-1] - 1])
            tour.append(max({2, 3, 4, 5} - {*tour}, key=lambda slot, log_p=log_p: float(log_p[slot])))
        assert beam_search(w, P, 1).tolist() == tour


def test_a_wide_beam_finds_the_most_probable_tour_of_all(rng):
    narrow_is_worse = 0
    for seed in range(10):
        w, P = weights("ptr", 2.0, seed), draw_points(rng, 5)
        best = max(tour_score(w, P, [1, *rest]) for rest in itertools.permutations(range(2, 6)))
        assert tour_score(w, P, beam_search(w, P, 24)) == pytest.approx(best, abs=1e-4)
        narrow_is_worse += tour_score(w, P, beam_search(w, P, 1)) < best - 1e-4
    assert narrow_is_worse > 0


def test_every_beam_answer_is_a_tour_from_city_one(rng):
    points = rng.random((50, 7, 2)).astype(np.float32)
    answers = np.asarray(jax.jit(jax.vmap(lambda P: model.beam_search(weights("ptr", 2.0), P, 4)))(points))
    assert (np.sort(answers, axis=1) == np.arange(1, 8)).all()
    assert (answers[:, 0] == 1).all()


# --- hulls and triangulations


def test_the_hull_of_a_square_with_its_centre():
    centre = np.array([[0.5, 0.5]])
    assert geometry.hull_target(np.concatenate([SQUARE, centre])) == [1, 2, 3, 4]
    assert geometry.hull_target(np.concatenate([centre, SQUARE])) == [2, 3, 4, 5]
    assert geometry.hull_target(SQUARE[::-1]) == [1, 4, 3, 2]
    np.testing.assert_array_equal(geometry.pad_targets([[2, 3, 4, 5]], 7), [[2, 3, 4, 5, 0, -1, -1]])


def test_hull_targets_turn_left_around_all_points_from_the_lowest_index(rng):
    for P in rng.random((50, 12, 2)):
        target = geometry.hull_target(P)
        assert target[0] == min(target)
        polygon = P[np.array(target) - 1]
        along = np.roll(polygon, -1, axis=0) - polygon
        assert (geometry.cross(along[:, None], P[None] - polygon[:, None]) > -1e-12).all()
        assert geometry.area(polygon) == pytest.approx(ConvexHull(P).volume, abs=1e-12)


def test_simple_polygons():
    bow_tie = SQUARE[[0, 2, 1, 3]]
    assert geometry.is_simple(SQUARE) and geometry.is_simple(SQUARE[::-1])
    assert not geometry.is_simple(bow_tie)
    assert not geometry.is_simple(SQUARE[:2])
    assert not geometry.is_simple(SQUARE[[0, 1, 2, 1]])
    assert geometry.is_simple(np.array([[0, 0], [4, 0], [4, 4], [2, 1]]))  # not convex, but simple


def test_simplicity_equals_a_slow_test_on_random_polygons(rng):
    def ccw(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) > (b[1] - a[1]) * (c[0] - a[0])

    verdicts = []
    for P in rng.random((200, 5, 2)):
        edges = [(P[i], P[(i + 1) % 5]) for i in range(5)]
        apart = ((0, 2), (0, 3), (1, 3), (1, 4), (2, 4))  # the pairs of edges that share no vertex
        crossing = any(ccw(a, c, d) != ccw(b, c, d) and ccw(a, b, c) != ccw(a, b, d) for a, b, c, d in ((*edges[i], *edges[j]) for i, j in apart))
        assert geometry.is_simple(P) != crossing
        verdicts.append(crossing)
    assert 0.2 < np.mean(verdicts) < 0.9


def test_marks_of_hulls():
    P = np.concatenate([SQUARE, [[0.5, 0.4]]])
    target = np.array([1, 2, 3, 4, 0, -1])
    assert geometry.mark_hull(P, np.array([1, 2, 3, 4, 0, 0]), target) == (True, True, 1.0)
    assert geometry.mark_hull(P, np.array([3, 4, 1, 2, 0, 0]), target) == (True, True, 1.0)  # the same cycle
    assert geometry.mark_hull(P, np.array([1, 4, 3, 2, 0, 0]), target) == (False, True, 1.0)  # the other direction
    assert geometry.mark_hull(P, np.array([1, 2, 4, 0, 0, 0]), target) == (False, True, 0.5)
    assert geometry.mark_hull(P, np.array([1, 3, 2, 4, 0, 0]), target) == (False, False, 0.0)
    assert geometry.mark_hull(P, np.array([1, 2, 3, 4, 1, 2]), target) == (False, False, 0.0)  # never stops
    assert geometry.mark_hull(P, np.array([0, 0, 0, 0, 0, 0]), target) == (False, False, 0.0)


def test_incenters():
    right = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])  # the inscribed circle has radius 1
    np.testing.assert_allclose(geometry.incenters(right[None]), [[1.0, 1.0]], atol=1e-12)


def test_a_triangulation_target_is_the_sorted_set_of_triangles(rng):
    for P in rng.random((30, 9, 2)):
        target = np.array(geometry.delaunay_target(P)).reshape(-1, 3)
        assert (np.diff(target, axis=1) > 0).all()
        assert {frozenset(t) for t in target.tolist()} == {frozenset(t) for t in (Delaunay(P).simplices + 1).tolist()}
        assert len(target) == 2 * 9 - 2 - len(ConvexHull(P).vertices)
        assert target.size <= geometry.longest_triangulation(9)
        assert (np.diff(geometry.incenters(P[target - 1])[:, 0]) > 0).all()
        padded = geometry.pad_targets([target.ravel().tolist()], geometry.longest_triangulation(9) + 1)[0]
        assert geometry.mark_triangulation(padded, padded) == (True, 1.0)


def test_marks_of_triangulations():
    target = np.array([1, 2, 3, 2, 3, 4, 0])
    assert geometry.mark_triangulation(np.array([4, 3, 2, 3, 1, 2, 0]), target) == (True, 1.0)  # order and corners' order are free
    assert geometry.mark_triangulation(np.array([1, 2, 3, 1, 3, 4, 0]), target) == (False, 0.5)
    assert geometry.mark_triangulation(np.array([1, 2, 3, 2, 3, 4, 1]), target) == (False, 1.0)  # an incomplete triple too many
    assert geometry.mark_triangulation(np.array([0, 0, 0, 0, 0, 0, 0]), target) == (False, 0.0)


# --- tours


def best_of_all(P: np.ndarray) -> np.ndarray:
    """The shortest tour that there is, counter-clockwise."""
    every = np.array([[1, *rest] for rest in itertools.permutations(range(2, len(P) + 1))])
    every = every[[geometry.area(P[tour - 1]) > 0 for tour in every]]
    return every[np.argmin(tours.tour_length(np.tile(P, (len(every), 1, 1)), every))]


@pytest.mark.parametrize("n", [4, 7])
def test_held_karp_is_brute_force_and_counter_clockwise(n, rng):
    points = rng.random((20, n, 2))
    np.testing.assert_array_equal(tours.held_karp(points), [best_of_all(P) for P in points])


def test_a_tour_and_its_reverse_become_the_same_tour(rng):
    points = rng.random((20, 7, 2))
    best = tours.held_karp(points)
    np.testing.assert_array_equal(tours.counter_clockwise(points, best[:, [0, 6, 5, 4, 3, 2, 1]]), best)


@pytest.mark.parametrize(("n", "published", "greedy"), [(5, 2.12, 2.18), (10, 2.87, 3.08)])
def test_mean_lengths_are_the_published_ones(n, published, greedy, rng):
    points = rng.random((3000, n, 2))
    assert tours.tour_length(points, tours.held_karp(points)).mean() == pytest.approx(published, abs=0.03)
    assert tours.greedy_edge_length(points).mean() == pytest.approx(greedy, abs=0.04)


def test_greedy_edges_of_a_line_of_cities():
    """Cities at 0, 1, 2.5, 5 on a line: edges 1, 1.5 and 2.5 are taken, the way back is 5."""
    line = np.array([[[0.0, 0.0], [2.5, 0.0], [1.0, 0.0], [5.0, 0.0]]])
    np.testing.assert_allclose(tours.greedy_edge_length(line), [10.0])


def test_heuristics_make_tours_between_the_optimum_and_their_start(rng):
    points = rng.random((20, 7, 2))
    grown = tours.farthest_insertion(points)
    improved = tours.two_opt(points, grown)
    for answer in (grown, improved):
        assert (np.sort(answer, axis=1) == np.arange(1, 8)).all() and (answer[:, 0] == 1).all()
    optimal, start, end = (tours.tour_length(points, C) for C in (tours.held_karp(points), grown, improved))
    assert (optimal <= end + 1e-12).all() and (end <= start + 1e-12).all()
    assert (end < start - 1e-6).any() and end.mean() < 1.03 * optimal.mean()


def test_farthest_insertion_is_its_slow_version(rng):
    points = rng.random((10, 7, 2))
    for P, answer in zip(points, tours.farthest_insertion(points), strict=True):
        d, tour = tours.distances(P), [0]
        while len(tour) < 7:
            k = max(set(range(7)) - {*tour}, key=lambda city, d=d, tour=tour: min(d[city, placed] for placed in tour))
            longer = [d[tour[i], k] + d[k, tour[(i + 1) % len(tour)]] - d[tour[i], tour[(i + 1) % len(tour)]] for i in range(len(tour))]
            tour.insert(int(np.argmin(longer)) + 1, k)
        assert (answer - 1).tolist() == tour


def test_two_opt_uncrosses_a_bow_tie():
    np.testing.assert_allclose(tours.tour_length(SQUARE[None], tours.two_opt(SQUARE[None], np.array([[1, 3, 2, 4]]))), [4.0])


# --- the run


def test_sizes_are_mixed_and_padding_is_zero(rng):
    points, sizes, targets = replicate.draw("hull", 5, 8, 200, rng)
    assert set(sizes) == {5, 6, 7, 8}
    for P, n, target in zip(points, sizes, targets, strict=True):
        assert (P[:n] > 0).all() and (P[n:] == 0).all()
        assert geometry.until_stop(target).tolist() == geometry.hull_target(P[:n])


def test_tsp_targets_of_mixed_sizes_stand_at_their_instances(rng):
    points, sizes, targets = replicate.draw("tsp", 4, 5, 30, rng)
    for P, n, target in zip(points, sizes, targets, strict=True):
        assert geometry.until_stop(target).tolist() == best_of_all(P[:n]).tolist()


def test_a_mini_run_learns_and_gives_a_row_per_seed():
    config = replicate.Config(hidden=8, train_size=200, test_size=20, hull_fixed=5, hull_fixed_steps=60, learning_rate=0.02, batch=64)
    condition = replicate.conditions(config)[0]
    rows = replicate.run(config, condition, (1000, 1001), "cpu")
    assert len(rows) == 2
    for row in rows:
        assert 0 <= row["accuracy_n5"] <= row["simple_n5"] <= 1
        assert row["loss"][0] == pytest.approx(np.log(6), abs=0.3)
        assert row["loss"][-1] < row["loss"][0] - 0.1
    assert not np.array_equal(rows[0]["loss"], rows[1]["loss"])


def test_a_training_step_goes_down_the_gradient_of_the_mean_negative_log_likelihood(rng):
    """Under one small step dw = -lr grad of plain descent, the loss falls by |dw|^2 / lr to first order."""
    config = replicate.Config(hidden=H, batch=3, optimizer="sgd", learning_rate=0.01, clip=1e6, curve_points=1)
    points, sizes, targets = (jnp.asarray(array) for array in replicate.draw("hull", N, N, 2, rng))
    w, rows = weights("ptr"), np.array([0, 1, 1])

    def loss(w):
        return -sum(float(log_likelihood("ptr", w, points[row], N, targets[row]).sum()) for row in rows) / 3

    after, per_pointer = jax.jit(partial(replicate.train, config, "ptr"))(w, rows[None], points, sizes, targets)
    change = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.subtract, after, w))[0]
    assert loss(w) - loss(after) == pytest.approx(float(change @ change) / 0.01, rel=0.05)
    assert per_pointer.tolist() == pytest.approx([loss(w) * 3 / float((targets[rows] >= 0).sum())], abs=1e-5)
