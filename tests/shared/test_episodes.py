"""Few-shot episodes: what may and may not occur in one, and that every choice is equally likely."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.data import episodes as module
from shared.data.episodes import episodes


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=8),
    ways=st.integers(1, 3),
    shots=st.integers(1, 3),
    queries=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_an_episode_holds_the_classes_it_names_and_nothing_twice(sizes, ways, shots, queries, seed):
    labels = rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 10, sizes))
    if sum(size >= shots + queries for size in sizes) < ways:
        with pytest.raises(ValueError, match="enough examples"):
            episodes(labels, 4, ways=ways, shots=shots, queries=queries, rng=rng(seed))
        return
    found = episodes(labels, 4, ways=ways, shots=shots, queries=queries, rng=rng(seed))
    assert found.support.shape == (4, ways, shots)
    assert found.query.shape == (4, ways, queries)
    assert (labels[found.support] == found.classes[..., None]).all()
    assert (labels[found.query] == found.classes[..., None]).all()
    for support, query, classes in zip(found.support, found.query, found.classes, strict=True):
        assert len(np.unique(classes)) == ways
        assert len(np.unique(np.concatenate([support.ravel(), query.ravel()]))) == ways * (shots + queries)


def test_the_same_generator_gives_the_same_episodes_and_another_gives_others():
    labels = np.repeat(np.arange(6), 5)
    first, again, other = (episodes(labels, 20, ways=3, shots=1, queries=2, rng=rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first.support, again.support)
    assert np.array_equal(first.query, again.query)
    assert not np.array_equal(first.support, other.support)


def test_classes_and_examples_are_drawn_uniformly_whatever_their_number():
    sizes = np.array([3, 30, 6, 12])
    labels = np.repeat(np.arange(4), sizes)
    n = 20_000
    found = episodes(labels, n, ways=2, shots=1, queries=1, rng=rng())
    assert np.allclose(np.bincount(found.classes.ravel(), minlength=4) / n, 0.5, atol=0.015)
    shown = np.bincount(found.support.ravel(), minlength=len(labels)) / n  # each class half the time, then one of its examples
    assert np.allclose(shown, (0.5 / sizes)[labels], rtol=0.2)
    first, second = found.classes.T
    assert abs((first < second).mean() - 0.5) < 0.015


def test_episodes_drawn_a_few_at_a_time_are_just_as_valid(monkeypatch):
    monkeypatch.setattr(module, "CELLS", 1)
    labels = np.repeat(np.arange(4), 6)
    found = episodes(labels, 7, ways=2, shots=2, queries=3, rng=rng())
    assert (labels[found.query] == found.classes[..., None]).all()
    assert found.query.shape == (7, 2, 3)


def test_the_classes_of_an_episode_within_a_group_share_it_and_small_groups_are_left_out():
    labels = np.repeat(np.arange(9), 4)
    alphabet = np.repeat([0, 0, 0, 1, 1, 1, 1, 2, 2], 4)
    found = episodes(labels, 500, ways=3, shots=1, queries=1, rng=rng(), within=alphabet)
    groups = alphabet[found.support[..., 0]]
    assert (groups == groups[:, :1]).all()
    assert set(groups[:, 0]) == {0, 1}
    assert abs((groups[:, 0] == 0).mean() - 0.5) < 0.1
    with pytest.raises(ValueError, match="no group"):
        episodes(labels, 1, ways=5, shots=1, queries=1, rng=rng(), within=alphabet)
    with pytest.raises(ValueError, match="two groups"):
        episodes(labels, 1, ways=2, shots=1, queries=1, rng=rng(), within=np.arange(len(labels)))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="1 or more"):
        episodes(np.zeros(5, int), 0, ways=1, shots=1, queries=1, rng=rng())
